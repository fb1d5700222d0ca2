"""Turn the bytes of a photo into upright RGB pixels, and refuse what is no photo or too much of one."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from ml.geometry import Floats, Pixels
from ml.types import ImageError
from ml.upright import turn_for, upright_rgb

#: The only decoders that ever see foreign bytes; Pillow knows dozens more, made for files nobody uploads.
#: JPEG stands for MPO too, the stereo format some phones write.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))
MAX_PIXELS = 50_000_000

# Pillow walks segments, chunks and tags in Python, a few reads each: fifteen megabytes of empty ones keep it busy for
# seconds and fill gigabytes. Pixels come in pieces of a few hundred bytes at least, metadata in a few thousand reads.
_READS = 20_000
_BYTES_PER_READ = 100
# Each chunk of a PNG that is not about pixels may unfold to a megabyte, and is unfolded however often it repeats.
_PNG_NOTES = 256
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IDAT", b"fdAT", b"fcTL")

# How a file of these formats begins: tells a damaged photo from something that never was one.
_SIGNATURES = (b"\xff\xd8\xff", _PNG, b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_ORIENTATION_TAG = 0x0112
# Decoders report bad bytes by any of these; what is wrong with the program itself is none of them.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    # AVIF's and the compressed chunks' own.
    *(RuntimeError, struct.error, zlib.error),
)


@dataclass(frozen=True, slots=True)
class Header:
    """Hold what the header says of a photo: Pillow's name of the format, pixels as stored, more than one frame."""

    format: str
    width: int
    height: int
    is_animated: bool


@dataclass(frozen=True, slots=True)
class ReducedPhoto:
    """Hold a photo's copy, uint8 RGB [H, W, 3], and where it lies in the photo of `width` by `height` pixels, upright.

    Each pixel covers `factor` by `factor` of the photo's, the first ones from `left` and `top` on: 0, or less where
    the photo is no multiple of the factor and its orientation brings the incomplete pixels to the front.
    """

    pixels: Pixels
    width: int
    height: int
    factor: int
    left: int
    top: int

    def to_photo(self, boxes_xyxy: Floats) -> Floats:
        """Return boxes [N, 4], pixels of the copy, in pixels of the photo and within it."""
        origin = np.array([self.left, self.top] * 2, np.float32)
        limits = np.array([self.width, self.height] * 2, np.float32)
        return np.asarray(np.clip(boxes_xyxy * np.float32(self.factor) + origin, 0, limits), np.float32)


class _Metered:
    """Pass on a file's methods, and refuse to read from it more often than a photo of its size needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _READS + file.seek(0, SEEK_END) // _BYTES_PER_READ
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise _too_complex()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def inspect(source: bytes | Path) -> Header:
    """Return what the header says; nothing is decompressed.

    Raises ImageError: `empty_file`, `not_an_image`, `truncated_image`, `too_many_pixels`, `too_complex`,
    `unreadable_file`.
    """
    with _opened(source) as file, _identify(file) as image:
        # MPO holds a second view or a preview of the same photo: it is a JPEG to everybody else.
        try:
            is_animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        except ImageError:
            raise
        except _DECODER_ERRORS:
            is_animated = False  # what follows the first frame is broken; decode() will say so if it matters
        name = "JPEG" if image.format == "MPO" else str(image.format)
        return Header(name, image.width, image.height, is_animated)


def decode(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return the photo as uint8 RGB [height, width, 3], upright, without metadata.

    Applies the EXIF orientation and the colour profile (to sRGB), lays transparency over white, keeps the high byte of
    16-bit samples and takes the first frame of an animation. The number of pixels is judged by the header, before
    anything is decompressed.
    Raises ImageError: `empty_file`, `not_an_image`, `truncated_image`, `too_many_pixels`, `too_complex`,
    `unreadable_file`.
    """
    with _opened(source) as file:
        image = _identify(file)
        _load(image, max_pixels)
        return upright_rgb(image, turn_for(_orientation(image)))


