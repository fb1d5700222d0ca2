"""What each stage of a post's way costs, one post after another in this process, and how many queries it asks."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from django.db import connection

WARM_UP = 10
_AUTHORS = 20


@dataclass(slots=True)
class Cost:
    """Sums over all posts: milliseconds by the clock and of both processors, and queries."""

    wall: float = 0.0
    cpu: float = 0.0
    sql: float = 0.0
    queries: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What the posts cost by stage, and the database's processor (ms) and log (bytes) for each."""

    costs: Mapping[str, Cost]
    posts: int
    database_ms: float
    log_bytes: float
    events: int
    outcomes: Mapping[str, int]
    rulings: Mapping[str, int]


@dataclass(slots=True)
class Meter:
    """Adds up what happens inside `stage`."""

    costs: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    _spent: list[float] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block does towards a stage."""
        self._spent.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        with connection.execute_wrapper(self._watch):
            yield
        cost = self.costs[name]
        cost.wall += (time.perf_counter() - wall) * 1e3
        cost.cpu += (time.process_time() - cpu) * 1e3
        cost.sql += sum(self._spent) * 1e3
        cost.queries += len(self._spent)
        cost.calls += 1

    def _watch(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            self._spent.append(time.perf_counter() - began)


def database_cpu() -> float:
    """Return the milliseconds of processor that our connection's own server process has had."""
    times = psutil.Process(connection.connection.info.backend_pid).cpu_times()
    return float(times.user + times.system) * 1e3


def measure(photos: Sequence[Path]) -> Result:
    """Lead posts of one photo each through all stages, as web and workers do; the first ones only warm up."""
    from django.conf import settings

    from incentives import rewards
    from incentives.models import Claim, Event
    from mask_social import clock
    from mask_social.bench import furnish
    from moderation import analysis, inference, posts, uploads
    from moderation.models import Platform, Post, Verdict
    from moderation.tasks import analysis_terms

    platform = Platform.objects.get(slug=furnish.SLUG)
    terms, limits = analysis_terms(), uploads.Limits(settings.MAX_PHOTO_BYTES, 50_000_000, settings.MAX_PHOTOS)
    inference.warm()
    meter = Meter()
    for number, path in enumerate(photos):
        if number == WARM_UP:
            meter.costs.clear()
            database, log = database_cpu(), _log_position()
        content = path.read_bytes()
        with meter.stage("prepare the upload"):
            prepared = uploads.prepare_all([uploads.Upload.of("/photos/0", content, name=path.name)], limits)
        author = f"author-{number % _AUTHORS}"
        new = posts.NewPost(platform, author, "", "DE", clock.now(), prepared)
        with meter.stage("store the post"):
            post = posts.create_post(new, terms)
        photo = post.photos.get()
        with meter.stage("claim"):
            held = analysis.claim(photo.pk, terms)
        assert held is not None  # noqa: S101 - nobody else is here
        with meter.stage("read the photo"):
            with photo.file.open("rb") as file:
                stored = file.read()
            reading = inference.get().analyze(stored)
        with meter.stage("verdict"):
            analysis.finish(held, reading)
        verdict_id = Verdict.objects.values_list("pk", flat=True).get(post=post)
        with meter.stage("rewards"):
            rewards.apply_verdict(verdict_id)
    counted = len(photos) - WARM_UP
    events = Event.objects.filter(platform=platform).count()
    outcomes = dict(Counter(Post.objects.filter(platform=platform).values_list("outcome", flat=True)))
    rulings = dict(Counter(Claim.objects.values_list("ruling", flat=True)))
    return Result(
        dict(meter.costs),
        counted,
        (database_cpu() - database) / counted,
        (_log_position() - log) / counted,
        events,
        outcomes,
        rulings,
    )


def _log_position() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])
