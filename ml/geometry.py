"""Box and crop arithmetic: arrays in, arrays out.

Boxes are `xyxy` in continuous pixel coordinates: the photo spans 0..width and 0..height, so the centre of
pixel i lies at i + 0.5 and a box from 0 to 4 covers exactly four pixels.
"""

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

#: What lies outside the photo: the gray that the networks' normalisation maps next to zero.
OUTSIDE = 127
# cv2.remap holds sizes in signed 16-bit integers, in the source as well as in the destination.
_REMAP_LIMIT = 32_000


class Octaves:
    """Halve a photo on demand and keep the halves, so that no crop and no copy shrinks by more than two.

    Bilinear sampling looks at four pixels; shrinking by more than two would skip some and show moiré instead
    of a face. The halves are box averages, hence what is sampled from them is antialiased.
    """

    def __init__(self, image: Pixels) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"expected uint8 pixels [height, width, 3], got {image.dtype} {image.shape}")
        self._levels = [image]

    @property
    def height(self) -> int:
        """Return the photo's height in pixels."""
        return int(self._levels[0].shape[0])

    @property
    def width(self) -> int:
        """Return the photo's width in pixels."""
        return int(self._levels[0].shape[1])

    def __getitem__(self, level: int) -> Pixels:
        while len(self._levels) <= level:
            self._levels.append(_halve(self._levels[-1]))
        return self._levels[level]

    def level_for(self, shrink: float) -> int:
        """Choose the level from which a reduction by `shrink` is at most one by two."""
        level = max(0, int(np.floor(np.log2(max(shrink, 1.0)))))
        while max(self.height, self.width) >> level > _REMAP_LIMIT:
            level += 1
        return level

    def resized(self, height: int, width: int) -> Pixels:
        """Scale the whole photo to [height, width, 3]."""
        level = self[self.level_for(min(self.height / height, self.width / width))]
        if level.shape[:2] == (height, width):
            return level
        return cast(Pixels, cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR))


def _halve(image: Pixels) -> Pixels:
    # An odd row or column is repeated, not dropped: a face at the edge would lose pixels at each halving.
    bottom, right = image.shape[0] % 2, image.shape[1] % 2
    if bottom or right:
        image = cast(Pixels, cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE))
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return cast(Pixels, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def squares(boxes_xyxy: Floats, margin: float = 1.0) -> Floats:
    """Return [N, 3], centre x, centre y, side, of the squares around boxes [N, 4]: margin * longer side."""
    width = boxes_xyxy[:, 2] - boxes_xyxy[:, 0]
    height = boxes_xyxy[:, 3] - boxes_xyxy[:, 1]
    centre_x = (boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2
    centre_y = (boxes_xyxy[:, 1] + boxes_xyxy[:, 3]) / 2
    return np.stack([centre_x, centre_y, np.maximum(width, height) * np.float32(margin)], axis=1)


def without_nested(boxes_xyxy: Floats, share: float) -> npt.NDArray[np.int64]:
    """Return the rows of boxes [N, 4], best first, that do not share more than `share` of the smaller one's area.

    What overlap over union lets pass: a box around an eye and the cheek, inside the box of the whole face.
    """
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    kept: list[int] = []
    for row, box in enumerate(boxes_xyxy):
        better = boxes_xyxy[kept]
        sides = np.minimum(better[:, 2:], box[2:]) - np.maximum(better[:, :2], box[:2])
        shared = np.clip(sides, 0, None).prod(axis=1)
        if not (shared > share * np.minimum(area[kept], area[row])).any():
            kept.append(row)
    return np.array(kept, np.int64)


def crop_squares(image: Pixels | Octaves, boxes_xyxy: npt.ArrayLike, size: int, margin: float = 1.0) -> Pixels:
    """Cut the square around each box and scale it to `size`.

    image: uint8 RGB [H, W, 3], or the `Octaves` of it where several calls share one photo.
    boxes_xyxy: float [N, 4], pixels. margin: side of the square in units of the box's longer side.
    Returns uint8 [N, size, size, 3] in the order of the boxes; `OUTSIDE` (127) where a square leaves the photo.
    Sampling is bilinear, from halved copies where a square shrinks by two or more. Raises ValueError for pixels
    of another shape or type.
    """
    octaves = image if isinstance(image, Octaves) else Octaves(image)
    boxes = np.asarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    crops = np.empty((len(boxes), size, size, 3), dtype=np.uint8)
    if not len(boxes):
        return crops
    # A square without extent is no face, but must not divide by zero either.
    where = squares(boxes, margin)
    where[:, 2] = np.maximum(where[:, 2], 1e-3)
    levels = np.array([octaves.level_for(float(side) / size) for side in where[:, 2]])
    for level in np.unique(levels):
        rows = np.flatnonzero(levels == level)
        for part in _parts(rows, _REMAP_LIMIT // size):
            crops[part] = _sample(octaves[int(level)], where[part] / np.float32(2.0**level), size)
    return crops


def _parts(rows: npt.NDArray[np.intp], length: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(rows), length):
        yield rows[start : start + length]


def _sample(image: Pixels, where: Floats, size: int) -> Pixels:
    """Sample squares [N, 3] from one image by one remap; the crops stand below each other in its result."""
    steps = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)
    # Half a pixel less, because cv2 counts from the middle of the first pixel and boxes count from its edge.
    x = where[:, 0:1] + steps * where[:, 2:3] - np.float32(0.5)
    y = where[:, 1:2] + steps * where[:, 2:3] - np.float32(0.5)
    shape = (len(where), size, size)
    map_x = np.broadcast_to(x[:, None, :], shape).reshape(-1, size)
    map_y = np.broadcast_to(y[:, :, None], shape).reshape(-1, size)
    stacked = cv2.remap(
        image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(OUTSIDE,) * 3
    )
    return cast(Pixels, stacked.reshape(len(where), size, size, 3))
