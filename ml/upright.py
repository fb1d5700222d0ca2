"""Turn what Pillow has decoded into upright RGB pixels, a strip at a time: no step makes a copy of the whole photo."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from ml.geometry import Pixels
from ml.types import ImageError

# A megabyte as Pillow holds it: small beside any photo, and it stays in the processor's cache from step to step.
_STRIP_PIXELS = 1 << 18


@dataclass(frozen=True, slots=True)
class Turn:
    """Say what makes a photo upright: swap rows and columns as stored, or run through them backwards."""

    transpose: Image.Transpose | None = None
    is_swapped: bool = False
    rows_backwards: bool = False
    columns_backwards: bool = False

    @property
    def is_mirrored_in_x(self) -> bool:
        """Say whether the upright photo's left edge is the last stored row or column."""
        return self.rows_backwards if self.is_swapped else self.columns_backwards

    @property
    def is_mirrored_in_y(self) -> bool:
        """Say whether the upright photo's upper edge is the last stored row or column."""
        return self.columns_backwards if self.is_swapped else self.rows_backwards


_AS_STORED = Turn()
# EXIF 2.32, tag 274: what to do so that row 0 is the top and column 0 the left.
_TURNS = {
    2: Turn(Image.Transpose.FLIP_LEFT_RIGHT, columns_backwards=True),
    3: Turn(Image.Transpose.ROTATE_180, rows_backwards=True, columns_backwards=True),
    4: Turn(Image.Transpose.FLIP_TOP_BOTTOM, rows_backwards=True),
    5: Turn(Image.Transpose.TRANSPOSE, is_swapped=True),
    6: Turn(Image.Transpose.ROTATE_270, is_swapped=True, rows_backwards=True),
    7: Turn(Image.Transpose.TRANSVERSE, is_swapped=True, rows_backwards=True, columns_backwards=True),
    8: Turn(Image.Transpose.ROTATE_90, is_swapped=True, columns_backwards=True),
}


def turn_for(orientation: int) -> Turn:
    """Return what an EXIF orientation asks for; one that does not exist asks for nothing."""
    return _TURNS.get(orientation, _AS_STORED)


def upright_rgb(image: Image.Image, turn: Turn, shrink: int = 1) -> Pixels:
    """Return a loaded image as uint8 RGB [height, width, 3], turned, each pixel the mean of `shrink` by `shrink`.

    The last row and column as stored are the means of what is left, so sizes are rounded up. Colours are brought to
    sRGB, transparency is laid over white, of 16-bit samples the high byte is kept.
    Raises ImageError, `not_an_image`, for a colour space that Pillow cannot convert.
    """
    width, height = -(-image.width // shrink), -(-image.height // shrink)
    rgb = np.empty((width, height, 3) if turn.is_swapped else (height, width, 3), np.uint8)
    to_srgb, white, top = _srgb_transform(image), _white(image), 0
    for stored in _strips(image, shrink):
        strip = _plain(stored, white)
        if shrink > 1:
            strip = strip.reduce(shrink)
        if to_srgb is not None:
            strip = to_srgb(strip)
        strip = _to_rgb(strip)
        bottom = top + strip.height
        place = slice(height - bottom, height - top) if turn.rows_backwards else slice(top, bottom)
        if turn.transpose is not None:
            strip = strip.transpose(turn.transpose)
        if turn.is_swapped:
            rgb[:, place] = np.asarray(strip)
        else:
            rgb[place] = np.asarray(strip)
        top = bottom
    return rgb


def _strips(image: Image.Image, shrink: int = 1) -> Iterator[Image.Image]:
    rows = shrink * max(1, _STRIP_PIXELS // (image.width * shrink))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _white(image: Image.Image) -> float:
    """Return the sample that stands for white: floats are 0..1 or else 0..255, integers have 16 bits."""
    if image.mode != "F":
        return 65535.0
    largest = max(np.nan_to_num(np.asarray(strip)).max(initial=0.0) for strip in _strips(image))
    return 1.0 if largest <= 1.0 else 255.0


def _plain(strip: Image.Image, white: float) -> Image.Image:
    """Bring samples to bytes, and colours by number to colours, so that means and profiles can be taken of them."""
    if _is_wide(strip):
        samples = np.asarray(strip)
        if strip.mode == "F":
            finite = np.clip(np.nan_to_num(samples), 0, white)
            return Image.fromarray(np.asarray(finite * (255.0 / white), np.uint8))
        return Image.fromarray(np.asarray(np.clip(samples, 0, 65535) >> 8, np.uint8))
    if strip.has_transparency_data:
        return _converted(strip, "RGBA")
    return _converted(strip, "RGB") if strip.mode in ("P", "1") else strip


def _srgb_transform(image: Image.Image) -> Callable[[Image.Image], Image.Image] | None:
    profile = image.info.get("icc_profile")
    if not profile or _is_wide(image):
        return None
    given = "RGBA" if image.has_transparency_data else "RGB" if image.mode in ("P", "1") else image.mode
    wanted = "RGBA" if given == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), given, wanted).apply
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None  # a broken or foreign profile is no reason to refuse good pixels


def _to_rgb(strip: Image.Image) -> Image.Image:
    if strip.mode != "RGBA":
        return _converted(strip, "RGB")
    paper = Image.new("RGB", strip.size, "white")
    paper.paste(strip, mask=strip.getchannel("A"))
    return paper


def _converted(strip: Image.Image, mode: str) -> Image.Image:
    try:
        return strip if strip.mode == mode else strip.convert(mode)
    except ValueError as error:
        raise ImageError("not_an_image", f"photos in the colour space {strip.mode} are not supported") from error
