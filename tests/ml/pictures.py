"""Pictures drawn for the tests of decoding, and files made of them."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

RED, GREEN, BLUE, WHITE = (250, 10, 10), (10, 250, 10), (10, 10, 250), (255, 255, 255)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners(size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Draw a red upper left, a green upper right and a blue lower left quarter on white."""
    image = Image.new("RGB", size, WHITE)
    width, height = size[0] // 2, size[1] // 2
    image.paste(RED, (0, 0, width, height))
    image.paste(GREEN, (width, 0, size[0], height))
    image.paste(BLUE, (0, height, width, size[1]))
    return image


def varied(size: tuple[int, int] = (83, 61)) -> Image.Image:
    """Draw a smooth scene without two equal rows or columns, opaque on one side and clear on the other."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    samples = np.stack([x, y, (x + y) / 2, 1 - x * y], axis=2)
    return Image.fromarray(np.asarray(samples * 255, np.uint8))


def as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an upright scene as a camera stores it: the inverse of what the tag asks a reader to do."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def swapped_profile() -> bytes:
    """Give sRGB with red and blue exchanged, under another name: what is stored as blue is meant to be red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "sBGR".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"....", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"....", b"bXYZ", 1)


def tagged(orientation: int) -> Image.Exif:
    """Give metadata that say how a photo is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
