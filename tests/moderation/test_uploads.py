"""What is taken as a photo, what becomes of it, and what is refused: with its code, its pointer and no trace."""

import io
import re
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms
from pytest_django.fixtures import Settings

from moderation import inference, uploads
from moderation.fingerprints import Fingerprint, distance, fingerprint
from moderation.models import Photo
from tests import cast
from tests.moderation.calls import Caller, photo, problem

pytestmark = pytest.mark.django_db
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9"><script>alert(1)</script></svg>'


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def animation(name: str) -> bytes:
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue", "green")]
    return encoded(frames[0], name, save_all=True, append_images=frames[1:])


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is said over and over, as any number of times as the sender likes."""
    content = encoded(Image.new("L", (64, 48), 128), "JPEG", progressive=True)
    scans = content.count(b"\xff\xda")
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * (count - scans) + content[-2:]


BAD = {
    "no image at all": (b"hello, this is text", "photo.jpg", "image/jpeg", 400, "not_an_image"),
    "a PNG renamed to JPEG": (
        encoded(Image.new("RGB", (32, 32)), "PNG"),
        "a.jpg",
        "image/jpeg",
        400,
        "format_mismatch",
    ),
    "a JPEG with a PNG's type": (cast.make_jpeg(), "a", "image/png", 400, "format_mismatch"),
    "a JPEG that says text": (cast.make_jpeg(), "a", "text/plain", 400, "format_mismatch"),
    "cut in the middle": (cast.make_jpeg(400, 300)[:-600], "a.jpg", "image/jpeg", 400, "truncated_image"),
    "cut in the header": (cast.make_jpeg()[:20], "a.jpg", "image/jpeg", 400, "truncated_image"),
    "a PNG cut short": (png_header(300, 200), "a.png", "image/png", 400, "truncated_image"),
    "zero bytes": (b"", "a.jpg", "image/jpeg", 400, "empty_file"),
    "over 15 MB": (cast.make_jpeg() + b"\0" * 15 * 1024**2, "a.jpg", "image/jpeg", 413, "file_too_large"),
    "over 50 megapixels": (png_header(8000, 6251), "a.png", "image/png", 400, "too_many_pixels"),
    "a decompression bomb": (png_header(60000, 60000), "a.png", "image/png", 400, "too_many_pixels"),
    "30,000 × 1": (png_header(30_000, 1), "a.png", "image/png", 400, "bad_dimensions"),
    "a narrow strip": (png_header(3000, 90), "a.png", "image/png", 400, "bad_dimensions"),
    "tiny": (cast.make_jpeg(15, 15), "a.jpg", "image/jpeg", 400, "bad_dimensions"),
    "an animated GIF": (animation("GIF"), "a.gif", "image/gif", 400, "animated_image"),
    "an animated WebP": (animation("WEBP"), "a.webp", "image/webp", 400, "animated_image"),
    "an animated PNG": (animation("PNG"), "a.png", "image/png", 400, "animated_image"),
    "a JPEG of a thousand scans": (many_scans(1000), "a.jpg", "image/jpeg", 400, "too_complex"),
    "a JPEG of countless segments": (
        b"\xff\xd8" + b"\xff\xfe\0\2" * 20_000 + cast.make_jpeg()[2:],
        "a.jpg",
        "image/jpeg",
        400,
        "too_complex",
    ),
    "SVG": (SVG, "a.svg", "image/svg+xml", 400, "svg_not_supported"),
    "SVG renamed": (b"\xef\xbb\xbf \n<svg></svg>", "a.jpg", "image/jpeg", 400, "svg_not_supported"),
    "HEIC": (b"\0\0\0\x18ftypheic" + b"\0" * 64, "a.heic", "image/heic", 400, "unsupported_format"),
    "PPM": (encoded(Image.new("RGB", (32, 32)), "PPM"), "a.ppm", "image/x-portable-pixmap", 400, "unsupported_format"),
}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_photo_is_refused_with_its_code_and_leaves_nothing(
    caller: Caller, case: tuple[bytes, str, str, int, str]
) -> None:
    content, name, content_type, status, code = case

    response = caller.send(photo(), photo(content, name, content_type))

    assert problem(response) == (status, code, ["/photos/1"])


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("fields", "count", "expected"),
    [
        ({}, 11, (400, "too_many_photos", ["/photos"])),
        ({}, 0, (400, "photos_required", ["/photos"])),
        ({"photo_urls": [f"https://example.org/{n}.jpg" for n in range(10)]}, 1, (400, "too_many_photos", ["/photos"])),
        ({"author_id": None}, 1, (400, "required", ["/author_id"])),
        ({"author_id": ""}, 1, (400, "blank", ["/author_id"])),
        ({"author_id": "x" * 129}, 1, (400, "max_length", ["/author_id"])),
        ({"author_id": "a\0b"}, 1, (400, "null_characters_not_allowed", ["/author_id"])),
        *(
            ({"author_id": name}, 1, (400, "invalid_author_id", ["/author_id"]))
            for name in (".", "..", "a/../b", "./a", "a\nb", "a\x7f", "a\x85", "a/badges")
        ),
        ({"author_name": "Ann"}, 1, (400, "unknown_field", ["/author_name"])),
        ({"photo": "x"}, 1, (400, "unknown_field", ["/photo"])),
        ({"caption": "x" * 2201}, 1, (400, "max_length", ["/caption"])),
        ({"region": "Germany"}, 1, (400, "invalid_region", ["/region"])),
        ({"region": "de"}, 1, (400, "invalid_region", ["/region"])),
    ],
)
def test_a_bad_field_is_refused_with_its_code_and_leaves_nothing(
    caller: Caller, fields: dict[str, Any], count: int, expected: tuple[int, str, list[str]]
) -> None:
    assert problem(caller.send(*(photo() for _ in range(count)), **fields)) == expected


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.effect_noise((640, 480), 90).convert("RGB"), "JPEG", progressive=True, quality=95),
        encoded(Image.effect_noise((640, 480), 90), "JPEG", restart_marker_blocks=1),
        many_scans(64),
        cast.make_jpeg() + b"ftypmp42" + b"\xff\xda" * 1000,
    ],
    ids=["progressive", "with restart markers", "as many scans as there may be", "with a film behind it"],
)
def test_a_photo_of_an_unusual_make_is_taken(caller: Caller, content: bytes) -> None:
    assert caller.send(photo(content)).status_code == 202


@pytest.mark.usefixtures("nothing_changes")
def test_two_bad_fields_are_both_named(caller: Caller) -> None:
    response = caller.send(photo(), author_id=None, region="?")

    assert problem(response) == (400, "validation_error", ["/author_id", "/region"])


@pytest.mark.usefixtures("nothing_changes")
def test_a_file_in_an_unknown_field_is_refused(caller: Caller) -> None:
    assert problem(caller.send(photo(), picture=photo())) == (400, "unknown_field", ["/picture"])


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("body", [[], "text", 7, None])
def test_json_that_is_no_object_is_refused(caller: Caller, body: object) -> None:
    assert problem(caller.send_json(body))[0] == 400


@pytest.mark.usefixtures("nothing_changes")
def test_broken_json_is_refused(caller: Caller) -> None:
    response = caller.client.post(
        "/api/v1/posts",
        b'{"author_id": ',
        content_type="application/json",
        headers={"Authorization": f"Bearer {caller.key}"},
    )
    assert problem(response)[:2] == (400, "parse_error")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" * 100_000, (400, "parse_error")),
        (b'{"author_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", (400, "parse_error")),
        (b'{"author_id": "a", "\\ud800": 1}', (400, "unknown_field")),
        (b'{"author_id": "a", "caption": "' + b"x" * 2 * 1024**2 + b'"}', (413, "request_too_large")),
    ],
    ids=["nested too deeply", "nested in a field", "half a surrogate pair", "larger than any form"],
)
def test_json_made_to_break_its_reader_is_refused(caller: Caller, body: bytes, expected: tuple[int, str]) -> None:
    headers = {"Authorization": f"Bearer {caller.key}"}
    response = caller.client.post("/api/v1/posts", body, content_type="application/json", headers=headers)
    assert problem(response)[:2] == expected


@pytest.mark.usefixtures("nothing_changes")
def test_more_files_than_are_read_at_all_are_refused(caller: Caller) -> None:
    assert problem(caller.send(*[photo()] * 51)) == (400, "too_many_photos", ["/photos"])


@pytest.mark.usefixtures("nothing_changes")
def test_a_form_of_endless_text_is_refused(caller: Caller) -> None:
    assert problem(caller.send(photo(), caption="x" * 2 * 1024**2)) == (413, "request_too_large", [])


@pytest.mark.usefixtures("nothing_changes")
def test_a_body_of_another_type_is_refused(caller: Caller) -> None:
    response = caller.client.post(
        "/api/v1/posts", b"x", content_type="text/plain", headers={"Authorization": f"Bearer {caller.key}"}
    )
    assert problem(response)[:2] == (415, "unsupported_media_type")


def stored() -> Image.Image:
    row = Photo.objects.get()
    with row.file.open("rb") as file:
        image = Image.open(io.BytesIO(file.read()))
    image.load()
    assert image.format == "JPEG"
    assert image.mode == "RGB"
    assert image.size == (row.width, row.height)
    return image


def test_a_large_photo_never_touches_the_temporary_folder(caller: Caller, temporary: Path, settings: Settings) -> None:
    noise = Image.effect_noise((2000, 2000), 90).convert("RGB")
    content = encoded(noise, "JPEG", quality=95)
    assert len(content) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE, "Django would write this one to a file"
    watched: list[Path] = []

    response = caller.send(photo(content))
    watched += temporary.rglob("*")

    assert response.status_code == 202
    assert watched == []


def test_only_so_many_photos_are_in_memory_as_pixels_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, lock = inference.decode, threading.Lock()
    now = most = 0

    def counted(content: bytes) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        try:
            return decode(content)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(inference, "decode", counted)
    upload = uploads.Upload.of("/photos/0", cast.make_jpeg())
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(lambda _: uploads.prepare_all([upload], uploads.Limits(10**6, 10**6, 10)), range(8)))

    assert (len(prepared), most) == (8, uploads.MAX_AT_ONCE)


def test_where_a_photo_was_taken_is_in_no_stored_file(caller: Caller, media: Path, temporary: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N", 2: (52.0, 31.0, 12.34), 3: "E", 4: (13.0, 24.0, 17.89)})
    xmp = b"<x:xmpmeta><rdf:Description exif:GPSLatitude='52,31.2N'/></x:xmpmeta>"
    content = encoded(Image.new("RGB", (64, 48)), "JPEG", exif=exif.tobytes(), comment=b"SecretComment", xmp=xmp)
    assert Image.open(io.BytesIO(content)).getexif().get_ifd(0x8825), "the control: the upload does hold a position"

    assert caller.send(photo(content)).status_code == 202

    image = stored()
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    for path in [*media.rglob("*"), *temporary.rglob("*")]:
        if path.is_file():
            assert not re.search(rb"GPSLatitude|Exif|SecretCamera|SecretComment|xmpmeta", path.read_bytes())


def test_a_photo_is_stored_upright(caller: Caller) -> None:
    image = Image.new("RGB", (60, 40), "white")
    image.paste("red", (0, 0, 60, 10))  # the top as the sensor sees it
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise

    caller.send(photo(encoded(image, "JPEG", exif=exif.tobytes(), quality=95)))

    assert stored().size == (40, 60)
    red, green, _ = stored().getpixel((38, 30))  # type: ignore[misc]  # an RGB photo's pixel is a triple
    assert red > 200
    assert green < 60


def test_transparency_lies_over_white(caller: Caller) -> None:
    caller.send(photo(encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG"), "a.png", "image/png"))

    assert stored().getpixel((5, 5)) == (255, 255, 255)


def test_a_colour_profile_is_applied_and_dropped(caller: Caller) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    lab = Image.new("LAB", (40, 40), (140, 200, 180))
    expected = ImageCms.profileToProfile(lab, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert expected is not None
    content = encoded(lab, "TIFF", icc_profile=profile.tobytes())

    assert caller.send(photo(content, "a.tiff", "image/tiff")).status_code == 202

    assert "icc_profile" not in stored().info
    wanted, found = expected.getpixel((5, 5)), stored().getpixel((5, 5))
    assert isinstance(wanted, tuple)
    assert isinstance(found, tuple)
    assert max(abs(a - b) for a, b in zip(wanted, found, strict=True)) < 6


@pytest.mark.parametrize(
    ("mode", "name", "suffix"),
    [
        ("L", "JPEG", "jpg"),
        ("CMYK", "JPEG", "jpeg"),
        ("P", "PNG", "png"),
        ("1", "PNG", "png"),
        ("I;16", "PNG", "png"),
        ("LA", "PNG", "png"),
        ("RGB", "WEBP", "webp"),
        ("P", "GIF", "gif"),
        ("RGB", "BMP", "bmp"),
        ("RGB", "TIFF", "tif"),
    ],
)
def test_photos_of_many_kinds_are_taken(caller: Caller, mode: str, name: str, suffix: str) -> None:
    content = encoded(Image.new(mode, (40, 30)), name)

    response = caller.send(photo(content, f"a.{suffix}", f"image/{name.lower()}"))

    assert response.status_code == 202, response.json()
    assert stored().size == (40, 30)
    assert Photo.objects.get().original_format == name


@pytest.mark.parametrize("name", ["photo", "photo.JPG", "photo.bin", "../../etc/passwd", "a" * 300 + ".jpg"])
def test_the_name_of_a_file_is_never_used(caller: Caller, media: Path, name: str) -> None:
    assert caller.send(photo(name=name, content_type="application/octet-stream")).status_code == 202

    [path] = [path for path in media.rglob("*") if path.is_file()]
    assert re.fullmatch(r"photos/\d{4}/\d\d/\d\d/[\w-]{43}\.jpg", str(path.relative_to(media)))


def test_a_failure_while_writing_the_rows_leaves_no_file(
    caller: Caller, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr("moderation.posts.analysis.request", fail)

    assert caller.send(photo(), photo()).status_code == 500

    assert [path for path in media.rglob("*") if path.is_file()] == []
    assert not Photo.objects.exists()


def test_a_photo_is_stored_with_its_fingerprint(caller: Caller) -> None:
    caller.send(photo())

    row = Photo.objects.get()
    with row.file.open("rb") as file:
        expected = fingerprint(Image.open(io.BytesIO(file.read())))
    assert distance(bytes(row.pdq or b""), expected.bits) <= 2
    assert row.pdq_quality is not None and abs(row.pdq_quality - expected.quality) <= 1


def test_a_photo_without_a_fingerprint_is_taken(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(image: Image.Image) -> Fingerprint:
        raise OSError("cannot be told")

    monkeypatch.setattr(uploads, "fingerprint", refuse)

    caller.send(photo())

    row = Photo.objects.get()
    assert (row.pdq, row.pdq_quality) == (None, None)
    assert "No fingerprint" in caplog.text
