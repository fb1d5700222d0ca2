"""Measure the service, or with anything but a part of it first, the detectors: `python -m mask_social.bench --help`."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mask_social.bench import pictures, show
from mask_social.env import var_directory
from mask_social.stack import BASE
from ml.benchmark import machine

FOLDER = var_directory(BASE) / "bench"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; everything, where nothing is."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, parts = _parser()
    if not given:
        return _everything(parts)
    if given[0].startswith("--") and given[0] != "--help":
        return _run("ml.bench", *given)
    options = parser.parse_args(given)
    here, out = machine.describe(), show.console()
    show.machine(here, out)
    photos = pictures.write(FOLDER / f"pictures-{options.long_side}", options.photos, options.long_side)
    result = options.measure(options, photos)
    for printed in result if isinstance(result, list) and options.each else [result]:
        options.show(printed, out)
    if options.json:
        show.write_json(result, options.json)
    return 0


def _stages(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench.service import serving

    with serving(parts=()):
        from mask_social.bench import path

        return path.measure(photos)


def _whole_way(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench import end_to_end
    from mask_social.bench.service import serving

    with serving() as service:
        return end_to_end.measure(service, photos, options.turns, options.workers)


def _accepting(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench import uploads
    from mask_social.bench.service import serving

    with serving() as service:
        return uploads.measure(service, photos, options.turns, options.clients)


def _refusing(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench import overload
    from mask_social.bench.service import serving

    with serving(overload.SETTINGS) as service:
        return overload.measure(service, photos)


def _growing(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench import scaling
    from mask_social.bench.service import serving

    with serving() as service:
        return [scaling.measure(service, photos, options.turns, alone=alone) for alone in (True, False)]


def _remembering(options: argparse.Namespace, photos: Sequence[Path]) -> Any:
    from mask_social.bench import memory
    from mask_social.bench.service import serving

    limit = {"MASK_SOCIAL_ANALYSIS_WORKER_MIB": str(options.mebibytes)} if options.mebibytes else {}
    with serving(parts=()) as service:  # rewards and webhooks are others' work
        report = memory.measure(service, photos[: options.distinct], options.count, limit)
    memory.write(report, options.out)
    return report


def _parser() -> tuple[argparse.ArgumentParser, Sequence[str]]:
    parser = argparse.ArgumentParser(prog="python -m mask_social.bench", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="part")

    def add(
        name: str,
        measure: Callable[[argparse.Namespace, Sequence[Path]], Any],
        shown: Callable[..., None],
        about: str,
        photos: int,
        *,
        each: bool = False,
    ) -> argparse.ArgumentParser:
        part = parts.add_parser(name, help=about, description=about)
        part.add_argument("--photos", type=_count, default=photos, help=f"how many (default: {photos})")
        part.add_argument("--long-side", type=_count, default=pictures.LONG_SIDE, help="pixels (default: 1600)")
        part.add_argument("--json", type=Path, help="file to write the numbers to as well")
        part.set_defaults(measure=measure, show=shown, each=each)
        return part

    add("path", _stages, show.stages, "what each stage costs, one post after another in one process", 110)
    whole = add("end-to-end", _whole_way, show.whole_way, "the service beside the bare loop", 408)
    whole.add_argument("--turns", type=_count, default=3, help="of the bare loop and the service (default: 3)")
    whole.add_argument("--workers", type=_count, default=1, help="analysing processes (default: 1)")
    accept = add("uploads", _accepting, show.accepting, "accepting beside a bare view that stores the file", 188)
    accept.add_argument("--turns", type=_count, default=3, help="rounds (default: 3)")
    accept.add_argument("--clients", type=_count, nargs="+", default=[1, 4], help="at once (default: 1 4)")
    add("overload", _refusing, show.refusing, "refusals when too many photos wait, and the end of them", 80)
    grow = add("scaling", _growing, show.growing, "one and two analysing processes", 308, each=True)
    grow.add_argument("--turns", type=_count, default=2, help="of one and two (default: 2)")
    memory = add("memory", _remembering, show.remembering, "the memory of a worker over many photos", 210)
    memory.add_argument("--count", type=_count, default=10_000, help="photos to look at (default: 10000)")
    memory.add_argument("--distinct", type=_count, default=210, help="different ones among them (default: 210)")
    memory.add_argument("--mebibytes", type=_count, help="what a worker may hold before another takes its place")
    memory.add_argument("--out", type=Path, default=FOLDER, help="folder for memory.csv and memory.png")
    return parser, tuple(parts.choices)


def _everything(parts: Sequence[str]) -> int:
    # A process each: the settings of Django are read once in a process.
    return max([_run("ml.bench"), *(_run("mask_social.bench", part) for part in parts if part != "memory")])


def _run(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=BASE, check=False).returncode  # noqa: S603 - our own command


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
