"""What a stranger sends as a photo: inspected, made upright, freed of metadata, hashed. Nothing is written here."""

import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from pathlib import PurePosixPath
from typing import NoReturn

from PIL import Image

from mask_social.errors import ApiError
from moderation import inference
from moderation.fingerprints import Fingerprint, fingerprint

logger = logging.getLogger(__name__)

_MIN_SIDE = 16
# No camera makes a longer strip; shrunk to the detector's working size it would be a few pixels high.
_MAX_RATIO = 30
_JPEG_QUALITY = 92
# A progressive photo has about ten scans. Each makes the decoder go over all pixels again, and an empty one is a few
# bytes: what fits into 15 MB would keep it busy for hours.
_MAX_SCANS = 64
_MAX_SEGMENTS = 10_000
# The markers that begin a segment, and the end of the image; the others stand alone (ITU T.81, B.1.1.3).
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_FORMAT_OF_TYPE = {
    "image/jpeg": "JPEG",
    "image/jpg": "JPEG",
    "image/pjpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/x-ms-bmp": "BMP",
    "image/tiff": "TIFF",
    "image/avif": "AVIF",
}
_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
# How images begin that we know of but do not take: (offset, bytes, name).
_NOT_TAKEN = (
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"%!PS", "PostScript"),
    (0, b"DDS ", "DDS"),
    (0, b"P5", "PGM"),
    (0, b"P6", "PPM"),
    (0, b"qoif", "QOI"),
)
_SVG_LOOK = 4096
# A photo of 50 megapixels takes half a gigabyte while it is made anew, a WebP or one with a profile 800 MB: sixteen
# threads at once would take ten times that.
MAX_AT_ONCE = 2
_places = threading.BoundedSemaphore(MAX_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still accepted."""

    max_bytes: int
    max_pixels: int
    max_photos: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo as it came: `pointer` is where in the request; `size` may exceed what was kept of the content."""

    pointer: str
    content: bytes
    size: int
    digest: str
    name: str = ""
    content_type: str = ""
    source_url: str = ""

    @classmethod
    def of(cls, pointer: str, content: bytes, *, name: str = "", content_type: str = "", url: str = "") -> "Upload":
        """Wrap bytes that are all there."""
        digest = hashlib.sha256(content).hexdigest()
        return cls(pointer, content, len(content), digest, name, content_type, url)


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo as it will be stored: an upright sRGB JPEG without metadata."""

    content: bytes
    digest: str
    width: int
    height: int
    original_format: str
    source_url: str
    # What near-duplicates share; None where none could be taken.
    fingerprint: Fingerprint | None = None


def check_count(files: int, urls: int, limits: Limits) -> None:
    """Refuse a post without photos, or with too many."""
    pointer = "/photos" if files else "/photo_urls"
    if files + urls == 0:
        _refuse("/photos", "photos_required", "A post needs at least one photo.")
    if files + urls > limits.max_photos:
        _refuse(pointer, "too_many_photos", f"A post has at most {limits.max_photos} photos.")


def prepare_all(uploads: Sequence[Upload], limits: Limits) -> list[PreparedPhoto]:
    """Return all photos of a post as they will be stored, or refuse the first that is amiss."""
    for upload in uploads:
        check_bytes(upload, limits)
    headers = [check_header(upload, limits) for upload in uploads]
    return [_prepare(upload, header) for upload, header in zip(uploads, headers, strict=True)]


def check_bytes(upload: Upload, limits: Limits) -> None:
    """Refuse what is empty or too large."""
    if upload.size == 0:
        _refuse(upload.pointer, "empty_file", "The file is empty.")
    if upload.size > limits.max_bytes:
        megabytes = limits.max_bytes // 1024**2
        _refuse(
            upload.pointer,
            "file_too_large",
            f"The file is larger than {megabytes} MB.",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )


def check_header(upload: Upload, limits: Limits) -> inference.Header:
    """Refuse what its first bytes already tell against; nothing is decompressed."""
    try:
        header = inference.inspect(upload.content)
    except inference.ImageError as error:
        if error.code == "not_an_image":
            _refuse_foreign(upload)
        _refuse(upload.pointer, error.code, _sentence(error))
    for where, claimed in _claims(upload):
        if claimed != header.format:
            detail = f"The file is {header.format}, but its {where} says {claimed}."
            _refuse(upload.pointer, "format_mismatch", detail)
    if header.width * header.height > limits.max_pixels:
        _refuse(
            upload.pointer,
            "too_many_pixels",
            f"The photo has more than {limits.max_pixels / 1e6:g} megapixels.",
        )
    short, long = sorted((header.width, header.height))
    if short < _MIN_SIDE or long > _MAX_RATIO * short:
        _refuse(
            upload.pointer,
            "bad_dimensions",
            f"{header.width} × {header.height} is no photo: each side needs {_MIN_SIDE} pixels, "
            f"the long one at most {_MAX_RATIO} times the short one.",
        )
    if header.is_animated:
        _refuse(upload.pointer, "animated_image", "The file has more than one frame; a post takes photos.")
    if header.format == "JPEG" and not _is_decoded_soon(upload.content):
        _refuse(upload.pointer, "too_complex", f"A photo has at most {_MAX_SCANS} scans.")
    return header


def _is_decoded_soon(jpeg: bytes) -> bool:
    """Say whether a JPEG has no more scans than a photo needs; markers are found as libjpeg finds them."""
    position = scans = 0
    for _ in range(_MAX_SEGMENTS):
        found = _SEGMENT.search(jpeg, position)
        if found is None or found[1] == b"\xd9":
            return True
        scans += found[1] == b"\xda"
        if scans > _MAX_SCANS:
            return False
        position = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
    return False


def _prepare(upload: Upload, header: inference.Header) -> PreparedPhoto:
    with _places:
        try:
            pixels = inference.decode(upload.content)
        except inference.ImageError as error:
            _refuse(upload.pointer, error.code, _sentence(error))
        stream = BytesIO()
        # A new image made of pixels alone: whatever the file said besides them stays behind.
        image = Image.fromarray(pixels)
        image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling="4:4:4")
        found = _fingerprint(upload.pointer, image)  # here, where the pixels are: nobody decodes the photo for it again
        width, height = image.size
        del pixels, image
    content = stream.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return PreparedPhoto(content, digest, width, height, header.format, upload.source_url, found)


def _fingerprint(pointer: str, image: Image.Image) -> Fingerprint | None:
    try:
        return fingerprint(image)
    except Exception:  # the verdict needs none; the photo is only not compared with others
        logger.exception("No fingerprint of %s could be taken.", pointer)
        return None


def _refuse_foreign(upload: Upload) -> NoReturn:
    head = upload.content[:_SVG_LOOK].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head):
        _refuse(upload.pointer, "svg_not_supported", "SVG is a drawing, and may hold scripts; send a photo.")
    for offset, magic, name in _NOT_TAKEN:
        if upload.content.startswith(magic, offset):
            _refuse(upload.pointer, "unsupported_format", f"{name} is not taken; send JPEG, PNG or WebP.")
    _refuse(upload.pointer, "not_an_image", "The file is no image.")


def _claims(upload: Upload) -> Iterator[tuple[str, str]]:
    """Yield what the name and the type say the format is."""
    media_type = upload.content_type.partition(";")[0].strip().lower()
    if upload.source_url:  # servers name and label photos carelessly: only a type that is an image's is a claim
        if claimed := _FORMAT_OF_TYPE.get(media_type):
            yield "type", claimed
        return
    if claimed := _FORMAT_OF_SUFFIX.get(PurePosixPath(upload.name).suffix.lower()):
        yield "name", claimed
    if media_type not in {"", "application/octet-stream"}:
        yield "type", _FORMAT_OF_TYPE.get(media_type, media_type)


def _sentence(error: inference.ImageError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _refuse(pointer: str, code: str, detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> NoReturn:
    raise ApiError(status, code, detail, pointer=pointer)
