"""What the first network proposes on the training photographs, cut once: the second and third learn from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.detector import Detector
from ml.geometry import OUTSIDE, Floats, Octaves, Pixels, crop_squares, squares
from ml.training.crops import iou
from ml.training.detection.draws import varied
from ml.training.detection.scenes import FACE, UNKNOWN, Scene

SIDE, MARGIN = 96, 2.2
FACE_KIND, PART_KIND, NOT_KIND, UNSURE_KIND = 1, -1, 0, 2
#: People drew a box around each face on these; what they left is half hidden, blurred, or no face.
HAND_BOXED = ("ilc_scenes", "kaggle_scenes")
_FACE, _NOT = 0.45, 0.3
_PER_FACE, _PER_UNSURE, _HARD, _EASY = 3, 2, 7, 4
_LEAST = 12.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """Hold cut proposals as columns of equal length N; boxes and landmarks are in pixels of the cut."""

    crops: Pixels  # N,SIDE,SIDE,3 RGB
    kinds: NDArray[np.int64]  # a face, part of one, none, or what only a teacher takes for one
    boxes: Floats  # N,4, NaN where there is no face
    landmarks: Floats  # N,5,2, NaN where unknown
    logits: Floats  # what the first network said
    states: NDArray[np.str_]
    parts: NDArray[np.str_]
    files: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.kinds)

    def pick(self, rows: NDArray[Any]) -> Candidates:
        """Return the named rows (indices or a boolean choice)."""
        return Candidates(**{name: getattr(self, name)[rows] for name in Candidates.__slots__})

    def save(self, path: Path) -> None:
        """Write the columns as an uncompressed npz; never leaves half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        with scratch.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in Candidates.__slots__})
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path) -> Candidates:
        """Read what `save` wrote."""
        with np.load(path) as columns:
            return cls(**{name: columns[name] for name in cls.__slots__})

    @classmethod
    def join(cls, several: Sequence[Candidates]) -> Candidates:
        """Put several sets one after the other."""
        return cls(**{name: np.concatenate([getattr(one, name) for one in several]) for name in cls.__slots__})


def mine(detector: Detector, image: Pixels, scene: Scene, rng: np.random.Generator) -> Candidates:
    """Cut what the first network proposes on one photograph, and the faces themselves, a little off."""
    octaves = Octaves(image)
    found = detector.propose(octaves)
    large = (scene.boxes[:, 2:] - scene.boxes[:, :2]).min(axis=1, initial=np.inf) >= _LEAST
    chosen = np.array(_choose(found.boxes, scene, large, rng), np.int64).reshape(-1, 3)
    near = np.flatnonzero((scene.kinds == FACE) & large)
    owners = np.concatenate([chosen[:, 2], near])
    boxes = np.concatenate([found.boxes[chosen[:, 0]], _jittered(scene.boxes[near], rng)]).astype(np.float32)
    where = squares(boxes, MARGIN)
    origin, zoom = where[:, :2] - where[:, 2:] / 2, SIDE / where[:, 2:]
    truth = (scene.boxes[owners] - np.tile(origin, 2)) * zoom if len(scene.boxes) else np.empty_like(boxes)
    marks = np.full((len(boxes), 5, 2), np.nan, np.float32)
    if len(scene.boxes):
        marks = (scene.landmarks[owners] - origin[:, None]) * zoom[:, None]
    stranger = owners < 0
    return Candidates(
        crop_squares(octaves, boxes, SIDE, MARGIN),
        np.concatenate([chosen[:, 1], np.full(len(near), FACE_KIND)]).astype(np.int64),
        np.where(stranger[:, None], np.nan, truth.reshape(-1, 4)).astype(np.float32),
        np.where(stranger[:, None, None], np.nan, marks).astype(np.float32),
        np.concatenate([found.logits[chosen[:, 0], 0], np.zeros(len(near))]).astype(np.float32),
        np.array(["none" if owner < 0 else scene.states[owner] for owner in owners], "U12"),
        np.full(len(boxes), scene.part, "U16"),
        np.full(len(boxes), scene.file, "U96"),
    )


