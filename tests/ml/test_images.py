import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from ml.images import decode, decode_reduced, inspect
from ml.types import ImageError
from tests.ml.pictures import BLUE, GREEN, RED, WHITE, as_stored, corners, swapped_profile, tagged, written


def assert_close(pixels: np.ndarray, expected: Image.Image, tolerance: int = 12) -> None:
    wanted = np.asarray(expected)
    assert pixels.shape == wanted.shape
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    # Compression blurs the borders of the quarters; their middles must be right.
    height, width = wanted.shape[0] // 4, wanted.shape[1] // 4
    for y in (height, -height - 1):
        for x in (width, -width - 1):
            assert np.abs(pixels[y, x].astype(int) - wanted[y, x]).max() <= tolerance, (y, x)


def refused(source: bytes | Path, **options: Any) -> str:
    """Return the code; a photo is refused in the same way when less than the whole is wanted."""
    with pytest.raises(ImageError) as caught:
        decode(source, **options)
    with pytest.raises(ImageError, match=f"^{re.escape(str(caught.value))}$") as reduced:
        decode_reduced(source, 12, **options)
    assert reduced.value.code == caught.value.code
    return caught.value.code


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
def test_it_reads_every_supported_format(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    assert_close(decode(written(corners(), kind, **options)), corners(), 16)


def test_it_reads_a_file_as_it_reads_bytes(tmp_path: Path) -> None:
    path = tmp_path / "photo without a suffix"
    path.write_bytes(written(corners(), "PNG"))
    assert np.array_equal(decode(path), np.asarray(corners()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_turns_a_photo_upright(kind: str, orientation: int) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    options = {"quality": 95} if kind != "PNG" else {}
    stored = as_stored(corners(), orientation)
    assert_close(decode(written(stored, kind, exif=tagged(orientation), **options)), corners(), 16)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    assert_close(decode(written(corners(), "PNG", exif=tagged(orientation))), corners())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_metadata_does_not_cost_the_photo() -> None:
    assert_close(decode(written(corners(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense")), corners())


def test_it_reads_cmyk_as_print_shops_and_as_adobe_write_it() -> None:
    cmyk = Image.new("CMYK", (40, 24), (0, 255, 255, 0))
    assert decode(written(cmyk, "TIFF"))[12, 20].tolist() == [255, 0, 0]
    # Pillow marks its CMYK JPEGs as Adobe's, whose inks are stored inverted.
    jpeg = written(cmyk, "JPEG", quality=95)
    assert b"Adobe" in jpeg
    assert np.abs(decode(jpeg)[12, 20].astype(int) - (255, 0, 0)).max() <= 8


def test_a_palette_with_transparency_lies_on_white() -> None:
    image = corners().convert("P", palette=Image.Palette.ADAPTIVE)
    transparent = image.getpixel((0, 0))
    for kind in ("PNG", "GIF"):
        pixels = decode(written(image, kind, transparency=transparent))
        assert pixels[2, 2].tolist() == list(WHITE)
        assert np.abs(pixels[2, -3].astype(int) - GREEN).max() <= 6


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 4))
    image.putpixel((0, 0), (0, 0, 0, 128))
    pixels = decode(written(image.convert(mode), "PNG"))
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[2, 6].tolist() == [0, 0, 0]
    assert 120 <= pixels[0, 0, 0] <= 134


def test_one_colour_named_transparent_lies_on_white() -> None:
    assert decode(written(corners(), "PNG", transparency=RED))[2, 2].tolist() == list(WHITE)


def test_it_keeps_the_high_byte_of_sixteen_bits() -> None:
    ramp = (np.arange(256, dtype=np.uint16) << 8).reshape(1, 256).repeat(4, axis=0)
    for kind in ("PNG", "TIFF"):
        pixels = decode(written(Image.fromarray(ramp), kind))
        assert pixels[0, :, 0].tolist() == list(range(256))
        assert (pixels[..., 0] == pixels[..., 2]).all()


def test_it_reads_sixteen_bit_colour() -> None:
    rows = b"".join(b"\0" + struct.pack(">9H", *(60000, 0, 0) * 3) for _ in range(2))
    chunks = [(b"IHDR", struct.pack(">2I5B", 3, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    assert decode(png)[1, 1].tolist() == [234, 0, 0]


@pytest.mark.parametrize(("mode", "value"), [("1", 255), ("L", 77), ("F", 0.5), ("I", 30000)])
def test_it_reads_gray_in_any_depth(mode: str, value: float) -> None:
    gray = decode(written(Image.new(mode, (5, 4), value), "TIFF"))
    assert gray.shape == (4, 5, 3)
    expected = {"1": 255, "L": 77, "F": 127, "I": 117}[mode]
    assert set(gray.ravel().tolist()) == {expected}


def test_a_colour_profile_is_applied() -> None:
    red, green, blue = corners().split()
    stored = Image.merge("RGB", (blue, green, red))
    assert_close(decode(written(stored, "PNG", icc_profile=swapped_profile())), corners())
    assert_close(decode(written(stored, "PNG")), stored)


def test_a_broken_colour_profile_does_not_cost_the_photo() -> None:
    assert_close(decode(written(corners(), "PNG", icc_profile=b"no profile at all")), corners())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_it_takes_the_first_frame_of_an_animation(kind: str) -> None:
    rest = [Image.new("RGB", (40, 24), BLUE), Image.new("RGB", (40, 24), GREEN)]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert_close(decode(written(corners(), kind, save_all=True, append_images=rest, **options)), corners())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_it_refuses_a_truncated_photo(kind: str, share: float) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    noise = np.random.default_rng(5).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    content = written(Image.fromarray(noise), kind)
    assert refused(content[: max(12, int(len(content) * share))]) == "truncated_image"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_damaged_bytes_are_read_or_refused_and_nothing_else(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    random = np.random.default_rng(11)
    noise = Image.fromarray(random.integers(0, 256, (48, 40, 3), dtype=np.uint8))
    content = written(noise, kind)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(damaged), 400), size=int(random.integers(1, 9))):
            damaged[place] = int(random.integers(256))
        try:
            outcomes.add(str(decode(bytes(damaged)).dtype))
        except ImageError as error:
            outcomes.add(error.code)
    assert outcomes <= {"uint8", "truncated_image", "not_an_image", "too_many_pixels"}
    assert len(outcomes) > 1


@pytest.mark.parametrize(
    "content",
    [
        b"no photo at all",
        b"\0" * 5000,
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"%PDF-1.7\n" + b"x" * 500,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\xff",
    ],
)
def test_it_refuses_what_is_no_photo(content: bytes) -> None:
    assert refused(content) == "not_an_image"


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "JPEG2000", "PCX"])
def test_it_refuses_formats_nobody_photographs_in(kind: str) -> None:
    assert refused(written(corners(), kind)) == "not_an_image"


def test_it_refuses_nothing(tmp_path: Path) -> None:
    assert refused(b"") == "empty_file"
    (tmp_path / "empty.jpg").touch()
    assert refused(tmp_path / "empty.jpg") == "empty_file"


def test_it_refuses_a_file_it_cannot_open(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing.jpg") == "unreadable_file"
    assert refused(tmp_path) == "unreadable_file"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_before_they_are_decompressed() -> None:
    def header(width: int, height: int) -> bytes:
        # A header and the start of the pixels: were they looked for, the answer would be another.
        body = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
        return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1 << 20) + b"IDATx"

    assert refused(header(7072, 7072)) == "too_many_pixels"
    assert refused(header(12_000, 12_000)) == "too_many_pixels"
    assert refused(header(60_000, 60_000)) == "too_many_pixels"
    assert refused(header(7000, 7000)) == "truncated_image"
    assert refused(written(corners(), "PNG"), max_pixels=40 * 24 - 1) == "too_many_pixels"
    assert_close(decode(written(corners(), "PNG"), max_pixels=40 * 24), corners())


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_notes(note: bytes, count: int, kind: str = "PNG") -> bytes:
    """Put a chunk, segment or block many times behind the header of a photo."""
    content = written(corners().convert("P") if kind == "GIF" else corners(), kind)
    place = {"PNG": 33, "JPEG": 2, "GIF": content.find(b"\x2c")}[kind]
    return content[:place] + note * count + content[place:]


@pytest.mark.parametrize(
    ("kind", "note", "count"),
    [
        ("PNG", chunk(b"prVt"), 400_000),
        # Each unfolds to a megabyte: a file of fourteen megabytes kept the decoder busy for half a minute.
        ("PNG", chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1_000_000))), 300),
        ("JPEG", b"\xff\xe5\0\2", 500_000),
        ("JPEG", b"\xff", 500_000),
        ("GIF", b"\x21\xfe\1a\0", 500_000),
    ],
)
def test_a_file_of_endless_small_pieces_is_refused_instead_of_walked(kind: str, note: bytes, count: int) -> None:
    content = with_notes(note, count, kind)
    assert refused(content) == "too_complex"
    with pytest.raises(ImageError) as caught:
        inspect(content)
    assert caught.value.code == "too_complex"


def test_pieces_behind_the_pixels_are_counted_too() -> None:
    content = written(corners(), "PNG")
    assert refused(content[:-12] + chunk(b"iCCP", b"k\0\0") * 300 + content[-12:]) == "too_complex"
    animated = written(corners().convert("P"), "GIF", save_all=True, append_images=[Image.new("P", (40, 24), 1)])
    first_end = animated.index(b"\x21\xf9", animated.index(b"\x2c"))
    with pytest.raises(ImageError, match="more pieces than a photo needs"):
        inspect(animated[:first_end] + b"\x21\xfe\1a\0" * 500_000 + animated[first_end:])


@pytest.mark.parametrize(
    ("kind", "note", "count"),
    [
        ("PNG", chunk(b"tEXt", b"Comment\0by a chatty camera"), 200),
        # As much as extended XMP with a map of depths brings.
        ("JPEG", b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_498), 200),
        ("GIF", b"\x21\xfe\x50" + b"a" * 80 + b"\0", 2_000),
    ],
)
def test_talkative_metadata_does_not_cost_the_photo(kind: str, note: bytes, count: int) -> None:
    content = with_notes(note, count, kind)
    assert decode(content).shape == (24, 40, 3)
    assert inspect(content).is_animated is False


def test_pixels_in_many_small_chunks_are_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise))
    pixels = b"".join(chunk(b"IDAT", packed[start : start + 512]) for start in range(0, len(packed), 512))
    header = chunk(b"IHDR", struct.pack(">2I5B", 800, 600, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND")
    (tmp_path / "photo.png").write_bytes(content)
    assert np.array_equal(decode(content), noise)
    assert np.array_equal(decode(tmp_path / "photo.png"), noise)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_is_found_truncated_wherever_it_ends(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(8).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    content = written(Image.fromarray(noise), "JPEG", **options)
    for end in range(len(content) // 20, len(content) - len(content) // 20, len(content) // 20):
        assert refused(content[:end]) == "truncated_image"
