"""Pictures drawn by formula, the same on every machine: what fingerprints are tested with."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Drawing = NDArray[np.uint8]


def waves(width: int, height: int) -> Drawing:
    """Draw waves that bend and crowd together, each colour its own."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    colours = [
        np.sin(90 * x * y + 7 * (c + 1) * x) + np.cos(70 * (x - 0.3) ** 2 - 40 * (y - 0.6) ** 2) for c in range(3)
    ]
    return _bytes(np.stack(colours, axis=-1) * 60 + 127)


def tiles(width: int, height: int) -> Drawing:
    """Draw tiles of different sizes and brightness, with hard edges."""
    y, x = np.mgrid[0:height, 0:width]
    grey = (x * x // (width * 4) + y * 7 // height * 5 + (x * 9 // width) * (y * 5 // height)) % 11 * 23
    return _bytes(np.stack([grey, 255 - grey, grey // 2 + 60], axis=-1))


def sky(width: int, height: int) -> Drawing:
    """Draw a sky that fades: a picture with next to nothing in it."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    return _bytes(np.stack([90 + 60 * y, 140 + 50 * y + 4 * np.sin(9 * x), 220 + 20 * y], axis=-1))


def hills(width: int, height: int) -> Drawing:
    """Draw one soft ridge before a plain sky: little in it, but something."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    ridge = 1 / (1 + np.exp((0.5 + 0.1 * np.sin(6 * x) - y) * 60))
    return _bytes(np.stack([200 - 90 * ridge, 210 - 80 * ridge, 230 - 140 * ridge], axis=-1))


def plain(width: int, height: int) -> Drawing:
    """Fill with one colour."""
    return np.full((height, width, 3), (120, 90, 60), np.uint8)


DRAWINGS: dict[str, Callable[[int, int], Drawing]] = {
    "waves": waves,
    "tiles": tiles,
    "sky": sky,
    "hills": hills,
    "plain": plain,
}


def encoded(drawing: Drawing | Image.Image, image_format: str = "PNG", quality: int = 92) -> bytes:
    """Return a picture as a file."""
    image = Image.fromarray(drawing) if isinstance(drawing, np.ndarray) else drawing
    stream = BytesIO()
    image.save(stream, image_format, quality=quality)
    return stream.getvalue()


def _bytes(values: NDArray[np.float64]) -> Drawing:
    return np.asarray(np.clip(np.round(values), 0, 255), np.uint8)
