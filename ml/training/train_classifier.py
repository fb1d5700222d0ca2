"""Train the four-state classifier: `python -m ml.training.train_classifier --data ../shared/data --preset small`."""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml.training.crops import Faces, Photo, cut_pool, pack, read_index
from ml.training.data import draw_weights, selfie_files, split, twin_groups
from ml.training.synthesis import synthesize

WORK = Path("var/training")
TEACHER = Path("peers/yunet_2026may.onnx")  # beside the data folder
NO_TORCH = "Training needs torch, which is not installed: pip install -e '.[train]'"


def say(text: str) -> None:
    """Print a line at once, also into a file."""
    print(text, flush=True)  # noqa: T201 - this is a command


def missing(data: Path, teacher: Path) -> str | None:
    """Return a sentence about what the data lack, or nothing."""
    if not (data / "index.csv").is_file():
        return f"There are no training photographs: {data / 'index.csv'} is not there (see --data)."
    if not teacher.is_file():
        return f"The detector that finds faces in unboxed photographs is not there: {teacher} (see --teacher)."
    return None


def _cut_all(data: Path, teacher: Path, photos: list[Photo]) -> Faces:
    rows, started = [], time.monotonic()
    for number, found in enumerate(cut_pool(data, teacher, photos), 1):
        rows += found
        if number % 500 == 0 or number == len(photos):
            say(f"cutting faces: {number}/{len(photos)} photos, {len(rows)} faces, {time.monotonic() - started:.0f} s")
    return pack(rows)


def load_faces(data: Path, teacher: Path, work: Path) -> Faces:
    """Return the pool's faces, cut now or at an earlier run."""
    cache = work / "faces.npz"
    if not cache.is_file():
        _cut_all(data, teacher, read_index(data)).save(cache)
    return Faces.load(cache)


def _load_drawn(faces: Faces, work: Path) -> Faces:
    cache = work / "drawn.npz"
    if not cache.is_file():
        several = []
        for number, drawn in enumerate(synthesize(faces), 1):
            several.append(drawn)
            if number % 500 == 0:
                say(f"drawing masks: {number} faces")
        Faces.join(several).save(cache)
    return Faces.load(cache)


def assemble(data: Path, teacher: Path, work: Path, drawn: bool = True) -> tuple[Faces, Faces]:
    """Return the faces to learn from, drawn ones if wanted, and those to tune on; none is a twin of a `val` face."""
    faces = load_faces(data, teacher, work)
    parts = split(faces, twin_groups(faces))
    selfies = np.isin(faces.files, np.array(sorted(selfie_files(data))))
    learn = faces.pick(parts.train[~selfies[parts.train]])
    dev = faces.pick(parts.dev[~selfies[parts.dev]])
    say(f"faces: {len(learn)} to learn from, {len(dev)} to tune on")
    if not drawn:
        return learn, dev
    more = _load_drawn(faces, work)
    # A drawn version of a face held out would tell of that face.
    more = more.pick(np.isin(more.files, np.unique(learn.files)))
    say(f"drawn: {len(more)}")
    return Faces.join([learn, more]), dev


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m ml.training.train_classifier", description=__doc__)
    made.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with index.csv")
    made.add_argument("--teacher", type=Path, help="YuNet's weights (default: peers/ beside the data)")
    made.add_argument("--work", type=Path, default=WORK, help="cuts and checkpoints (default: var/training)")
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
    teacher = options.teacher or options.data.parent / TEACHER
    if problem := missing(options.data, teacher):
        say(problem)
        return 2
    try:
        import torch

        from ml.training import engine
        from ml.training.presets import PRESETS
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        say(NO_TORCH)
        return 2
    torch.set_num_threads(options.threads)
    if options.refine and not (options.work / "classifier.pt").is_file():
        say(f"There is nothing to refine in {options.work}: train without --refine first.")
        return 2
    faces, dev = assemble(options.data, teacher, options.work)
    checkpoint, preset, start = options.work / "classifier.pt", PRESETS[options.preset], None
    if options.refine:
        start, preset, _ = engine.load(checkpoint)
        preset = replace(preset, rate=preset.rate / 2)
        doubtful = engine.contradicted(start, faces, preset)
        say(f"left out: {doubtful.sum()} faces that contradict their photo's label")
        faces = faces.pick(~doubtful)
        checkpoint = options.work / "refined.pt"
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
