"""From the accepted upload to the verdict, its rewards and their events, beside the bare loop over the same photos."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from mask_social.bench.service import Service, refuse_failures, tree_seconds
from mask_social.stack import BASE

_PATIENCE_SECONDS = 900.0
_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """Photos per second, in one turn."""

    bare: float
    # By as many bare processes as the service has analysing ones, where these are several; else by two.
    bare_two: float
    # Posts that waited when the worker began, until the last event was delivered; and until the last verdict.
    service: float
    verdicts: float


@dataclass(slots=True)
class Report:
    """What the turns came to."""

    workers: int
    posts: int
    turns: list[Turn] = field(default_factory=list)
    # With uploads coming in meanwhile, by as many clients as kept the service busy.
    live: float = 0.0
    uploads: float = 0.0
    # Of the processor, milliseconds for each post, by kind of process, while the queue was worked off.
    processor: Mapping[str, float] = field(default_factory=dict)
    stores: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    counted: int = 0
    events: int = 0

    @property
    def share(self) -> float:
        """Return the median of service by bare loop."""
        return median(turn.service / turn.bare for turn in self.turns)

    @property
    def share_of_two(self) -> float:
        """Return the median of service by two bare processes."""
        return median(turn.service / turn.bare_two for turn in self.turns)


def measure(service: Service, photos: Sequence[Path], turns: int, workers: int = 1) -> Report:
    """Work off the photos in so many turns, each between runs of the bare loop over those of the turn."""
    each = (len(photos) - _WARM_UP) // (turns + 1)
    report = Report(workers, each)
    with service.analysts(workers):
        refuse_failures(service.post_all(photos[:_WARM_UP]))
        service.drain(_PATIENCE_SECONDS)
    spent: dict[str, float] = {}
    stores: dict[str, float] = {}
    for number in range(turns):
        chunk = photos[_WARM_UP + number * each : _WARM_UP + (number + 1) * each]
        before = service.stores()
        began = time.monotonic()
        refuse_failures(service.post_all(chunk))
        report.uploads = max(report.uploads, each / (time.monotonic() - began))
        files = stored(each)
        first = bare(files)
        processor = service.processor()
        with service.analysts(workers) as analysts:
            idle = tree_seconds(analysts)
            service.drain(_PATIENCE_SECONDS)
            _add(spent, "analysis", tree_seconds(analysts) - idle)
        for name, seconds in service.processor().items():
            _add(spent, name, seconds - processor[name])
        for name, amount in service.stores().items():
            _add(stores, name, amount - before[name])
        whole, verdicts = lengths(each)
        two = bare(files, processes=max(2, workers))
        report.turns.append(Turn((first + bare(files)) / 2, two, each / whole, each / verdicts))
    report.processor = {name: seconds * 1e3 / (each * turns) for name, seconds in spent.items()}
    report.stores = {name: amount / (each * turns) for name, amount in stores.items()}
    with service.analysts(workers):
        began = time.monotonic()
        refuse_failures(service.post_all(photos[-each:]))
        service.drain(_PATIENCE_SECONDS)
        report.live = each / (time.monotonic() - began)
    _count(report)
    return report


def bare(files: Sequence[Path], processes: int = 1) -> float:
    """Return how many photos per second so many bare loops look at together."""
    loops = []
    for number in range(processes):
        loop = subprocess.Popen(
            [sys.executable, "-m", "mask_social.bench.bare"],
            cwd=BASE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert loop.stdin is not None  # noqa: S101 - asked for above
        loop.stdin.write("".join(f"{path}\n" for path in files[number::processes]) + "\n")
        loop.stdin.flush()
        loops.append(loop)
    for loop in loops:
        assert loop.stdout is not None  # noqa: S101 - asked for above
        loop.stdout.readline()
    for loop in loops:
        assert loop.stdin is not None  # noqa: S101 - asked for above
        loop.stdin.write("\n")
        loop.stdin.flush()
    return len(files) / max(float(loop.communicate()[0]) for loop in loops)


def stored(count: int) -> list[Path]:
    from moderation.models import Photo

    return [Path(photo.file.path) for photo in Photo.objects.order_by("-pk")[:count]]


def lengths(count: int) -> tuple[float, float]:
    """Return how many seconds the last posts took: from the first claim to the last delivery, and to the verdict."""
    from django.db.models import Max

    from incentives.models import Delivery
    from moderation.models import Analysis

    rows = Analysis.objects.order_by("-photo_id").values_list("started_at", "finished_at")[:count]
    began = min(started for started, _ in rows if started)
    finished = max(ended for _, ended in rows if ended)
    delivered = Delivery.objects.aggregate(last=Max("delivered_at"))["last"]
    return (max(delivered, finished) - began).total_seconds(), (finished - began).total_seconds()


def _count(report: Report) -> None:
    from collections import Counter

    from incentives.models import Claim, Event
    from moderation.models import Post

    report.outcomes = dict(Counter(Post.objects.values_list("outcome", flat=True)))
    report.counted = Claim.objects.filter(ruling=Claim.Ruling.COUNTS).count()
    report.events = Event.objects.count()


def _add(sums: dict[str, float], name: str, amount: float) -> None:
    sums[name] = sums.get(name, 0.0) + amount
