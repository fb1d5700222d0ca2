"""Say where the shipped classifier errs, by part and state: `python -m ml.training.evaluate [--sheet FILE]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.classifier import softmax
from ml.evaluation.mistakes import contact_sheet
from ml.evaluation.stats import calibration_error, confusion_of, macro_f1
from ml.manifest import WEIGHTS, ClassifierManifest
from ml.session import make_session
from ml.training.augment import plain
from ml.training.crops import Faces
from ml.training.pool import Pool, add_arguments, say
from ml.types import STATES, WeightsError

BOXED = ("ilc_scenes", "kaggle_scenes")
SCORED = 24.0  # pixels: smaller faces are not counted where boxes are judged


def run_onnx(path: Path, crops: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
    """Return logits float32 (N,states) of an exported network for uint8 (N,S,S,3)."""
    session = make_session(path.read_bytes(), threads=1, providers=["CPUExecutionProvider"])
    parts = [np.empty((0, len(STATES)), np.float32)]
    for start in range(0, len(crops), batch):
        pixels = (crops[start : start + batch].transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 128.0
        parts.append(session.run(["logits"], {"crops": pixels.astype(np.float32)})[0])
    return np.concatenate(parts)


def summary(faces: Faces, chances: NDArray[np.float64]) -> dict[str, Any]:
    """Return the numbers that matter, each on the faces it is about."""
    said = np.asarray(chances.argmax(axis=1), np.int64)
    boxed = np.isin(faces.parts, BOXED) & (faces.sizes >= SCORED)

    def share(of: NDArray[np.bool_], state: str) -> float | None:
        return round(float((said[of] == STATES.index(state)).mean()), 4) if of.any() else None

    def truth(state: str) -> NDArray[np.bool_]:
        return np.asarray(faces.states == STATES.index(state), np.bool_)

    mask_seen, bare_as_mask = share(boxed & truth("mask"), "mask"), share(boxed & truth("no_mask"), "mask")
    both = None if mask_seen is None or bare_as_mask is None else round((mask_seen + 1 - bare_as_mask) / 2, 4)
    return {
        "faces": len(faces),
        "boxed_macro_f1": round(float(macro_f1(confusion_of(said[boxed], faces.states[boxed], len(STATES)))), 4),
        "boxed_recall": {s: share(boxed & truth(s), s) for s in STATES[:3]},
        "boxed_binary_balanced": both,
        "boxed_incorrect_called_mask": share(boxed & truth("incorrect"), "mask"),
        "k12_recall": share(faces.parts == "k12_mask", "mask"),
        "smoker_called_mask": share(faces.parts == "smoker", "mask"),
        "smoker_occluded_recall": share((faces.parts == "smoker") & truth("occluded"), "occluded"),
        "street_bare_called_mask": share(faces.parts == "street_no_mask", "mask"),
    }


def table(faces: Faces, chances: NDArray[np.float64]) -> str:
    """Return what each part's faces of each state were called, as a Markdown table."""
    said = chances.argmax(axis=1)
    lines = ["| part | state | faces | " + " | ".join(STATES) + " |", "|---|---|---:|" + "---:|" * len(STATES)]
    for part in sorted(set(faces.parts.tolist())):
        for state, name in enumerate(STATES):
            of = (faces.parts == part) & (faces.states == state)
            if of.any():
                shares = " | ".join(f"{(said[of] == other).mean():.3f}" for other in range(len(STATES)))
                lines.append(f"| {part} | {name} | {of.sum()} | {shares} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Judge the ONNX file on the cut faces of a split."""
    parser = argparse.ArgumentParser(prog="python -m ml.training.evaluate", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--split", default="val", choices=("val", "dev"), help="dev: held out of train, for tuning")
    parser.add_argument("--sheet", type=Path, help="write a picture of the wrong ones here (PNG; keep it to yourself)")
    options = parser.parse_args(arguments)
    pool = Pool.of(options)
    if problem := pool.problem(needs_torch=False):
        say(problem)
        return 2
    try:
        shipped = ClassifierManifest.load(options.weights)
    except WeightsError as error:
        say(str(error))
        return 2
    faces = pool.of_split(options.split)
    crops = np.stack([plain(c, b, shipped.size, shipped.margin) for c, b in zip(faces.crops, faces.boxes, strict=True)])
    chances = softmax(
        (run_onnx(options.weights / shipped.file, crops).astype(np.float64) + shipped.bias) / shipped.temperature
    )
    say(table(faces, chances))
    for name, value in summary(faces, chances).items():
        say(f"{name}: {value}")
    say(f"calibration_error: {calibration_error(chances, faces.states)}")
    if options.sheet:
        said = chances.argmax(axis=1)
        wrong = np.flatnonzero(said != faces.states)
        wrong = wrong[np.lexsort((faces.parts[wrong], faces.states[wrong]))][:360]
        captions = [f"{faces.parts[r][:4]} {STATES[faces.states[r]][:4]}>{STATES[said[r]][:4]}" for r in wrong.tolist()]
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.sheet), cv2.cvtColor(contact_sheet(crops[wrong], captions), cv2.COLOR_RGB2BGR))
        say(f"{len(wrong)} wrong ones drawn to {options.sheet}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
