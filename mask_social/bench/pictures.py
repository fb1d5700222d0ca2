"""Photographs to post: the demonstration's, each time with other light, so that no two are near-duplicates."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from mask_social.demo.pictures import PHOTOS

LONG_SIDE = 1600
_QUALITY = 90
# Light falls in so many patches along each side: coarse enough for faces to stay, fine enough to tell photos by.
_PATCHES = 10
_DARKEST, _BRIGHTEST = 0.45, 1.3
_GRAIN = 2.0  # of a camera's sensor, in steps of 255


def write(folder: Path, count: int, long_side: int = LONG_SIDE, *, first: int = 0) -> list[Path]:
    """Write as many JPEG files, and return where; the same numbers always give the same photos."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [_enlarged(path, long_side) for path in sorted(PHOTOS.glob("*.jpg"))]
    return list(islice(_files(folder, sources, first), count))


def _files(folder: Path, sources: list[Image.Image], first: int) -> Iterator[Path]:
    number = first
    while True:
        path = folder / f"{number:06}.jpg"
        if not path.exists():
            _lit(sources[number % len(sources)], number).save(path, "JPEG", quality=_QUALITY)
        yield path
        number += 1


def _enlarged(path: Path, long_side: int) -> Image.Image:
    with Image.open(path) as image:
        scale = long_side / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _lit(source: Image.Image, number: int) -> Image.Image:
    chance = np.random.default_rng(number)
    patches = Image.fromarray(chance.uniform(_DARKEST, _BRIGHTEST, (_PATCHES, _PATCHES)).astype(np.float32))
    light = np.asarray(patches.resize(source.size, Image.Resampling.BICUBIC))
    grain = chance.standard_normal((source.height, source.width), np.float32) * np.float32(_GRAIN)
    pixels = np.asarray(source, np.float32) * light[..., None] + grain[..., None]
    if chance.random() < 0.5:
        pixels = pixels[:, ::-1]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
