"""How much memory a worker holds over many photos: a file of numbers, and a curve."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import psutil
from PIL import Image, ImageDraw

from mask_social.bench.service import Service, wait_until

_MIB = 2**20
_SAMPLE_SECONDS = 1.0
_AUTHORS = 500
_BATCH = 500
# What comes before is models being loaded, and the first of each kind of photo.
_SETTLED = 0.1
_SIZE = (960, 420)
_MARGIN = 64
_INK, _GRID, _LINE = (40, 40, 46), (222, 222, 228), (29, 78, 216)


@dataclass(frozen=True, slots=True)
class Sample:
    """At a moment: photos looked at so far, and MiB held by the process that looks at them."""

    photos: int
    mebibytes: float
    process: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the samples come to."""

    samples: Sequence[Sample]
    seconds: float

    @property
    def growth(self) -> float:
        """Return MiB for 1,000 photos, the slope of the line through the samples once all has settled."""
        return _slope([(sample.photos, sample.mebibytes) for sample in self.settled]) * 1000

    @property
    def settled(self) -> Sequence[Sample]:
        """Return the samples after the first tenth of the photos."""
        most = max(sample.photos for sample in self.samples)
        return [sample for sample in self.samples if sample.photos >= most * _SETTLED]

    @property
    def processes(self) -> int:
        """Return how many processes looked at photos, one after another."""
        return len({sample.process for sample in self.samples})


def measure(service: Service, photos: Sequence[Path], count: int, environment: dict[str, str]) -> Report:
    """Let one process look at so many photos, which wait for it in batches."""
    from moderation.models import Analysis

    began = time.monotonic()
    samples: list[Sample] = []
    done = Analysis.objects.filter(status=Analysis.Status.DONE)
    posts = _posts(service, photos)
    made = 0
    with service.analysts(environment=environment) as parent:
        while made < count or done.count() < count:
            if made < count and made - done.count() < _BATCH:
                for create in islice(posts, min(_BATCH, count - made)):
                    create()
                    made += 1
            if sample := _sample(parent, done.count()):
                samples.append(sample)
            time.sleep(_SAMPLE_SECONDS)
    wait_until(lambda: done.count() >= count, 60)
    return Report(samples, time.monotonic() - began)


def write(report: Report, folder: Path) -> None:
    """Write the numbers and the curve."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "memory.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["photos", "mebibytes", "process"])
        table.writerows([one.photos, f"{one.mebibytes:.1f}", one.process] for one in report.samples)
    _curve(report.samples).save(folder / "memory.png", optimize=True)


def _posts(service: Service, photos: Sequence[Path]) -> Iterator[Callable[[], object]]:
    """Yield calls that each make a post, without HTTP: what is measured is the worker."""
    from django.conf import settings

    from mask_social import clock
    from moderation import posts, uploads
    from moderation.tasks import analysis_terms

    limits = uploads.Limits(settings.MAX_PHOTO_BYTES, 50_000_000, settings.MAX_PHOTOS)
    prepared = [
        uploads.prepare_all([uploads.Upload.of("/photos/0", path.read_bytes(), name=path.name)], limits)
        for path in photos
    ]
    platform = service.furniture.platform
    for number, photo in enumerate(cycle(prepared)):
        new = posts.NewPost(platform, f"author-{number % _AUTHORS}", "", "", clock.now(), photo)
        yield partial(posts.create_post, new, analysis_terms())


def _sample(parent: int, photos: int) -> Sample | None:
    try:
        children = psutil.Process(parent).children()
        workers = sorted(children, key=lambda child: child.memory_info().rss)
        if not workers:
            return None
        return Sample(photos, workers[-1].memory_info().rss / _MIB, workers[-1].pid)
    except psutil.NoSuchProcess:  # it is being replaced
        return None


def _slope(points: Sequence[tuple[float, float]]) -> float:
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def _curve(samples: Sequence[Sample]) -> Image.Image:
    picture = Image.new("RGB", _SIZE, "white")
    pen = ImageDraw.Draw(picture)
    width, height = _SIZE[0] - 2 * _MARGIN, _SIZE[1] - 2 * _MARGIN
    most_photos = max(sample.photos for sample in samples) or 1
    most_mib = max(sample.mebibytes for sample in samples) * 1.15

    def place(photos: float, mib: float) -> tuple[float, float]:
        return _MARGIN + width * photos / most_photos, _SIZE[1] - _MARGIN - height * mib / most_mib

    for part in range(5):
        mib, photos = most_mib * part / 4, most_photos * part / 4
        pen.line([place(0, mib), place(most_photos, mib)], _GRID)
        pen.text((8, place(0, mib)[1] - 6), f"{mib:.0f} MiB", _INK)
        pen.text((place(photos, 0)[0] - 14, _SIZE[1] - _MARGIN + 8), f"{photos:,.0f}", _INK)
    pen.text((_SIZE[0] // 2 - 60, _SIZE[1] - 26), "photos looked at", _INK)
    pen.line([place(one.photos, one.mebibytes) for one in samples], _LINE, 2)
    pen.text((_MARGIN, 14), "memory of the process that looks at photos (RSS)", _LINE)
    return picture
