"""Cut every labelled face of the pool once and keep the cuts in one file that training maps into memory.

A cut is larger than the network's input (`SIDE`, `MARGIN`), so that shifts, turns and scales stay inside it. For each
face up to three boxes are kept: the labelled one, the teacher's, and the one our own detector finds; at run time only
the last kind exists, so training sees it too.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.detector import Detector
from ml.geometry import crop_squares, squares
from ml.images import decode
from ml.manifest import WEIGHTS
from ml.training.detection.teachers import YuNet
from ml.types import STATES, ImageError

SIDE = 144
MARGIN = 2.0
SMALLEST = 16.0  # pixels; under this even a person guesses
SAME_FACE = 0.4
CROWDS = ("crowd_mask", "crowd_no_mask")
CROPPED = ("k12_mask", "street_mask", "street_no_mask", "celeba_no_mask")  # the photo itself is about a face
BOX_KINDS = ("labelled", "teacher", "detected")

Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Photo:
    """Name a photo of the pool and what its index says: an image-level state, or boxes with states."""

    file: str
    part: str
    split: str
    state: str
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...]


@dataclass(frozen=True, slots=True)
class Faces:
    """Hold cut faces as columns of equal length N; boxes and landmarks are in pixels of the cut."""

    crops: NDArray[np.uint8]  # N,SIDE,SIDE,3 RGB
    boxes: Boxes  # N,3,4 in the order of BOX_KINDS, NaN where there is none
    landmarks: NDArray[np.float32]  # N,5,2, NaN where there are none
    states: NDArray[np.int64]
    parts: NDArray[np.str_]
    splits: NDArray[np.str_]
    files: NDArray[np.str_]
    sizes: NDArray[np.float32]  # shorter side of the face in its photo, pixels
    hashes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.states)

    def pick(self, rows: NDArray[Any]) -> Faces:
        """Return the named rows (indices or a boolean choice)."""
        return Faces(**{name: getattr(self, name)[rows] for name in Faces.__slots__})

    def save(self, path: Path) -> None:
        """Write the columns as an uncompressed npz; never leaves half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        with scratch.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in Faces.__slots__})
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> Faces:
        """Read what `save` wrote."""
        with np.load(path) as columns:
            return cls(**{name: columns[name] for name in cls.__slots__})

    @classmethod
    def join(cls, several: Sequence[Faces]) -> Faces:
        """Put several sets one after the other."""
        return cls(**{name: np.concatenate([getattr(one, name) for one in several]) for name in cls.__slots__})


def read_index(root: Path) -> list[Photo]:
    """Read index.csv; boxes marked `ignore` or `joke` are left out. Raises FileNotFoundError."""
    with (root / "index.csv").open(newline="") as file:
        return [
            Photo(
                file=row["file"],
                part=row["part"],
                split=row["split"],
                state=row["label"],
                boxes=tuple(
                    (box["label"], tuple(box["xyxy"]))
                    for box in json.loads(row["boxes"] or "[]")
                    if box["label"] in STATES and not box.get("joke")
                ),
            )
            for row in csv.DictReader(file)
        ]


