"""Small pictures of every kind that is taken, and of some that are not: what mutations begin with."""

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def corpus() -> list[bytes]:
    """Return the pictures, the same at each call."""
    return [_encoded(image, format_, options) for image, format_, options in _kinds()] + list(_by_hand())


def _kinds() -> Iterator[tuple[Image.Image, str, dict[str, Any]]]:
    colours, grey = _picture(48, 40), _picture(33, 57).convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "A description"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 12.5)  # GPSLatitude
    yield colours, "JPEG", {"quality": 90}
    yield colours, "JPEG", {"quality": 40, "progressive": True, "optimize": True, "exif": exif}
    yield colours, "JPEG", {"subsampling": "4:4:4", "restart_marker_blocks": 2, "comment": b"a comment"}
    yield colours.convert("CMYK"), "JPEG", {}
    yield grey, "JPEG", {"icc_profile": bytes(range(256)) * 2}
    notes = PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", "<x/>" * 20, zip=True)
    yield colours, "PNG", {"pnginfo": notes, "exif": exif}
    yield colours.convert("RGBA"), "PNG", {}
    yield colours.convert("P"), "PNG", {"transparency": 3, "bits": 4}
    yield grey.convert("1"), "PNG", {}
    yield Image.fromarray((np.arange(40 * 40).reshape(40, 40) * 37 % 65536).astype(np.uint16)), "PNG", {}
    yield colours, "PNG", {"save_all": True, "append_images": [colours.rotate(90)]}
    yield colours, "WEBP", {"quality": 70, "exif": exif}
    yield colours.convert("RGBA"), "WEBP", {"lossless": True}
    yield colours, "WEBP", {"save_all": True, "append_images": [colours.rotate(90)]}
    yield colours, "AVIF", {"quality": 60}
    yield colours.convert("P"), "GIF", {}
    yield colours.convert("P"), "GIF", {"save_all": True, "append_images": [colours.rotate(90).convert("P")]}
    yield colours, "BMP", {}
    yield colours.convert("P"), "BMP", {}
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield colours, "TIFF", {"compression": compression}
    yield grey.convert("1"), "TIFF", {"compression": "group4"}
    yield colours, "ICO", {}
    yield colours, "PPM", {}


def _by_hand() -> Iterator[bytes]:
    yield b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    yield b"GIF89a" + b"\x30\x00" * 2 + b"\x80\x00\x00" + bytes(60)
    yield (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", bytes([0, 0, 0, 64, 0, 0, 0, 64, 8, 2, 0, 0, 0]))
        + _chunk(b"IDAT", zlib.compress(bytes(64 * 193)))
    )
    yield b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(40)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def _picture(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 9)], axis=-1)
    return Image.fromarray((127 + 120 * waves).astype(np.uint8))


def _encoded(image: Image.Image, format_: str, options: dict[str, Any]) -> bytes:
    stream = BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()