def _choose(
    boxes: Floats, scene: Scene, large: NDArray[np.bool_], rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Choose proposals (N,4): the row of each, its kind, and the row of the scene's box that it is about, or -1."""
    overlap = iou(boxes, scene.boxes) if len(scene.boxes) else np.zeros((len(boxes), 0), np.float32)
    faces = overlap * (scene.kinds == FACE)
    best = faces.max(axis=1, initial=0)
    chosen: list[tuple[int, int, int]] = []
    for face in np.flatnonzero((scene.kinds == FACE) & large):
        its = faces.argmax(axis=1) == face if len(boxes) else np.empty(0, bool)
        over = np.flatnonzero(its & (faces[:, face] >= _FACE))
        chosen += [(int(row), FACE_KIND, int(face)) for row in rng.permutation(over)[:_PER_FACE]]
        near = np.flatnonzero(its & (faces[:, face] >= _NOT) & (best < _FACE))
        chosen += [(int(row), PART_KIND, int(face)) for row in rng.permutation(near)[:1]]
    unsure = [row for row, state in enumerate(scene.states) if state == UNKNOWN and scene.part in HAND_BOXED]
    for row in unsure:
        over = np.flatnonzero((overlap[:, row] >= _FACE) & (best < _NOT))
        chosen += [(int(one), UNSURE_KIND, -1) for one in rng.permutation(over)[:_PER_UNSURE]]
    spare = scene.boxes[scene.kinds != FACE]
    free = (overlap[:, scene.kinds != FACE].max(axis=1, initial=0) < 0.15) & (_share(boxes, spare) < 0.4)
    strangers = np.flatnonzero((best < _NOT) & free)  # the surest first
    easy = rng.permutation(strangers[_HARD:])[:_EASY]
    return chosen + [(int(row), NOT_KIND, -1) for row in (*strangers[:_HARD], *easy)]


def _share(boxes: Floats, spare: Floats) -> Floats:
    """Return how much of each box (N,4) lies in the spare box that holds most of it."""
    low = np.maximum(boxes[:, None, :2], spare[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], spare[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2).max(axis=1, initial=0)
    return np.asarray(shared / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6), np.float32)


def _jittered(faces: Floats, rng: np.random.Generator) -> Floats:
    sides = faces[:, 2:] - faces[:, :2]
    centre = (faces[:, :2] + faces[:, 2:]) / 2 + sides * rng.normal(0, 0.07, sides.shape)
    half = sides * np.exp(rng.normal(0, 0.1, sides.shape)) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold one network input (S,S,3), its box (4,) and landmarks (10,) in units of the unwidened square."""

    pixels: Pixels
    box: Floats
    landmarks: Floats


def vary(crop: Pixels, box: Floats, marks: Floats, size: int, margin: float, rng: np.random.Generator) -> Sample:
    """Cut a jittered square out of a cut, turned, mirrored, in another light."""
    side = SIDE / MARGIN * float(np.clip(np.exp(rng.normal(0, 0.09)), 0.75, 1.3))
    centre = SIDE / 2 + np.clip(rng.normal(0, 0.05, 2), -0.14, 0.14) * side
    angle = np.deg2rad(float(rng.uniform(-30, 30) if rng.random() < 0.2 else rng.normal(0, 5)))
    flip = bool(rng.random() < 0.5)
    zoom = size / margin / side
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    if flip:
        linear = linear @ np.diag([-1.0, 1.0])
    offset = size / 2 - linear @ centre
    shifted = np.hstack([linear, (offset + linear.sum(axis=1) * 0.5 - 0.5)[:, None]])
    source = crop
    if zoom < 0.5:  # half the pixels first, or a strong reduction would skip some
        source = np.asarray(cv2.resize(crop, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA), np.uint8)
        shifted = np.hstack([linear * 2, (offset + (linear * 2).sum(axis=1) * 0.5 - 0.5)[:, None]])
    pixels = cv2.warpAffine(source, shifted, (size, size), flags=cv2.INTER_LINEAR, borderValue=(OUTSIDE,) * 3)
    pixels = varied(np.asarray(pixels, np.uint8), rng)
    if rng.random() < 0.2:
        small = int(size * rng.uniform(0.35, 0.8))
        pixels = cv2.resize(cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    middle = linear @ ((box[:2] + box[2:]) / 2) + offset
    half = (box[2:] - box[:2]) / 2 * zoom
    corner, unit = (size - size / margin) / 2, size / margin
    moved = marks @ linear.T + offset
    if flip:
        moved = moved[[1, 0, 2, 4, 3]]
    placed = (np.concatenate([middle - half, middle + half]) - corner) / unit
    # Offsets of the box are those of its corners from the square's own.
    target = (placed - np.array([0, 0, 1, 1])).astype(np.float32)
    return Sample(np.asarray(pixels, np.uint8), target, ((moved - corner) / unit).reshape(10).astype(np.float32))


def mined(
    detector: Detector, photos: Iterator[tuple[Pixels, Scene]], rng: np.random.Generator, passes: dict[str, int]
) -> Iterator[Candidates]:
    """Yield the candidates of each photograph; a part with several passes is also seen at other scales."""
    for image, scene in photos:
        yield mine(detector, image, scene, rng)
        for _ in range(passes.get(scene.part, 1) - 1):
            zoom = float(rng.uniform(0.5, 1.3))
            if max(image.shape[:2]) * zoom < 64:
                continue
            other = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
            stretch = np.array([other.shape[1] / image.shape[1], other.shape[0] / image.shape[0]], np.float32)
            moved = Scene(
                scene.file,
                scene.part,
                scene.split,
                scene.boxes * np.tile(stretch, 2),
                scene.kinds,
                scene.states,
                scene.landmarks * stretch,
            )
            yield mine(detector, varied(other, rng), moved, rng)
