"""The digest of active boosts: a receiver who knows nothing but the events learns by it whether it knows them all."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from incentives import boosts, digest, events
from incentives.models import Boost, BoostPolicy, Event
from moderation import pagination
from moderation.models import ApiKey, Platform, Post
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.code_in_docs import module_of
from tests.incentives.builders import client_for, furnish, pointers

# The events of a transaction that still runs are not given out, and a test's own would.
pytestmark = pytest.mark.django_db(transaction=True)

converge: Any = module_of("webhooks.md", "converge.py")


@pytest.fixture
def platform() -> Platform:
    furnish()
    return make_platform()


def boost(post: Post, now: datetime | None = None) -> None:
    with transaction.atomic():
        boosts.reconcile(post, post.verdicts.latest("sequence"), now or timezone.now())


def end(post: Post) -> None:
    with transaction.atomic():
        boosts.reconcile(post, None, timezone.now())


def masked_posts(platform: Platform, count: int) -> list[Post]:
    author = make_author(platform)
    return [make_post(author, outcome="masked", photos=()) for _ in range(count)]


class View:
    """What a receiver makes of the feed, by the program on the page."""

    def __init__(self, client: APIClient) -> None:
        self.client = client
        self.boosts: dict[str, dict[str, Any]] = {}
        self.cursor: str | None = None

    def read_on(self, *, losing: str = "") -> None:
        """Follow the feed to its end; `losing` is an event that does not come."""
        while True:
            query = {"limit": "100"} | ({"after": self.cursor} if self.cursor else {})
            page = self.client.get("/api/v1/events", query).json()
            self.cursor = page["next"]
            if not page["data"]:
                return
            for event in page["data"]:
                if event["id"] != losing:
                    converge.apply(self.boosts, event)

    def digest(self, buckets: int = 16) -> dict[str, Any]:
        answer = self.client.get("/api/v1/boosts/digest", {"buckets": str(buckets)})
        assert answer.status_code == 200, answer.json()
        found: dict[str, Any] = answer.json()
        return found

    def differing(self, buckets: int = 16) -> list[str]:
        found: list[str] = converge.differing(self.boosts, self.digest(buckets))
        return found


@pytest.fixture
def view(platform: Platform) -> View:
    return View(client_for(platform))


def test_whoever_applied_all_events_has_the_same_boosts(platform: Platform, view: View) -> None:
    posts = masked_posts(platform, 40)
    for number, post in enumerate(posts):
        BoostPolicy.objects.update(factor=1 + number / 30)
        boost(post)
    for post in posts[::4]:
        end(post)
    for post in posts[::8]:
        make_verdict(post, "masked")
        boost(post)
    run_out = masked_posts(platform, 3)
    for post in run_out:
        boost(post, timezone.now() - timedelta(days=2))
    boost(masked_posts(make_platform(), 1)[0])

    view.read_on()

    assert [view.differing(buckets) for buckets in digest.DIGITS] == [[], [], []]
    found = view.digest(256)
    assert (found["count"], found["cursor"], len(found["buckets"])) == (35, view.cursor, 256)
    assert sum(bucket["count"] for bucket in found["buckets"]) == 35
    assert set(view.boosts) - {post.pk for post in run_out} == set(
        Boost.objects.filter(post__platform=platform, revoked_at=None, ends_at__gt=timezone.now()).values_list(
            "post", flat=True
        )
    )


@pytest.mark.parametrize("type_", ["boost.started", "boost.ended"])
def test_a_lost_event_shows_in_its_bucket_and_the_bucket_mends_it(platform: Platform, view: View, type_: str) -> None:
    posts = masked_posts(platform, 20)
    for post in posts:
        boost(post)
    end(posts[3])
    post = posts[3] if type_ == "boost.ended" else posts[7]
    lost = Event.objects.get(subject_id=post.pk, type=type_)

    view.read_on(losing=lost.id)

    bucket = hashlib.sha256(post.pk.encode()).hexdigest()
    assert [view.differing(buckets) for buckets in (1, 16, 256)] == [[""], [bucket[:1]], [bucket[:2]]]

    [name] = view.differing(256)
    theirs = {row["post_id"]: row for row in view.client.get("/api/v1/boosts", {"bucket": name}).json()["data"]}
    for post_id in [key for key in view.boosts if hashlib.sha256(key.encode()).hexdigest().startswith(name)]:
        del view.boosts[post_id]
    view.boosts |= theirs
    assert view.differing(256) == []


def test_a_boost_with_other_terms_shows(platform: Platform, view: View) -> None:
    [post] = masked_posts(platform, 1)
    boost(post)
    view.read_on()
    assert view.differing() == []

    view.boosts[post.pk]["factor"] += 0.001
    assert view.differing() == [hashlib.sha256(post.pk.encode()).hexdigest()[:1]]


def test_a_time_without_microseconds_and_a_whole_factor_are_written_alike(platform: Platform, view: View) -> None:
    BoostPolicy.objects.update(factor=2)
    [post] = masked_posts(platform, 1)
    boost(post, timezone.now().replace(microsecond=0))

    view.read_on()

    assert view.differing() == []
    [row] = view.client.get("/api/v1/boosts").json()["data"]
    assert row["line"].split(" ")[:3] == [post.pk, "2.000000", "21600"]
    assert row["starts_at"].endswith(".000000Z") and row["line"].endswith(row["ends_at"])


@contextmanager
def a_transaction_that_does_not_end() -> Iterator[None]:
    """Hold a transaction with a number open, as a slow upload may, in a connection of its own."""
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()")
                begun.set()
                done.wait(timeout=30)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert begun.wait(timeout=30)
        yield
    finally:
        done.set()
        thread.join()


def test_the_digest_is_that_of_the_events_given_out_and_of_no_later_one(platform: Platform, view: View) -> None:
    stays, ends, swaps, starts, flickers = masked_posts(platform, 5)
    for post in (stays, ends, swaps):
        boost(post)
    before = view.digest()
    assert before["count"] == 3

    with a_transaction_that_does_not_end():
        end(ends)
        end(swaps)
        make_verdict(swaps, "masked")
        boost(swaps)
        boost(starts)
        boost(flickers)
        end(flickers)
        live = Boost.objects.filter(revoked_at=None).count()
        during = view.digest()
        view.read_on()
        assert (during["cursor"], during["buckets"]) == (before["cursor"], before["buckets"])
        assert view.differing() == []
        assert (set(view.boosts), live) == ({stays.pk, ends.pk, swaps.pk}, 3)
        assert Boost.objects.filter(post=starts, revoked_at=None).exists(), "the control: the rows know better"

    view.read_on()
    assert set(view.boosts) == {stays.pk, swaps.pk, starts.pk}
    assert view.differing() == []


def test_while_boosts_come_and_go_no_digest_ever_differs(platform: Platform, view: View) -> None:
    posts = masked_posts(platform, 12)
    stop = threading.Event()

    def work(lane: int) -> None:
        chance = random.Random(lane)
        mine = posts[lane::3]
        try:
            while not stop.is_set():
                post = chance.choice(mine)
                if Boost.objects.filter(post=post, revoked_at=None).exists():
                    end(post)
                else:
                    make_verdict(post, "masked")
                    boost(post)
                time.sleep(0.005)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(3)]
    for thread in threads:
        thread.start()
    told: dict[str, dict[str, Any]] = {}
    cursor: tuple[int, int] | None = None
    try:
        for _ in range(40):
            found = view.digest(256)
            # Up to the digest's cursor and no further.
            until = pagination.decode(found["cursor"], (int, int)) if found["cursor"] else None
            while cursor != until:
                for event in events.after(platform, cursor, 100):
                    if cursor == until:
                        break
                    converge.apply(told, events.representation(event))
                    cursor = (event.transaction_id, event.position)
            assert converge.differing(told, found) == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert Event.objects.filter(type="boost.ended").count() > 10


def test_a_platform_without_boosts_has_an_empty_digest(view: View) -> None:
    found = view.digest(1)
    assert found["buckets"] == [{"name": "", "count": 0, "digest": hashlib.sha256(b"").hexdigest()}]
    assert (found["count"], found["cursor"]) == (0, None)
    assert datetime.fromisoformat(found["as_of"]).tzinfo == UTC
    assert view.differing() == []


def test_the_boosts_of_a_bucket_page_by_cursor(platform: Platform, view: View) -> None:
    posts = masked_posts(platform, 7)
    for post in posts:
        boost(post)

    seen, after = [], ""
    while True:
        page = view.client.get("/api/v1/boosts", {"limit": "3"} | ({"after": after} if after else {})).json()
        seen += [row["post_id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = page["next"]

    assert seen == sorted(post.pk for post in posts)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "query", "problem"),
    [
        ("boosts/digest", {"buckets": "17"}, ("/buckets", "invalid_buckets")),
        ("boosts/digest", {"buckets": "-1"}, ("/buckets", "invalid_buckets")),
        ("boosts", {"bucket": "abc"}, ("/bucket", "invalid_bucket")),
        ("boosts", {"bucket": "A"}, ("/bucket", "invalid_bucket")),
        ("boosts", {"bucket": "g"}, ("/bucket", "invalid_bucket")),
        ("boosts", {"after": "!"}, ("/after", "invalid_cursor")),
        ("boosts", {"limit": "0"}, ("/limit", "invalid_limit")),
    ],
)
def test_what_cannot_be_asked_is_refused(
    view: View, path: str, query: dict[str, str], problem: tuple[str, str]
) -> None:
    assert pointers(view.client.get(f"/api/v1/{path}", query)) == [problem]


@pytest.mark.django_db
def test_it_takes_the_scope_of_events(platform: Platform) -> None:
    others = client_for(platform, [scope for scope in ApiKey.Scope if scope != ApiKey.Scope.EVENTS_READ])
    assert [others.get(f"/api/v1/{path}").status_code for path in ("boosts", "boosts/digest")] == [403, 403]
