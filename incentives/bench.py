"""How long a ranking takes at the server, beside a bare view that does nothing but read and write the same JSON.

Both go through the whole of Django in this process, middleware included, and take turns: a machine that is busy slows
both alike. What is made for it is taken back.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from itertools import islice
from statistics import median, quantiles
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from incentives.models import Boost
from mask_social import clock
from moderation import api_keys
from moderation.models import ApiKey, Author, Platform, Policy, Post, Verdict

M = TypeVar("M", bound=Model)
ADDRESS = "/api/v1/feed/rank"
POSTS_PER_AUTHOR = 10
BOOSTED_EVERY = 2
BATCH = 5_000
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Feed:
    """A platform's key and posts to rank."""

    key: str
    post_ids: Sequence[str]
    author_ids: Sequence[str]

    def body(self, candidates: int) -> bytes:
        """Return a request for some of the posts, from all over them."""
        chance = random.Random(candidates)  # noqa: S311 - the same posts in each run, and nobody's secret
        rows = [
            {
                "post_id": self.post_ids[place],
                "base_score": round(chance.random(), 6),
                "author_id": self.author_ids[place],
            }
            for place in chance.sample(range(len(self.post_ids)), candidates)
        ]
        return json.dumps({"candidates": rows}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds of one ranking: by the clock, of them in the database, of our processor; and the bare view's."""

    ours: float
    sql: float
    cpu: float
    bare: float
    queries: int


@dataclass(frozen=True, slots=True)
class Result:
    """What the turns come to, in milliseconds; all but the extremes are medians."""

    candidates: int
    request_bytes: int
    answer_bytes: int
    queries: int
    p50: float
    p95: float
    longest: float
    sql: float
    bare: float
    # Of the processor, by both processes: a busy machine makes it a little longer, not many times. None where the
    # database is on another machine.
    cpu: float | None

    @property
    def python(self) -> float:
        """Return what is not the database's part."""
        return self.p50 - self.sql

    @property
    def ratio(self) -> float:
        """Return how many times the bare view's time ours is."""
        return self.p50 / self.bare


@contextmanager
def furnished(posts: int) -> Iterator[Feed]:
    """Make a platform with so many posts, every second one boosted, and take all of it back at the end.

    They are the newest of the table, as those of a feed are.
    """
    with transaction.atomic():
        platform = Platform.objects.create(slug=f"bench-{time.time_ns()}", name="Benchmark")
        key = api_keys.issue_key(platform, name="bench", scopes=[ApiKey.Scope.FEED_RANK]).plaintext
        yield _fill(platform, key, posts)
        transaction.set_rollback(True)


def measure(feed: Feed, candidates: int, rounds: int) -> Result:
    """Rank the same candidates again and again, by turns with the bare view."""
    body = feed.body(candidates)
    rank = _through_django(lambda: _request(body, {"Authorization": f"Bearer {feed.key}"}))
    answer = rank().content
    bare = _bare(body, json.loads(answer))
    for _ in range(WARM_UP):
        _turn(rank, bare)
    before = _database_cpu()
    turns = [_turn(rank, bare) for _ in range(rounds)]
    after = _database_cpu()
    times = [turn.ours for turn in turns]
    cpu = None if before is None or after is None else (after - before) / rounds
    return Result(
        candidates=candidates,
        request_bytes=len(body),
        answer_bytes=len(answer),
        queries=min(turn.queries for turn in turns),  # once a minute the use of the key is noted
        p50=median(times),
        p95=quantiles(times, n=20, method="inclusive")[-1],
        longest=max(times),
        sql=median(turn.sql for turn in turns),
        bare=median(turn.bare for turn in turns),
        cpu=None if cpu is None else median(turn.cpu for turn in turns) + cpu,
    )


def _fill(platform: Platform, key: str, posts: int) -> Feed:
    now = clock.now()
    policy = Policy.objects.filter(platform=None).first() or Policy.objects.create(version=1)
    numbers = range(-(-posts // POSTS_PER_AUTHOR))
    authors = _insert(Author(platform=platform, external_id=f"u-{number}") for number in numbers)
    made = _insert(
        Post(platform=platform, author=authors[n // POSTS_PER_AUTHOR], status=Post.Status.ANALYZED, completed_at=now)
        for n in range(posts)
    )
    verdicts = _insert(
        Verdict(
            post=post,
            sequence=1,
            outcome=Verdict.Outcome.MASKED,
            source=Verdict.Source.MODEL,
            policy=policy,
            photo_digests=[],
        )
        for post in made[::BOOSTED_EVERY]
    )
    lease = {"factor": 1.5, "cap": 3.0, "half_life_seconds": 6 * 3600, "ends_at": now + timedelta(hours=24)}
    _insert(Boost(verdict=verdict, post=verdict.post, starts_at=now, **lease) for verdict in verdicts)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE moderation_author, moderation_post, incentives_boost")
    return Feed(key, [post.pk for post in made], [post.author.external_id for post in made])


def _insert(rows: Iterator[M]) -> list[M]:
    made: list[M] = []
    while batch := list(islice(rows, BATCH)):
        made += type(batch[0])._default_manager.bulk_create(batch)
    return made


def _bare(body: bytes, answer: object) -> Callable[[], HttpResponse]:
    """Return a call of a view that reads this body and writes this answer, by the standard library as most would."""

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponse:
        json.loads(request.read())
        return HttpResponse(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode())

    urlconf = (path(ADDRESS[1:], view),)

    def request() -> HttpRequest:
        made = _request(body)
        made.urlconf = urlconf  # type: ignore[assignment]  # Django takes patterns as well as a module's name
        return made

    return _through_django(request)


def _request(body: bytes, headers: Mapping[str, str] | None = None) -> HttpRequest:
    host = next((host for host in settings.ALLOWED_HOSTS if host.strip("*.")), "localhost")
    factory = RequestFactory(SERVER_NAME=host.lstrip("."))
    return factory.generic("POST", ADDRESS, body, "application/json", secure=True, headers=headers)


def _through_django(request: Callable[[], HttpRequest]) -> Callable[[], HttpResponse]:
    from mask_social.wsgi import application  # it settles the process for serving

    def call() -> HttpResponse:
        response = application.get_response(request())
        if response.status_code != HTTPStatus.OK or not isinstance(response, HttpResponse):
            raise RuntimeError(
                f"The benchmark got a {response.status_code}: {getattr(response, 'content', b'')!r:.500}"
            )
        return response

    return call


def _turn(rank: Callable[[], HttpResponse], bare: Callable[[], HttpResponse]) -> Turn:
    spent: list[float] = []

    def watch(execute: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent.append(time.perf_counter() - began)

    with connection.execute_wrapper(watch):
        began = time.process_time()
        ours = _milliseconds(rank)
        cpu = (time.process_time() - began) * 1000
    return Turn(ours, sum(spent) * 1000, cpu, _milliseconds(bare), len(spent))


def _milliseconds(call: Callable[[], HttpResponse]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _database_cpu() -> float | None:
    """Return the milliseconds of processor that our connection's own server process has had."""
    info = connection.connection.info
    if not info.host.startswith("/"):  # no Unix socket: the process may be anywhere
        return None
    times = psutil.Process(info.backend_pid).cpu_times()
    return float(times.user + times.system) * 1000
