"""Train everything, from the photographs to the weights: `python -m ml.training`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ml.manifest import WEIGHTS
from ml.training import export, train_classifier, train_detector
from ml.training.progress import say
from ml.training.sources import add_source_arguments

STAGES = ("detector", "classifier", "refine", "export")
#: Which of the options each stage knows.
KNOWN = {
    "detector": ("data", "teachers", "seed", "minutes", "threads", "device", "fresh", "out"),
    "classifier": (
        *("data", "yunet", "work", "detector", "folder", "mix", "balance", "folder_seed"),
        *("seed", "minutes", "threads", "device", "fresh", "preset"),
    ),
    "export": ("data", "yunet", "work", "detector", "folder", "mix", "balance", "folder_seed", "out"),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m ml.training", description=__doc__)
    add_source_arguments(made)
    made.add_argument("--stages", help=f"some of {','.join(STAGES)} (default: all; with --folder all but the detector)")
    made.add_argument(
        "--teachers", type=Path, help="folder with the detector's teachers (default: peers/ beside --data)"
    )
    made.add_argument("--preset", help="of the classifier (default: small)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--minutes", type=float, help="end each network, cooled down, after so long")
    made.add_argument("--threads", type=int, help="of the networks' own arithmetic on the CPU (default: 1)")
    made.add_argument("--device", help="cpu, cuda, or auto (default): CUDA if there is one")
    made.add_argument("--fresh", action="store_true", help="begin anew also where a run can be gone on with")
    made.add_argument("--out", type=Path, default=WEIGHTS, help="the folder for the weights")
    return made


def arguments_of(stage: str, options: argparse.Namespace) -> list[str]:
    """Return the stage's own command line."""
    given: list[str] = []
    for name in KNOWN["classifier" if stage == "refine" else stage]:
        value = getattr(options, name)
        if value is True:
            given.append(f"--{name}")
        elif value is not None and value is not False:
            given += [f"--{name.replace('_', '-')}", str(value)]
    return given + {"refine": ["--refine"], "export": ["--checkpoint", "refined.pt"]}.get(stage, [])


def main(arguments: list[str] | None = None) -> int:
    """Run the stages one after the other; what an earlier call has finished is left as it is."""
    made = parser()
    options = made.parse_args(arguments)
    stages: Sequence[str] = STAGES[1:] if options.folder else STAGES
    if options.stages:
        stages = options.stages.split(",")
        if unknown := [stage for stage in stages if stage not in STAGES]:
            made.error(f"there is no stage {unknown[0]}; there are {', '.join(STAGES)}")
    if "detector" in stages:
        options.detector = options.out
    commands: dict[str, Callable[[list[str]], int]] = {
        "detector": train_detector.main,
        "classifier": train_classifier.main,
        "refine": train_classifier.main,
        "export": export.main,
    }
    for stage in stages:
        given = arguments_of(stage, options)
        module = commands[stage].__module__
        say(f"== {stage}: python -m {module} {' '.join(given)}")
        if status := commands[stage](given):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
