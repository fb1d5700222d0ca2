"""Posts are refused while too many photos wait, or one for too long, and taken again when they do not."""

import time
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from mask_social import clock
from moderation import analysis, overload
from moderation.models import Analysis, Platform, Post
from tests import cast
from tests.incentives.builders import at_once
from tests.moderation.calls import Caller, photo, problem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(settings: Settings) -> Iterator[None]:
    """Count anew at each call, and nothing of another test."""
    overload.gauge.forget()
    yield
    overload.gauge.forget()


def waiting(count: int, seconds: float = 0) -> list[Post]:
    """Make posts of one photo each that have waited for so long."""
    posts = [cast.make_post(cast.make_author()) for _ in range(count)]
    Analysis.objects.filter(photo__post__in=posts).update(queued_at=clock.now() - timedelta(seconds=seconds))
    return posts


def send_anew(caller: Caller, **fields: Any) -> Any:
    """Send a post a second later, as far as the gauge knows."""
    overload.gauge._latest = None
    return caller.send(photo(), **fields)


def finish(posts: list[Post]) -> None:
    """Have the real code take and give up photos, which ends their waiting."""
    terms = analysis.Terms(timedelta(seconds=60), 3)
    for post in posts:
        held = analysis.claim(post.photos.get().pk, terms)
        assert held is not None
        analysis.fail(held, analysis.Failure("truncated_image", "It is cut short."))


def test_posts_are_refused_when_the_first_photo_has_waited_too_long_and_taken_when_it_is_looked_at(
    caller: Caller, settings: Settings
) -> None:
    settings.MAX_QUEUE_AGE = timedelta(seconds=60)
    young, old = waiting(3, seconds=58), waiting(2, seconds=61)
    before = Post.objects.count()

    refused = send_anew(caller)

    assert problem(refused) == (503, "overloaded", [])
    assert 1 <= int(refused["Retry-After"]) <= 300
    assert refused.json()["type"].endswith("#temporary-reduced-capacity")
    assert "RateLimit" in refused
    assert Post.objects.count() == before
    finish(old[:1])
    assert send_anew(caller).status_code == 503
    finish(old[1:])
    assert send_anew(caller).status_code == 202
    assert {post.status for post in Post.objects.filter(pk__in=[post.pk for post in young])} == {"pending"}


def test_posts_are_refused_when_too_many_photos_wait_and_taken_when_the_queue_has_drained(
    caller: Caller, settings: Settings
) -> None:
    settings.MAX_QUEUED = 4
    settings.RATE_AUTHOR = 1000
    posts = waiting(3)
    assert send_anew(caller).status_code == 202
    assert problem(send_anew(caller)) == (503, "overloaded", [])

    finish(posts[:1])

    assert send_anew(caller).status_code == 202
    assert send_anew(caller).status_code == 503


def test_photos_that_are_being_looked_at_do_not_wait(caller: Caller, settings: Settings) -> None:
    settings.MAX_QUEUED = 1
    [post] = waiting(1, seconds=10_000)
    assert send_anew(caller).status_code == 503
    assert analysis.claim(post.photos.get().pk, analysis.Terms(timedelta(seconds=60), 3))
    assert send_anew(caller).status_code == 202


def test_everything_else_goes_on(caller: Caller, platform: Platform, settings: Settings) -> None:
    settings.MAX_QUEUED = 1
    post = cast.make_post(cast.make_author(platform), outcome="masked")
    waiting(2)
    assert send_anew(caller).status_code == 503
    assert caller.get(f"posts/{post.pk}").status_code == 200
    assert caller.get("events").status_code == 200
    assert caller.delete(f"posts/{post.pk}").status_code == 204


def test_a_refusal_reads_no_body_counts_no_post_and_keeps_no_key(caller: Caller, settings: Settings) -> None:
    settings.MAX_QUEUED = 1
    settings.RATE_AUTHOR = 1
    waiting(1)

    class Untouched(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("The body was read.")

    overload.gauge.forget()
    unread: Any = {"wsgi.input": Untouched(), "CONTENT_LENGTH": "5000"}
    answer = caller.client.generic(
        "POST",
        "/api/v1/posts",
        headers={"Authorization": f"Bearer {caller.key}", "Idempotency-Key": "k"},
        content_type="multipart/form-data; boundary=x",
        **unread,
    )
    assert answer.status_code == 503
    Analysis.objects.update(queued_at=clock.now(), status="failed", failure_code="x", finished_at=clock.now())
    assert send_anew(caller, idempotency_key="k").status_code == 202


def test_the_time_to_wait_follows_the_speed_at_which_the_queue_shrinks(settings: Settings) -> None:
    gauge = overload.Gauge()
    began = overload.Backlog(waiting=1000, oldest_seconds=0, excess=500, at=100)
    gauge._first_refusal = began
    assert gauge.seconds_to_wait(began) == 10
    for waiting_now, at, seconds in ((900, 110.0, 40), (600, 110.0, 3), (501, 110.0, 1), (1000, 120.0, 300)):
        now = overload.Backlog(waiting=waiting_now, oldest_seconds=0, excess=waiting_now - 500, at=at)
        assert gauge.seconds_to_wait(now) == seconds


def test_the_queue_is_counted_once_a_second_whoever_asks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    real = overload.measure

    def slowly() -> overload.Backlog:
        counted.append(1)
        time.sleep(0.2)
        return real()

    monkeypatch.setattr(overload, "measure", slowly)
    gauge = overload.Gauge()
    gauge.read()
    gauge._latest = overload.Backlog(0, 0, 0, at=time.monotonic() - 5)
    began = time.monotonic()
    found = at_once(lambda _: gauge.read(), range(8), threads=8)
    assert len(counted) == 2
    assert len(found) == 8
    assert time.monotonic() - began < 3


def test_counting_stays_in_the_index_of_what_waits(settings: Settings) -> None:
    settings.MAX_QUEUED = 10
    waiting(30)
    with CaptureQueriesContext(connection) as queries:
        overload.measure()
    assert len(queries) == 3
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in queries.captured_queries:
            cursor.execute("EXPLAIN " + query["sql"])
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "analysis_waiting" in plan, plan
