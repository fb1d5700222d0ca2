"""Decide which faces train, which tune, and how often each is drawn."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.training.crops import Faces
from ml.types import STATES

#: States that looking at single training faces gave; see `corrected`.
CORRECTIONS = Path(__file__).parent / "corrections.csv"
LEFT_OUT = "left_out"
SAME_BITS = 4
DRAWN = "drawn"  # the part name of faces that got a mask or an occluder from our own brush
TRANSFER = "transfer"  # and of faces that got another face's real mask, or a bare nose
TWIN_BITS = 10  # of 64: how far apart two hashes may be and still be compared
TWIN_LIKENESS = 0.93  # correlation of 24 x 24 thumbnails from which on two faces are one picture

# Share of the draws by (state, part). Street photographs before studio ones: a net that learns "no mask" from aligned
# portraits learns "frontal" instead.
SHARES: Mapping[tuple[str, str], float] = {
    ("mask", "ilc_scenes"): 0.085,
    ("mask", "kaggle_scenes"): 0.055,
    ("mask", "street_mask"): 0.055,
    ("mask", "k12_mask"): 0.050,
    ("mask", "rmfd_mask"): 0.020,
    ("mask", "crowd_mask"): 0.020,
    ("mask", "beards"): 0.0005,
    ("mask", DRAWN): 0.035,
    ("mask", TRANSFER): 0.030,
    ("no_mask", "ilc_scenes"): 0.085,
    ("no_mask", "kaggle_scenes"): 0.040,
    ("no_mask", "street_no_mask"): 0.050,
    ("no_mask", "crowd_no_mask"): 0.040,
    ("no_mask", "smoker"): 0.045,
    ("no_mask", "beards"): 0.020,
    ("no_mask", "celeba_no_mask"): 0.015,
    ("no_mask", "ffhq_no_mask"): 0.015,
    ("no_mask", DRAWN): 0.015,
    ("incorrect", "ilc_scenes"): 0.075,
    ("incorrect", "kaggle_scenes"): 0.030,
    ("incorrect", "street_mask"): 0.006,
    ("incorrect", "k12_mask"): 0.002,
    ("incorrect", "rmfd_mask"): 0.001,
    ("incorrect", "crowd_mask"): 0.001,
    ("incorrect", DRAWN): 0.040,
    ("incorrect", TRANSFER): 0.100,
    ("occluded", "smoker"): 0.045,
    ("occluded", "ilc_scenes"): 0.0005,
    ("occluded", "kaggle_scenes"): 0.0005,
    ("occluded", DRAWN): 0.050,
}


@dataclass(frozen=True, slots=True)
class Split:
    """Hold row numbers: faces to learn from, and to tune on."""

    train: NDArray[np.int64]
    dev: NDArray[np.int64]


def corrected(faces: Faces, path: Path = CORRECTIONS) -> Faces:
    """Return the faces with the states that looking at them gave; those that nobody could tell are left out.

    A photo's label is wrong for some faces on it: a nose that shows, someone in the crowd without a mask. A correction
    names the file and the hash of the cut face, of which four bits may differ.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    states, kept = faces.states.copy(), np.ones(len(faces), bool)
    by_file: dict[str, list[int]] = {}
    for row, name in enumerate(faces.files.tolist()):
        by_file.setdefault(name, []).append(row)
    for correction in rows:
        bits = np.uint64(int(correction["hash"], 16))
        apart = {row: int(np.bitwise_count(faces.hashes[row] ^ bits)) for row in by_file.get(correction["file"], [])}
        if not apart or min(apart.values()) > SAME_BITS:
            continue
        row = min(apart, key=apart.__getitem__)
        if correction["state"] == LEFT_OUT:
            kept[row] = False
        else:
            states[row] = STATES.index(correction["state"])
    return replace(faces, states=states).pick(kept)