def decode_reduced(source: bytes | Path, long_side: int, *, max_pixels: int = MAX_PIXELS) -> ReducedPhoto:
    """Return a copy whose long side is `long_side` pixels or more, where the photo's is; else see `decode`.

    A photo less than twice as long is not reduced. A JPEG is decompressed at a half, quarter or eighth of its size,
    so that the whole of it is never held; others are, and are reduced by any whole number.
    Raises ImageError as `decode` does.
    """
    with _opened(source) as file:
        image = _identify(file)
        shrink = max(1, max(image.size) // long_side)
        drafted, (width, height) = _load(image, max_pixels, shrink)
        turn = turn_for(_orientation(image))
        pixels = upright_rgb(image, turn, shrink // drafted)
    if turn.is_swapped:
        width, height = height, width
    factor = drafted * (shrink // drafted)
    return ReducedPhoto(
        pixels,
        width,
        height,
        factor,
        left=width - factor * pixels.shape[1] if turn.is_mirrored_in_x else 0,
        top=height - factor * pixels.shape[0] if turn.is_mirrored_in_y else 0,
    )


def _load(image: Image.Image, max_pixels: int, shrink: int = 1) -> tuple[int, tuple[int, int]]:
    """Decompress; return by how much, `shrink` at most, that reduced the photo, and its whole width and height."""
    width, height = image.size
    if width * height > max_pixels:
        raise _too_many(max_pixels)
    try:
        # Pillow reduces by the largest of 1, 2, 4 and 8 that leaves this size or more, and only what is a JPEG.
        draft = image.draft(None, (max(1, width // shrink), max(1, height // shrink))) if shrink > 1 else None
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(max_pixels) from None
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise ImageError("truncated_image", "the photo is cut short or damaged") from error
    # Some decoders have turned the photo by now.
    return (1, image.size) if draft is None else (round(width / draft[1][2]), (width, height))


@contextmanager
def _opened(source: bytes | Path) -> Iterator[IO[bytes]]:
    if isinstance(source, Path):
        try:
            file: IO[bytes] = source.open("rb")
        except OSError as error:
            raise ImageError("unreadable_file", f"the file cannot be read: {error.strerror}") from error
    else:
        file = BytesIO(source)
    with file:
        yield file


def _identify(file: IO[bytes]) -> Image.Image:
    head = file.read(16)
    if not head:
        raise ImageError("empty_file", "the file is empty")
    if head.startswith(_PNG):
        _count_png_notes(file)
    try:
        return Image.open(cast(IO[bytes], _Metered(file)), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(MAX_PIXELS) from None
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        if _looks_like_a_photo(head) or not isinstance(error, UnidentifiedImageError):
            raise ImageError("truncated_image", "the photo is cut short or damaged") from error
        raise ImageError("not_an_image", f"the file is none of {', '.join(FORMATS)}") from error


def _count_png_notes(file: IO[bytes]) -> None:
    file.seek(len(_PNG))
    notes = 0
    while len(head := file.read(8)) == 8:
        notes += head[4:] not in _PNG_PIXELS
        if notes > _PNG_NOTES:
            raise _too_complex()
        file.seek(int.from_bytes(head[:4], "big") + 4, SEEK_CUR)


def _looks_like_a_photo(head: bytes) -> bool:
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    avif = "AVIF" in FORMATS and head[4:12] in (b"ftypavif", b"ftypavis")
    return webp or avif or head.startswith(_SIGNATURES)


def _too_many(max_pixels: int) -> ImageError:
    return ImageError("too_many_pixels", f"the photo has more than {max_pixels / 1e6:g} megapixels")


def _too_complex() -> ImageError:
    return ImageError("too_complex", "the file is made of more pieces than a photo needs")


def _orientation(image: Image.Image) -> int:
    # Read after load(): PNG may keep EXIF behind the pixels, and for TIFF and AVIF Pillow has turned the photo and
    # dropped the tag by then.
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1  # broken metadata is no reason to refuse good pixels
