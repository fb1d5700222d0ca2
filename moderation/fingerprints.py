"""What near-duplicates of a photo have in common: PDQ, 256 bits that survive scaling, recompression and small edits.

The method is Meta's, from "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019). Up to the
median each step is linear in the pixels and does the same along rows as along columns, so two matrices made once stand
for the smoothing, the thinning out and the cosine transform.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 256

_SIDE = 512  # what any photo is brought to first: it bounds the cost, and the aspect ratio stops mattering
_CELLS = 64
_WAVES = 16
_PASSES = 2
# How much contrast between neighbouring cells, in hundredths of white, makes one point of quality.
_CONTRAST_PER_POINT = 90

_Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A PDQ hash of 32 bytes, its first bit first, and how far to trust it: 0 (a plain colour) to 100."""

    bits: bytes
    quality: int


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return what near-duplicates of a photo share."""
    # Means of whole blocks first: they cost least where there are most pixels, and what follows smooths as well.
    blocks = min(image.size) // _SIDE
    small = image.reduce(blocks) if blocks > 1 else image
    luma = small.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return _of_luma(np.asarray(luma, np.float64))


def distance(one: bytes, other: bytes) -> int:
    """Return in how many bits two fingerprints differ."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def _of_luma(luma: _Matrix) -> Fingerprint:
    cells = _THINNING @ luma @ _THINNING.T
    waves = (_COSINES @ cells @ _COSINES.T).ravel()
    # The lower median of an even number: half of the bits are set.
    median = np.partition(waves, BITS // 2 - 1)[BITS // 2 - 1]
    # The paper writes the last bit first.
    return Fingerprint(np.packbits((waves > median)[::-1]).tobytes(), _quality(cells))


def _quality(cells: _Matrix) -> int:
    steps = (np.diff(cells, axis=axis) * 100 / 255 for axis in (0, 1))
    contrast = sum(int(np.abs(np.trunc(step)).sum()) for step in steps)
    return min(100, contrast // _CONTRAST_PER_POINT)


def _thinning() -> _Matrix:
    """Return [cells, side]: a mean over each pixel's window, taken twice, of which the middle of each cell is kept."""
    window = -(-_SIDE // (2 * _CELLS))
    ahead = window // 2
    row, column = np.indices((_SIDE, _SIDE))
    box = ((column - row <= ahead) & (row - column < window - ahead)).astype(np.float64)
    box /= box.sum(axis=1, keepdims=True)  # at the edges the window is what there is of it
    middles = ((np.arange(_CELLS) + 0.5) * _SIDE / _CELLS).astype(int)
    return np.asarray(np.linalg.matrix_power(box, _PASSES)[middles])


def _cosines() -> _Matrix:
    """Return [waves, cells]: the cosine transform without its first row, the mean brightness."""
    wave, cell = np.arange(1, _WAVES + 1)[:, None], np.arange(_CELLS)
    return np.asarray(np.sqrt(2 / _CELLS) * np.cos(np.pi / (2 * _CELLS) * wave * (2 * cell + 1)))


_THINNING = _thinning()
_COSINES = _cosines()
