"""Make what is measured on: photographs at one size, a drawn crowd, and a file of twelve megapixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from ml.benchmark.environment import BASE
from ml.commands import find_files
from ml.geometry import Pixels
from ml.images import decode
from ml.types import ImageError

DEMO_PHOTOS = BASE / "mask_social" / "demo" / "photos"
PORTRAIT = DEMO_PHOTOS / "portrait.jpg"
CROWD = "drawn crowd"
# The demonstration's portraits are one photograph: head and shoulders lie here in each.
_HEAD = (slice(0, 250), slice(105, 350))
_HEADS = ("portrait.jpg", "surgical.jpg", "patterned.jpg", "under_nose.jpg")
_ROWS, _COLUMNS, _CELL = 9, 12, 106
_LARGE = (4000, 3000)
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Photo:
    """Hold a photograph's name and its uint8 RGB pixels [H, W, 3]."""

    name: str
    pixels: Pixels


def load(folder: Path, long_side: int) -> list[Photo]:
    """Read the photographs of a folder, and draw a crowd to go with them; keep none larger than `long_side`.

    Raises FileNotFoundError if there is none.
    """
    photos = []
    for found in find_files([folder]):
        try:
            pixels = decode(found.path)
        except ImageError:
            continue
        if folder == DEMO_PHOTOS:
            pixels = _four_to_three(pixels)
        photos.append(_reduced(Photo(str(found.name), pixels), long_side))
    if not photos:
        raise FileNotFoundError(f"no photo in {folder}")
    return [*photos, _reduced(Photo(CROWD, draw_crowd()), long_side)]


def _four_to_three(pixels: Pixels) -> Pixels:
    """Cut what is higher at its foot, for cameras take no squares, and a square costs a third more."""
    return pixels[: pixels.shape[1] * 3 // 4]


def _reduced(photo: Photo, long_side: int) -> Photo:
    return Photo(photo.name, scaled(photo, min(long_side, max(photo.pixels.shape[:2]))))


def scaled(photo: Photo, long_side: int) -> Pixels:
    """Scale a photograph, up too, so that its longer side has so many pixels."""
    height, width = photo.pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale == 1:
        return photo.pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cast(Pixels, cv2.resize(photo.pixels, size, interpolation=way))


def draw_crowd(seed: int = 5) -> Pixels:
    """Draw 108 heads of the demonstration's pictures, each in another light, uint8 RGB [954, 1272, 3]."""
    rng = np.random.default_rng(seed)
    heads = [decode(DEMO_PHOTOS / name)[_HEAD] for name in _HEADS]
    picture = np.empty((_ROWS * _CELL, _COLUMNS * _CELL, 3), np.uint8)
    for place in range(_ROWS * _COLUMNS):
        head = cv2.resize(heads[place % len(heads)], (_CELL, _CELL), interpolation=cv2.INTER_AREA)
        lit = head[:, :: rng.choice([-1, 1])] * rng.uniform(0.7, 1.1) + rng.uniform(-10, 10)
        row, column = divmod(place, _COLUMNS)
        top, left = row * _CELL, column * _CELL
        picture[top : top + _CELL, left : left + _CELL] = np.clip(lit, 0, 255)
    return picture


def write_large_jpeg(path: Path, seed: int = 5) -> None:
    """Write the demonstration's portrait at 4000 by 3000 pixels, with the noise of a sensor, for its weight's sake."""
    part = _four_to_three(decode(PORTRAIT))
    large = cv2.resize(part, _LARGE, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += np.random.default_rng(seed).normal(0, 5, large.shape[:2])[..., None].astype(np.float32)
    pixels = cv2.cvtColor(np.clip(large, 0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def write_arrays(photos: Sequence[Photo], long_side: int, folder: Path) -> list[Path]:
    """Write the photographs at one size as .npy files for the workers, in a folder of their own; return where."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.npy" for number in range(len(photos))]
    for photo, path in zip(photos, paths, strict=True):
        np.save(path, scaled(photo, long_side))
    return paths
