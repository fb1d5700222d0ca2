import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml import upright
from ml.images import ReducedPhoto, decode, decode_reduced
from tests.ml.pictures import RED, WHITE, as_stored, corners, swapped_profile, tagged, varied, written


def wide(kind: type[np.generic], top: float) -> Image.Image:
    return Image.fromarray(np.asarray(np.asarray(varied())[..., 0] / 255 * top, kind))


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (varied().convert("RGB"), "PNG", {}),
        (varied().convert("RGB"), "PNG", {"icc_profile": swapped_profile()}),
        (varied(), "PNG", {"icc_profile": swapped_profile()}),
        (varied().convert("LA"), "PNG", {}),
        (varied().convert("P"), "PNG", {"transparency": 5, "icc_profile": swapped_profile()}),
        (varied().convert("1"), "PNG", {}),
        (varied().convert("CMYK"), "TIFF", {}),
        (wide(np.uint16, 65535), "PNG", {}),
        # Only the last rows say that white is 255 here.
        (wide(np.float32, 1.01).transpose(Image.Transpose.ROTATE_270), "TIFF", {}),
        (wide(np.float32, 1.0), "TIFF", {}),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("long_side", [83, 27])
def test_strips_leave_no_trace(
    image: Image.Image,
    kind: str,
    options: dict[str, Any],
    orientation: int,
    long_side: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = written(as_stored(image, orientation), kind, exif=tagged(orientation), **options)
    at_once = decode_reduced(content, long_side)
    assert at_once.factor == 83 // long_side
    monkeypatch.setattr(upright, "_STRIP_PIXELS", 600)
    assert np.array_equal(decode_reduced(content, long_side).pixels, at_once.pixels)


def centre_of_darkness(photo: ReducedPhoto) -> tuple[float, float]:
    """Return the middle of what is dark, in pixels of the photo."""
    dark = 255.0 - photo.pixels[..., 1]
    dark[dark < 4] = 0
    x = float((dark.sum(axis=0) * (np.arange(dark.shape[1]) + 0.5)).sum() / dark.sum())
    y = float((dark.sum(axis=1) * (np.arange(dark.shape[0]) + 0.5)).sum() / dark.sum())
    left, top, right, bottom = photo.to_photo(np.array([[x, y, x, y]], np.float32))[0].tolist()
    assert (left, top) == (right, bottom)
    return left, top


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(803, 601), (602, 808)])
@pytest.mark.parametrize(("long_side", "factor", "jpeg_factor"), [(400, 2, 2), (250, 3, 2), (100, 8, 8), (50, 16, 16)])
def test_places_on_a_reduced_copy_are_places_on_the_photo(
    kind: str, orientation: int, size: tuple[int, int], long_side: int, factor: int, jpeg_factor: int
) -> None:
    for x, y in ((40, 30), (size[0] - 90, 30), (40, size[1] - 70)):
        scene = Image.new("RGB", size, WHITE)
        scene.paste((0, 0, 0), (x, y, x + 50, y + 40))
        photo = decode_reduced(written(as_stored(scene, orientation), kind, exif=tagged(orientation)), long_side)
        assert (photo.width, photo.height) == size
        assert photo.factor == (jpeg_factor if kind == "JPEG" else factor)
        assert centre_of_darkness(photo) == pytest.approx((x + 25, y + 20), abs=0.5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_whole_copy_is_one_of_the_whole_photo(kind: str, orientation: int) -> None:
    photo = decode_reduced(written(as_stored(corners((803, 601)), orientation), kind, exif=tagged(orientation)), 100)
    height, width = photo.pixels.shape[:2]
    assert (width, height) == (101, 76)
    whole = photo.to_photo(np.array([[0, 0, width, height], [-9, -9, 200, 200]], np.float32))
    assert whole.dtype == np.float32
    assert whole.tolist() == [[0, 0, 803, 601]] * 2
    assert photo.to_photo(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"icc_profile": swapped_profile()}),
        ("L", {}),
        ("CMYK", {}),
        ("CMYK", {"progressive": True}),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_reduced_jpeg_looks_like_the_photo(mode: str, options: dict[str, Any], kind: str) -> None:
    content = written(varied((803, 601)).convert("RGB").convert(mode), kind, quality=95, **options)
    whole = Image.fromarray(decode(content))
    for long_side, factor in ((401, 2), (200, 4), (100, 8), (40, 16)):
        photo = decode_reduced(content, long_side)
        assert photo.factor == factor
        assert photo.pixels.dtype == np.uint8
        expected = np.asarray(whole.reduce(factor)).astype(int)
        assert photo.pixels.shape == expected.shape
        # What libjpeg makes up beyond the edge has a share in the last row and column.
        assert np.abs(photo.pixels - expected)[:-1, :-1].max() <= 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_photo_less_than_twice_as_long_as_needed_is_not_touched(kind: str) -> None:
    for size in ((199, 120), (120, 199), (100, 100), (1, 1), (17, 5)):
        content = written(varied(size).convert("RGB"), kind)
        photo = decode_reduced(content, 100)
        assert (photo.width, photo.height, photo.factor, photo.left, photo.top) == (*size, 1, 0, 0)
        assert np.array_equal(photo.pixels, decode(content))


@pytest.mark.parametrize(("kind", "factor"), [("JPEG", 28), ("PNG", 30)])
def test_a_narrow_strip_is_reduced_to_a_line(kind: str, factor: int) -> None:
    photo = decode_reduced(written(Image.new("RGB", (3000, 6), RED), kind), 100)
    assert (photo.width, photo.height, photo.factor) == (3000, 6, factor)
    assert photo.pixels.shape == (1, -(-3000 // factor), 3)
    assert np.abs(photo.pixels.astype(int) - RED).max() <= 8


def test_transparency_has_no_share_in_the_means_of_colours() -> None:
    image = Image.new("RGBA", (8, 4), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (1, 0, 2, 4))
    photo = decode_reduced(written(image, "PNG"), 4)
    assert photo.pixels[0, 0].tolist() == pytest.approx([255, 127, 127], abs=1)
    assert photo.pixels[0, 1].tolist() == [255, 0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("options", [{}, {"exif": tagged(6), "icc_profile": swapped_profile()}])
def test_twelve_megapixels_are_never_held_as_a_whole(options: dict[str, Any], tmp_path: Path) -> None:
    varied((4000, 3000)).convert("RGB").save(tmp_path / "photo.jpg", **options)
    program = f"""
from pathlib import Path
from ml.images import decode, decode_reduced
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
photo = Path({str(tmp_path / "photo.jpg")!r})
peaks = [peak()]
for read in (lambda: decode_reduced(photo, 1600), lambda: decode(photo)):
    read()
    peaks.append(peak())
print(peaks[1] - peaks[0], peaks[2] - peaks[0])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    reduced, whole = map(float, run.stdout.split())
    # Pillow holds four bytes per pixel, the array has three: 21 MB at half the size, 84 at all of it, nothing twice.
    assert reduced < 35
    assert 70 < whole < 100
