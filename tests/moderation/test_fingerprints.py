"""Our PDQ against the reference's: what pdqhash 0.2.8 (Meta's C++) gave for the same pictures, and what hashes bear.

pdqhash was given each picture in colour, brought to 512 by 512 pixels by Pillow. There grey values are not rounded, and
a bit or two that lie at the median turn over.
"""

from io import BytesIO

import pytest
from PIL import Image, ImageEnhance

from mask_social.demo.pictures import PHOTOS
from moderation.fingerprints import Fingerprint, distance, fingerprint
from moderation.similarity import MAX_DISTANCE, MIN_QUALITY
from tests.moderation.drawings import DRAWINGS, encoded

TOLERANCE = 2


def told(content: bytes) -> Fingerprint:
    with Image.open(BytesIO(content)) as image:
        return fingerprint(image)


REFERENCE_DRAWINGS = [
    ("waves", 512, 512, 100, "c80ac89e990b990abb01bb01b32167e327e14cde2efed90ef673b76140de00ff"),
    ("waves", 1600, 1200, 100, "494adb4e924e34dec89ed99a990bbb01b301b7e167e34cfed80efe012673409e"),
    ("waves", 300, 200, 100, "b52a2d6a494adb4eb24e649ec89e990b9b01b301b7e167f74c1efb03b673009e"),
    ("tiles", 512, 512, 100, "8def06797119e1c46280e14053b0c7e007ff3e01f800381fac4f17ff9dff303f"),
    ("tiles", 1600, 1200, 100, "94ad29f502885e024b525400a2a9f800ffffa111000001ff1d77afffbfaf2fff"),
    ("tiles", 300, 200, 100, "616710d6983ccc289e90ec209c7838c061ff73d1be02c79f630703bf3d7f439f"),
]
REFERENCE_PHOTOS = [
    ("crowd.jpg", 100, "238c23a7e027cde14f6897a4151f28f0f3030f5e99b7c26d4ad7c524f59a2e4b"),
    ("gps.jpg", 100, "52676d9908a6b698e7192268b5b745a61e59b2dda1a45c381c712d73c02cf7fd"),
    ("landscape.jpg", 74, "5297d297fd6815272ca5e29add499ac50ee4611aad25a2959ed2611da9ade1ad"),
    ("patterned.jpg", 100, "6d2f12f3a956cd29cf9ca352526ba834d40b6c81dedd04de0a26b859fc99b724"),
    ("portrait.jpg", 100, "2d6f1af3a956c529c79ca3d2526fa834d4196c81cedd04de0a26b855fc99b724"),
    ("surgical.jpg", 100, "6d2b1af3a956c529c79ca352526fa834d4196c89cedd04de0a26f855fc99b724"),
    ("under_nose.jpg", 100, "6d2b1af3a956c529c79ca3d2526fa834d4196c819edd04de0a26f855fc99b724"),
]


def opened(name: str) -> Image.Image:
    return Image.open(PHOTOS / name).convert("RGB")


@pytest.mark.parametrize(("name", "width", "height", "quality", "bits"), REFERENCE_DRAWINGS)
def test_a_drawing_has_the_reference_hash(name: str, width: int, height: int, quality: int, bits: str) -> None:
    found = told(encoded(DRAWINGS[name](width, height)))

    assert distance(found.bits, bytes.fromhex(bits)) <= TOLERANCE
    assert found.quality == quality


@pytest.mark.parametrize(("name", "quality", "bits"), REFERENCE_PHOTOS)
def test_a_photo_has_the_reference_hash(name: str, quality: int, bits: str) -> None:
    found = told((PHOTOS / name).read_bytes())

    assert distance(found.bits, bytes.fromhex(bits)) <= TOLERANCE
    assert abs(found.quality - quality) <= 1


@pytest.mark.parametrize(("name", "quality"), [("hills", 27), ("sky", 0), ("plain", 0)])
def test_a_picture_with_little_in_it_is_told_by_its_quality(name: str, quality: int) -> None:
    found = told(encoded(DRAWINGS[name](512, 512)))

    assert abs(found.quality - quality) <= 1 < MIN_QUALITY - quality


@pytest.mark.parametrize("name", ["crowd.jpg", "landscape.jpg", "portrait.jpg", "surgical.jpg"])
@pytest.mark.parametrize("share", [0.4, 0.75, 2.5])
def test_it_bears_another_size_and_worse_compression(name: str, share: float) -> None:
    original = opened(name)
    smaller = original.resize((round(original.width * share), round(original.height * share)))

    again = told(encoded(smaller, "JPEG", quality=60))

    assert distance(again.bits, told(encoded(original)).bits) <= 12


@pytest.mark.parametrize("name", ["crowd.jpg", "landscape.jpg", "portrait.jpg"])
def test_it_bears_other_light_and_colours(name: str) -> None:
    original = opened(name)
    filtered = ImageEnhance.Color(ImageEnhance.Contrast(original).enhance(1.2)).enhance(0.3)

    assert distance(told(encoded(filtered)).bits, told(encoded(original)).bits) <= MAX_DISTANCE


def test_other_pictures_are_far_away() -> None:
    seen = [told((PHOTOS / name).read_bytes()).bits for name in ("crowd.jpg", "landscape.jpg", "portrait.jpg")]

    assert min(distance(seen[one], seen[other]) for one, other in ((0, 1), (0, 2), (1, 2))) > 3 * MAX_DISTANCE


def test_a_large_photo_has_the_hash_of_its_smaller_copy() -> None:
    drawing = DRAWINGS["waves"](2400, 1600)
    whole = told(encoded(Image.fromarray(drawing).resize((512, 512), Image.Resampling.BICUBIC)))

    reduced = told(encoded(drawing, "JPEG"))

    assert distance(reduced.bits, whole.bits) <= 6
    assert reduced.quality == whole.quality


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_any_kind_of_pixels_will_do(mode: str) -> None:
    picture = Image.fromarray(DRAWINGS["tiles"](640, 480))
    stream = BytesIO()
    picture.convert(mode).save(stream, "TIFF" if mode == "CMYK" else "PNG")

    assert distance(told(stream.getvalue()).bits, told(encoded(picture)).bits) <= 6


def test_the_smallest_and_the_longest_photo_have_one() -> None:
    assert len(told(encoded(DRAWINGS["waves"](16, 16), "JPEG")).bits) == 32
    assert len(told(encoded(DRAWINGS["waves"](3000, 100), "JPEG")).bits) == 32


def test_half_of_the_bits_are_set() -> None:
    bits = told(encoded(DRAWINGS["waves"](512, 512))).bits

    assert distance(bits, bytes(32)) == 128


def test_the_distance_counts_the_bits_that_differ() -> None:
    assert distance(bytes(32), bytes(32)) == 0
    assert distance(bytes([0b1010_0000, *bytes(31)]), bytes([0b0010_0000, *bytes(30), 1])) == 2
    assert distance(bytes(32), b"\xff" * 32) == 256
