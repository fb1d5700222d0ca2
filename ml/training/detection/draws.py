"""Draw training pictures for the proposal network: windows of scenes at any scale, and mosaics of portraits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE, Floats, Octaves, Pixels
from ml.training.detection.scenes import FACE, IGNORED, Scene

#: How often a part's photographs are drawn; within a part each alike.
SHARES: Mapping[str, float] = {
    "ilc_scenes": 0.36,
    "kaggle_scenes": 0.20,
    "crowd_no_mask": 0.12,
    "crowd_mask": 0.05,
    "rmfd_mask": 0.06,
    "beards": 0.02,
    "smoker": 0.05,
    "street_mask": 0.05,
    "street_no_mask": 0.04,
    "k12_mask": 0.03,
    "ffhq_no_mask": 0.01,
    "celeba_no_mask": 0.02,
    "drawn": 0.06,
}
SCENES = ("ilc_scenes", "kaggle_scenes", "crowd_no_mask", "crowd_mask", "rmfd_mask", "beards")
_VISIBLE = 0.5  # of a face must be inside the window, or it counts neither way
_SMALLEST = 9.0  # pixels of the drawn picture below which a face counts neither way


@dataclass(frozen=True, slots=True)
class Labelled:
    """Hold one photograph in memory and where its faces are."""

    image: Pixels
    scene: Scene


@dataclass(frozen=True, slots=True)
class Drawn:
    """Hold one training picture: pixels (S,S,3), boxes (N,4) in them, kinds (N,)."""

    pixels: Pixels
    boxes: Floats
    kinds: NDArray[np.int64]


class Window:
    """Carry a photo and its boxes into a square window: scale, turn, mirror, shift."""

    def __init__(
        self, photo: Labelled, size: int, zoom: float, anchor: NDArray[Any], at: NDArray[Any], turn: float, flip: bool
    ):
        # Shrinking by more than two would skip pixels: begin with a halved copy.
        octaves = Octaves(photo.image)
        level = octaves.level_for(1 / zoom)
        self._image, self._step = octaves[level], 2.0**level
        angle = np.deg2rad(turn)
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
        if flip:
            linear = linear @ np.diag([-1.0, 1.0])
        self._linear, self._zoom, self.size = linear, zoom, size
        self._offset = at - linear @ anchor

    def pixels(self, border: tuple[int, int, int]) -> Pixels:
        """Return the window, uint8 RGB (S,S,3)."""
        linear = self._linear * self._step
        offset = self._offset + linear.sum(axis=1) * 0.5 - 0.5
        matrix = np.hstack([linear, offset[:, None]])
        shape = (self.size, self.size)
        return np.asarray(
            cv2.warpAffine(self._image, matrix, shape, flags=cv2.INTER_LINEAR, borderValue=border), np.uint8
        )

    def boxes(self, boxes: Floats) -> Floats:
        """Return boxes (N,4); a turned face keeps its size, for people box it so."""
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ self._linear.T + self._offset
        half = (boxes[:, 2:] - boxes[:, :2]) / 2 * self._zoom
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def draw(
    photos: Mapping[str, Sequence[Labelled]], chances: Mapping[str, float], size: int, rng: np.random.Generator
) -> Drawn:
    """Draw one picture: a window of a scene, or a mosaic of four photographs of any part."""
    parts = list(chances)
    shares = np.array([chances[part] for part in parts])

    def pick() -> Labelled:
        of = photos[parts[int(rng.choice(len(parts), p=shares / shares.sum()))]]
        return of[int(rng.integers(len(of)))]

    first = pick()
    if first.scene.part in SCENES and rng.random() < 0.75:
        return _varied(_window(first, size, rng), rng)
    half = int(size * rng.uniform(0.35, 0.65)), int(size * rng.uniform(0.35, 0.65))
    pixels = np.empty((size, size, 3), np.uint8)
    boxes, kinds = [], []
    for number in range(4):
        x1, x2 = ((0, half[0]), (half[0], size))[number % 2]
        y1, y2 = ((0, half[1]), (half[1], size))[number // 2]
        side = max(x2 - x1, y2 - y1)
        tile = _window(first if number == 0 else pick(), side, rng)
        pixels[y1:y2, x1:x2] = tile.pixels[: y2 - y1, : x2 - x1]
        cut = _clipped(tile.boxes, tile.kinds, x2 - x1, y2 - y1)
        boxes.append(cut[0] + np.array([x1, y1, x1, y1], np.float32))
        kinds.append(cut[1])
    return _varied(Drawn(pixels, np.concatenate(boxes), np.concatenate(kinds)), rng)


def _window(photo: Labelled, size: int, rng: np.random.Generator) -> Drawn:
    scene = photo.scene
    height, width = photo.image.shape[:2]
    faces = np.flatnonzero(scene.kinds == FACE)
    if len(faces) and rng.random() < 0.85:
        box = scene.boxes[int(rng.choice(faces))]
        side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        wanted = float(np.exp(rng.uniform(np.log(14), np.log(0.85 * size))))
        # Photos much smaller than their window would leave it empty.
        least = min(1.0, 0.6 * size / max(height, width))
        zoom = float(np.clip(wanted / max(side, 4), min(least, 2.2), 2.2))
        anchor: NDArray[Any] = (box[:2] + box[2:]) / 2
        room = min(0.5, 0.5 * side * zoom / size)
        at = rng.uniform(room * 0.7, 1 - room * 0.7, 2) * size
    else:
        zoom = float(np.clip(np.exp(rng.uniform(np.log(0.5), np.log(1.6))) * size / max(height, width), 0.12, 2.0))
        anchor = rng.uniform(0, 1, 2) * [width, height]
        at = rng.uniform(0.2, 0.8, 2) * size
    turn = float(rng.uniform(-35, 35) if rng.random() < 0.15 else rng.normal(0, 5))
    flip = bool(rng.random() < 0.5)
    if rng.random() < 0.85:
        at = _filled(
            np.array([width, height]) * zoom, np.where([flip, False], [width, 0] - anchor, anchor) * zoom, at, size
        )
    window = Window(photo, size, zoom, anchor, at, turn, flip)
    shade = int(rng.integers(0, 256)) if rng.random() < 0.3 else OUTSIDE
    return Drawn(window.pixels((shade,) * 3), *_clipped(window.boxes(scene.boxes), scene.kinds, size, size))


def _filled(extent: NDArray[Any], anchor: NDArray[Any], at: NDArray[Any], size: int) -> NDArray[Any]:
    """Move a window so that it shows as much of a photo (width, height) as it can; `anchor` is what lies `at` it."""
    room = size - extent
    return np.asarray(np.clip(at - anchor, np.minimum(room, 0), np.maximum(room, 0)) + anchor)


def _clipped(boxes: Floats, kinds: NDArray[np.int64], width: int, height: int) -> tuple[Floats, NDArray[np.int64]]:
    inside = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    sides = inside[:, 2:] - inside[:, :2]
    share = sides.prod(axis=1) / np.maximum(area, 1e-6)
    there = (share > 0.05) & (sides.min(axis=1, initial=1e9) > 2)
    good = (share >= _VISIBLE) & (sides.min(axis=1, initial=1e9) >= _SMALLEST)
    return inside[there], np.where(good, kinds, IGNORED)[there]


def _varied(drawn: Drawn, rng: np.random.Generator) -> Drawn:
    return Drawn(varied(drawn.pixels, rng), drawn.boxes, drawn.kinds)


def varied(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Vary light, colour, sharpness and compression of uint8 RGB (H,W,3)."""
    if rng.random() < 0.8:
        ramp = np.arange(256, dtype=np.float32) / 255
        ramp = np.power(ramp, float(np.exp(rng.normal(0, 0.2)))) * float(np.exp(rng.normal(0, 0.12)))
        ramp = (ramp - 0.5) * float(np.exp(rng.normal(0, 0.15))) + 0.5 + float(rng.normal(0, 0.06))
        table = np.clip(ramp[:, None] * np.exp(rng.normal(0, 0.05, 3)) * 255, 0, 255).astype(np.uint8)
        image = np.asarray(cv2.LUT(image, table.reshape(256, 1, 3)), np.uint8)
    if rng.random() < 0.15:
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = np.asarray(
            cv2.addWeighted(image, float(rng.uniform(0, 0.5)), gray, float(rng.uniform(0.5, 1)), 0), np.uint8
        )
    if rng.random() < 0.15:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.5))), np.uint8)
    if rng.random() < 0.1:
        image = np.clip(image + rng.normal(0, float(rng.uniform(3, 15)), image.shape[:2])[..., None], 0, 255).astype(
            np.uint8
        )
    if rng.random() < 0.2:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return image
