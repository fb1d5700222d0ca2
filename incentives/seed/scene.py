"""Who and what the seed needs before there are posts: a platform, people, days, and the pictures they post."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image

from incentives.experiments.assignment import is_held_out
from incentives.seed.places import PLACES
from mask_social.demo.pictures import PHOTOS

DAYS = 90
POSTS_PER_AUTHOR = 20
#: Below 1 with the fifth that everybody's share of masks grows by: else a lift would have no room.
MOST_KEEN = 0.82
#: Monday to Sunday: at the weekend people are about.
_WEEK = (0.88, 0.9, 0.93, 0.97, 1.06, 1.16, 1.1)
_GROWTH = 0.9  # the last day has nearly twice the posts of the first
#: In the order of `picture` in statements.POSTS; with the faces that the model finds (x1, y1, x2, y2, score).
PICTURES: tuple[tuple[str, tuple[tuple[float, ...], ...]], ...] = (
    ("surgical.jpg", ((173.9, 80.6, 270.6, 185.0, 0.998),)),
    ("patterned.jpg", ((178.4, 81.2, 268.9, 178.0, 0.991),)),
    ("portrait.jpg", ((181.3, 79.1, 266.2, 175.5, 1.0),)),
    ("under_nose.jpg", ((177.7, 78.6, 270.2, 183.9, 0.999),)),
    (
        "crowd.jpg",
        (
            (70.3, 512.6, 192.8, 644.5, 0.988),
            (572.4, 522.4, 688.2, 649.5, 0.997),
            (345.9, 521.7, 456.5, 641.0, 0.998),
            (857.9, 525.7, 968.9, 642.8, 0.998),
        ),
    ),
    ("landscape.jpg", ()),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """An experiment to be seeded: its true lift is the share of masked posts that it adds."""

    name: str
    salt: str
    percent: float
    lift: float
    starts: datetime
    ends: datetime


def trials(number: int, now: datetime) -> tuple[Trial, Trial]:
    """Return one that has ended and one that runs."""
    ended = Trial(
        *("Do badges and boosts bring masks?", f"seed {number} ended", 20.0, 0.25),
        *(now - timedelta(days=70), now - timedelta(days=42)),
    )
    running = Trial(
        *("The same at a tenth held out", f"seed {number} running", 10.0, 0.2), *(now - timedelta(days=21), now)
    )
    return ended, running


def days(posts: int, now: datetime) -> list[tuple[datetime, timedelta, int, int]]:
    """Part the posts among the last 90 days: more at weekends, more of late; (start, length, first number, posts)."""
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    starts = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    lengths = [timedelta(days=1)] * (DAYS - 1) + [max(now - today, timedelta(minutes=1))]
    weights = [
        _WEEK[start.weekday()] * (1 + _GROWTH * place / DAYS) * (length / timedelta(days=1))
        for place, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    bounds, whole = [0], sum(weights)
    for place in range(DAYS):
        bounds.append(round(posts * sum(weights[: place + 1]) / whole))
    return [
        (start, length, first + 1, end - first)
        for start, length, first, end in zip(starts, lengths, bounds, bounds[1:], strict=False)
    ]


def authors(
    number: int, count: int, platform_id: str, first_day: datetime, held: tuple[Trial, Trial]
) -> Iterator[tuple[object, ...]]:
    """Return the rows of `seed_author` without its id, the busiest author first."""
    draw = random.Random(number)  # noqa: S311 - a story, no secret
    homes = draw.choices(PLACES, [place.share for place in PLACES], k=count)
    for n, home in enumerate(homes):
        name = f"user-{n + 1:06d}"
        keen = min(MOST_KEEN, max(0.04, home.keen + draw.uniform(-0.18, 0.18)))
        registered = first_day - timedelta(days=draw.expovariate(1 / 300) + 1)
        offset = first_day.astimezone(ZoneInfo(home.time_zone)).utcoffset() or timedelta()
        arms = [is_held_out(trial.salt, platform_id, name, trial.percent) for trial in held]
        yield n, name, home.region, home.time_zone, offset / timedelta(hours=1), keen, registered, *arms


def store_pictures() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Store each picture once, for all posts that show it; return the rows of `seed_picture` and `seed_box`."""
    pictures: list[tuple[object, ...]] = []
    boxes: list[tuple[object, ...]] = []
    for k, (name, faces) in enumerate(PICTURES):
        content = (PHOTOS / name).read_bytes()
        with Image.open(BytesIO(content)) as image:
            width, height = image.size
        file = default_storage.save(f"photos/seed/{Path(name).name}", ContentFile(content))
        pictures.append((k, file, hashlib.sha256(content).hexdigest(), width, height, len(content)))
        boxes += [(k, position, *face) for position, face in enumerate(faces)]
    return pictures, boxes