def selfie_files(root: Path) -> frozenset[str]:
    """Return the photos of the two men who took 176 selfies of one format; they would be on both sides otherwise."""
    with (root / "index.csv").open(newline="") as file:
        return frozenset(
            row["file"]
            for row in csv.DictReader(file)
            if row["part"] == "kaggle_scenes" and (row["width"], row["height"]) in (("301", "400"), ("400", "301"))
        )


def _thumbs(faces: Faces) -> NDArray[np.float32]:
    edge = round(faces.crops.shape[1] * 0.18)
    grey = [cv2.cvtColor(crop[edge:-edge, edge:-edge], cv2.COLOR_RGB2GRAY) for crop in faces.crops]
    small = np.array([cv2.resize(one, (24, 24), interpolation=cv2.INTER_AREA).reshape(-1) for one in grey], np.float32)
    small -= small.mean(axis=1, keepdims=True)
    return np.asarray(small / (np.linalg.norm(small, axis=1, keepdims=True) + 1e-6), np.float32)


def twin_groups(faces: Faces) -> NDArray[np.int64]:
    """Return a group number per face: faces of one photo, and near duplicates of any photo, share theirs."""
    parent = np.arange(len(faces))

    def root_of(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    first: dict[str, int] = {}
    for row, file in enumerate(faces.files.tolist()):
        parent[root_of(row)] = root_of(first.setdefault(file, row))
    thumbs = _thumbs(faces)
    for row in range(len(faces) - 1):
        near = np.bitwise_count(faces.hashes[row + 1 :] ^ faces.hashes[row]) <= TWIN_BITS
        for other in np.flatnonzero(near) + row + 1:
            if float(thumbs[row] @ thumbs[other]) >= TWIN_LIKENESS:
                parent[root_of(int(other))] = root_of(row)
    return np.array([root_of(row) for row in range(len(faces))], np.int64)


def split(faces: Faces, groups: NDArray[np.int64], share: float = 0.1, seed: int = 0) -> Split:
    """Split the train rows by group; a group that also has a row of `val` is left out altogether."""
    in_val = np.isin(groups, np.unique(groups[faces.splits == "val"]))
    usable = (faces.splits == "train") & ~in_val
    rng = np.random.default_rng(seed)
    tuned: set[int] = set()
    # Class by class and part by part, so that the few "incorrect" faces are in both.
    for state in range(len(STATES)):
        for part in sorted(set(faces.parts.tolist())):
            rows = np.flatnonzero(usable & (faces.states == state) & (faces.parts == part))
            names = rng.permutation(np.unique(groups[rows]))
            tuned.update(names[: round(len(names) * share)].tolist())
    in_dev = np.isin(groups, np.array(sorted(tuned), np.int64))
    return Split(np.flatnonzero(usable & ~in_dev), np.flatnonzero(usable & in_dev))


def draw_weights(faces: Faces, shares: Mapping[tuple[str, str], float] = SHARES) -> NDArray[np.float64]:
    """Return each row's chance to be drawn, float64 (N,), summing to 1; a (state, part) without a share gets none."""
    weights = np.zeros(len(faces), np.float64)
    for (state, part), share in shares.items():
        rows = (faces.states == STATES.index(state)) & (faces.parts == part)
        if rows.any():
            weights[rows] = share / rows.sum()
    total = weights.sum()
    if total == 0:
        raise ValueError("no face has a share in the draw")
    return np.asarray(weights / total, np.float64)


def choose_box(boxes: NDArray[np.float32], rng: np.random.Generator | None = None) -> NDArray[np.float32]:
    """Choose one of a face's boxes (3,4): the detected one where there is one; with `rng`, often but not always."""
    there = ~np.isnan(boxes[:, 0])
    if rng is not None:
        chance = np.array([0.28, 0.12, 0.60]) * there
        return np.asarray(boxes[int(rng.choice(3, p=chance / chance.sum()))], np.float32)
    return np.asarray(boxes[2 if there[2] else 0 if there[0] else 1], np.float32)


def square_of(box: NDArray[Any], margin: float) -> tuple[float, float, float]:
    """Return centre x, centre y and side of the square that the run time cuts around a box."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    return (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) * margin
