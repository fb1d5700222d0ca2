"""What is posted: the demonstration's photographs, altered so that most are new, and some that do harm."""

import threading
from enum import Enum
from functools import cache
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from mask_social.demo.pictures import PHOTOS

# Small, so that a machine of two cores sees many: the faces on them are still found.
LONG_SIDES = (288, 352, 416)
LEAK_MIB = 64  # of a leaking photo
REPEAT_SHARE = 0.08  # posted as they are, so that near-duplicates come up too
_opening = threading.Lock()  # a lazy Image is read at its first use


class Kind(Enum):
    """What a picture does to the worker that looks at it."""

    ORDINARY = "ordinary"
    DEADLY = "deadly"
    HANGING = "hanging"
    DEAF = "deaf"
    LEAKING = "leaking"


SIZES = {
    Kind.DEADLY: (333, 222),
    Kind.HANGING: (334, 222),
    Kind.DEAF: (335, 222),
    Kind.LEAKING: (336, 222),
}


def kind_of(size: tuple[int, int]) -> Kind:
    """Tell the harmful by their size, which no ordinary one has."""
    return next((kind for kind, harmful in SIZES.items() if size == harmful), Kind.ORDINARY)


def harmful(kind: Kind, random: Random) -> bytes:
    """Draw a picture of the size that does harm."""
    colour = (random.randrange(256), random.randrange(256), random.randrange(256))
    return _written(Image.new("RGB", SIZES[kind], colour))


def ordinary(random: Random) -> bytes:
    """Return a photograph: cut, turned, tinted and framed, or at times as it is."""
    name = random.choice(_names())
    if random.random() < REPEAT_SHARE:
        return (PHOTOS / name).read_bytes()
    picture = _photograph(name).copy()
    width, height = picture.size
    share = random.uniform(0.86, 1)
    left, top = (random.uniform(0, side * (1 - share)) for side in (width, height))
    picture = picture.crop((int(left), int(top), int(left + width * share), int(top + height * share)))
    if random.random() < 0.5:
        picture = ImageOps.mirror(picture)
    picture.thumbnail((side := random.choice(LONG_SIDES), side))
    picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.85, 1.2))
    # Blocks in the corners: few bits of the faces, many of the fingerprint.
    pen = ImageDraw.Draw(picture)
    for corner in range(4):
        size = random.randint(side // 12, side // 6)
        x = 0 if corner % 2 else picture.width - size
        y = 0 if corner // 2 else picture.height - size
        pen.rectangle((x, y, x + size, y + size), fill=tuple(random.randrange(256) for _ in range(3)))
    return _written(picture)


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in PHOTOS.glob("*.jpg")))


@cache
def _photograph(name: str) -> Image.Image:
    with _opening, Image.open(PHOTOS / name) as picture:
        return picture.convert("RGB")


def _written(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
