"""Make more of what is scarce: draw masks, badly worn masks and hands onto bare training faces."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE
from ml.training.crops import MARGIN, SIDE, Faces
from ml.training.data import DRAWN
from ml.training.draw_masks import draw_mask, random_style
from ml.training.draw_occluders import OCCLUDERS, draw_occluder
from ml.types import STATES

# How many of each kind per face, on average.
KINDS = {"full": 0.8, "under_nose": 1.0, "chin": 0.4, "occluder": 0.7}
FACE = SIDE / MARGIN  # pixels of a face's longer side in a cut


def drawable(faces: Faces) -> NDArray[np.int64]:
    """Return the bare training faces whose landmarks look like a face; smokers' hands would be drawn over."""
    marks = faces.landmarks
    eyes = np.linalg.norm(marks[:, 1] - marks[:, 0], axis=1)
    drop = (marks[:, 3:].mean(axis=1) - marks[:, :2].mean(axis=1))[:, 1]
    fine = ~np.isnan(eyes) & (eyes > 0.12 * FACE) & (drop > 0.2 * FACE) & (drop < 0.8 * FACE)
    bare = (faces.states == STATES.index("no_mask")) & (faces.splits == "train") & (faces.parts != "smoker")
    return np.flatnonzero(fine & bare & (faces.sizes >= 32))


def _draw(
    crop: NDArray[np.uint8], marks: NDArray[np.float32], kind: str, rng: np.random.Generator
) -> NDArray[np.uint8]:
    if kind == "occluder":
        tool = str(rng.choice(OCCLUDERS, p=[0.55, 0.2, 0.1, 0.15]))
        return draw_occluder(crop, marks, tool, int(rng.integers(2**31)))[0]
    return draw_mask(crop, marks, random_style(rng, kind, patterned=0.5))[0]


def synthesize(faces: Faces, seed: int = 0) -> Iterator[Faces]:
    """Yield drawn versions face by face; the part is `drawn`, all else is the bare face's."""
    rng = np.random.default_rng(seed)
    for row in drawable(faces):
        made, states = [], []
        for kind, share in KINDS.items():
            if rng.random() >= share:
                continue
            marks = faces.landmarks[row] + rng.normal(0, 0.6, (5, 2)).astype(np.float32)
            drawn = _draw(faces.crops[row], marks, kind, rng)
            drawn = np.where((faces.crops[row] == OUTSIDE).all(axis=2, keepdims=True), OUTSIDE, drawn)
            # No sharper than its face: fine lines on a blurred one would be a tell.
            sharp = min(1.0, float(faces.sizes[row]) / FACE) * float(rng.uniform(0.7, 1.0))
            small = max(24, round(SIDE * sharp))
            blurred = cv2.resize(drawn.astype(np.uint8), (small, small), interpolation=cv2.INTER_AREA)
            made.append(cv2.resize(blurred, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
            states.append(STATES.index({"full": "mask", "occluder": "occluded"}.get(kind, "incorrect")))
        if made:
            same = faces.pick(np.full(len(made), row))
            yield Faces(
                crops=np.stack(made).astype(np.uint8),
                boxes=same.boxes,
                landmarks=same.landmarks,
                states=np.array(states, np.int64),
                parts=np.full(len(made), DRAWN),
                splits=same.splits,
                files=same.files,
                sizes=same.sizes,
                hashes=same.hashes,
            )