def iou(one: Boxes, other: Boxes) -> NDArray[np.float32]:
    """Return the overlap of each pair, float32 (N,M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.prod(one[:, 2:] - one[:, :2], axis=1)[:, None] + np.prod(other[:, 2:] - other[:, :2], axis=1)[None]
    return np.asarray(shared / np.maximum(area - shared, 1e-6), np.float32)


class Teacher:
    """Find faces and their five landmarks with YuNet, the largest first."""

    def __init__(self, weights: Path, threshold: float = 0.6) -> None:
        self._net = YuNet(weights, threshold)

    def find(self, image: NDArray[np.uint8]) -> tuple[Boxes, NDArray[np.float32]]:
        """Return boxes (N,4) and landmarks (N,5,2) in pixels, the largest face first."""
        taught = self._net.find(image)
        order = np.argsort(-np.prod(taught.boxes[:, 2:] - taught.boxes[:, :2], axis=1))
        return taught.boxes[order], taught.landmarks[order]


def difference_hash(crop: NDArray[np.uint8]) -> int:
    """Return a 64-bit hash of the inner face that near duplicates nearly share."""
    edge = round(len(crop) * 0.18)
    grey = cv2.cvtColor(crop[edge:-edge, edge:-edge], cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)
    return int(np.packbits(bits).view(">u8")[0])


def _targets(photo: Photo, taught: Boxes, found: Boxes, size: tuple[int, int]) -> Iterator[tuple[str, Boxes]]:
    """Yield the state and box of each face to cut."""
    if photo.boxes:
        for state, xyxy in photo.boxes:
            yield state, np.array(xyxy, np.float32)
        return
    if photo.state not in STATES:
        return
    seen = taught if len(taught) else found
    if not len(seen) and photo.part in CROPPED:
        height, width = size
        seen = np.array([[0.12 * width, 0.08 * height, 0.88 * width, 0.92 * height]], np.float32)
    for box in seen[: 6 if photo.part in CROWDS else 1]:
        yield photo.state, box


def _nearest(box: Boxes, among: Boxes) -> int | None:
    if not len(among):
        return None
    overlap = iou(box[None], among)[0]
    best = int(overlap.argmax())
    return best if overlap[best] >= SAME_FACE else None


def cut(photo: Photo, image: NDArray[np.uint8], teacher: Teacher, detector: Detector) -> list[dict[str, Any]]:
    """Cut the faces of one photo; return one row per face."""
    return rows_of(photo, image, *teacher.find(image), detector.detect(image).boxes)


def rows_of(
    photo: Photo, image: NDArray[np.uint8], taught: Boxes, landmarks: NDArray[np.float32], found: Boxes
) -> list[dict[str, Any]]:
    """Return one row per face of the photo, cut, from the teacher's boxes and landmarks and our detector's boxes."""
    by_area = np.argsort(-np.prod(found[:, 2:] - found[:, :2], axis=1))
    rows = []
    for state, box in _targets(photo, taught, found[by_area], image.shape[:2]):
        if min(box[2] - box[0], box[3] - box[1]) < SMALLEST:
            continue
        x, y, side = squares(box[None], MARGIN)[0]
        origin = np.array([x - side / 2, y - side / 2], np.float32)
        zoom = SIDE / side
        boxes = np.full((3, 4), np.nan, np.float32)
        marks = np.full((5, 2), np.nan, np.float32)
        if photo.boxes:
            boxes[0] = box
        if (at := _nearest(box, taught)) is not None:
            boxes[1], marks = taught[at], landmarks[at]
        if (at := _nearest(box, found)) is not None:
            boxes[2] = found[at]
        if np.isnan(boxes).all():
            boxes[0] = box
        crop = crop_squares(image, box[None], SIDE, MARGIN)[0]
        rows.append(
            {
                "crops": crop,
                "boxes": (boxes - np.tile(origin, 2)) * zoom,
                "landmarks": (marks - origin) * zoom,
                "states": STATES.index(state),
                "parts": photo.part,
                "splits": photo.split,
                "files": photo.file,
                "sizes": min(box[2] - box[0], box[3] - box[1]),
                "hashes": difference_hash(crop),
            }
        )
    return rows


def pack(rows: Sequence[dict[str, Any]]) -> Faces:
    """Turn rows into columns. Raises ValueError if there is none."""
    if not rows:
        raise ValueError("no face was found to train on")
    kinds = {"boxes": np.float32, "landmarks": np.float32, "sizes": np.float32, "states": np.int64, "hashes": np.uint64}
    return Faces(**{name: np.array([row[name] for row in rows], kinds.get(name)) for name in Faces.__slots__})


def cut_pool(
    root: Path, teacher_weights: Path, photos: Sequence[Photo], weights: Path = WEIGHTS
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each photo; one that cannot be read yields none."""
    cv2.setNumThreads(1)
    teacher, detector = Teacher(teacher_weights), Detector(weights)
    for photo in photos:
        try:
            image = decode(root / photo.file)
        except ImageError:
            yield []
            continue
        yield cut(photo, image, teacher, detector)
