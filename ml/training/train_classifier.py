"""Train the four-state classifier: `python -m ml.training.train_classifier` (`--folder DIR`: on one's own photos)."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

from ml.training.progress import say
from ml.training.schedule import SCHEDULES
from ml.training.sources import add_source_arguments, loss_weights, open_source
from ml.types import STATES


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m ml.training.train_classifier", description=__doc__)
    add_source_arguments(made)
    made.add_argument("--preset", default="small", choices=("tiny", "small", "large"))
    made.add_argument("--minutes", type=float, default=math.inf, help="end, cooled down, after so long")
    made.add_argument(
        "--refine", action="store_true", help="go on from the checkpoint, gently, without doubtful labels"
    )
    made.add_argument("--fresh", action="store_true", help="begin anew also where this very run can be gone on with")
    made.add_argument("--schedule", default="cosine", choices=SCHEDULES, help="of the learning rate")
    made.add_argument("--patience", type=int, default=0, help="end after so many epochs without a better dev log loss")
    made.add_argument("--teacher", default="", help="checkpoints to learn from as well, separated by commas")
    made.add_argument("--teacher-share", type=float, default=0.5, help="their part of the loss, 0..1")
    made.add_argument("--device", default="auto", help="cpu, cuda, or auto: CUDA if there is one")
    made.add_argument("--workers", type=int, help="processes that vary the pictures (default: 1, with CUDA up to 8)")
    made.add_argument("--threads", type=int, default=1, help="of the network's own arithmetic on the CPU")
    made.add_argument("--seed", type=int, default=0)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Cut, draw, train and leave a checkpoint."""
    options = parser().parse_args(arguments)
    pool = open_source(options)
    if problem := pool.problem(needs_torch=True):
        say(problem)
        return 2
    import torch

    from ml.training import engine
    from ml.training.device import choose_device, choose_workers
    from ml.training.presets import PRESETS

    torch.set_num_threads(options.threads)
    checkpoint, preset, start, held_out = pool.work / "classifier.pt", PRESETS[options.preset], None, None
    if options.refine:
        try:
            start, preset, notes = engine.load(checkpoint)
        except FileNotFoundError:
            say(f"There is nothing to refine in {pool.work}: train without --refine first.")
            return 2
        preset, held_out = replace(preset, rate=preset.rate / 2), notes["held_out"]["dev"]
        checkpoint = pool.work / "refined.pt"
    try:
        faces, dev = pool.to_learn_and_tune(held_out=held_out)
    except ValueError as error:  # no faces at all, or too few
        say(str(error))
        return 2
    device = choose_device(options.device)
    if start is not None:
        doubtful = engine.contradicted(start.to(device), faces, preset)
        say(f"left out: {doubtful.sum()} faces that contradict their photo's label")
        faces = faces.pick(~doubtful)
    chances = pool.chances(faces)
    plan = engine.Plan(
        seed=options.seed + options.refine,
        minutes=options.minutes,
        schedule=options.schedule,
        patience=options.patience,
        balance=loss_weights(chances, faces.states, len(STATES)) if options.balance == "weights" else (),
        teachers=tuple(Path(name) for name in options.teacher.split(",") if name),
        teacher_share=options.teacher_share,
        device=device,
        workers=choose_workers(device) if options.workers is None else options.workers,
        fresh=options.fresh,
    )
    held = {"dev": dev, "val": pool.of_split("val")}
    notes = {
        "trained_on": pool.about,
        "held_out": {name: sorted(set(some.files.tolist())) for name, some in held.items()},
    }
    try:
        engine.train(faces, chances, dev, preset, checkpoint, plan, start=start, notes=notes)
    except (FileNotFoundError, ValueError) as error:  # a teacher that is not there, or sees other squares
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
