"""Train the four-state classifier: `python -m ml.training.train_classifier --data ../shared/data --preset small`."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace

from ml.training.data import draw_weights
from ml.training.pool import Pool, add_arguments, say


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m ml.training.train_classifier", description=__doc__)
    add_arguments(made)
    made.add_argument("--preset", default="small", choices=("tiny", "small", "large"))
    made.add_argument("--minutes", type=float, default=math.inf, help="end, cooled down, after so long")
    made.add_argument(
        "--refine", action="store_true", help="go on from the checkpoint, gently, without doubtful labels"
    )
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--seed", type=int, default=0)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Cut, draw, train and leave a checkpoint."""
    options = parser().parse_args(arguments)
    pool = Pool.of(options)
    if problem := pool.problem(needs_torch=True):
        say(problem)
        return 2
    import torch

    from ml.training import engine
    from ml.training.presets import PRESETS

    torch.set_num_threads(options.threads)
    if options.refine and not (pool.work / "classifier.pt").is_file():
        say(f"There is nothing to refine in {pool.work}: train without --refine first.")
        return 2
    faces, dev = pool.to_learn_and_tune()
    checkpoint, preset, start = pool.work / "classifier.pt", PRESETS[options.preset], None
    if options.refine:
        start, preset, _ = engine.load(checkpoint)
        preset = replace(preset, rate=preset.rate / 2)
        doubtful = engine.contradicted(start, faces, preset)
        say(f"left out: {doubtful.sum()} faces that contradict their photo's label")
        faces = faces.pick(~doubtful)
        checkpoint = pool.work / "refined.pt"
    engine.train(
        faces,
        draw_weights(faces),
        dev,
        preset,
        checkpoint,
        minutes=options.minutes,
        seed=options.seed + options.refine,
        start=start,
        say=say,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
