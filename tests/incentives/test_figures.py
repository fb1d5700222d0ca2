"""The daily figures equal what counting every row gives, whatever happened meanwhile."""

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from incentives import figures, rewards
from incentives.models import DailyFigures, FiguresMark, PendingChange
from moderation import analysis, posts, reviews
from moderation.models import Author, Post, Verdict
from moderation.tasks import analysis_terms
from tests import cast
from tests.incentives import builders
from tests.incentives.figures_by_hand import counted_by_hand, kept


def new_post(author: Author, outcome: str | None, *, days_ago: int = 0, region: str = "DE") -> Post:
    post = cast.make_post(author, outcome=outcome, created_at=timezone.now() - timedelta(days=days_ago))
    Post.objects.filter(pk=post.pk).update(region=region)
    if outcome:
        with transaction.atomic():
            rewards.expect_verdict(post.pk, post.verdicts.get().pk)
    return Post.objects.get(pk=post.pk)


def apply_all() -> None:
    for change in PendingChange.objects.order_by("pk"):
        rewards.take_back(change.post_id) if change.verdict_id is None else rewards.apply_verdict(change.verdict_id)


def one_thing(draw: random.Random, authors: list[Author], staff: User) -> None:
    """Let one of the things happen that change figures."""
    standing = list(Post.objects.filter(status=Post.Status.ANALYZED).order_by("pk"))
    match draw.choice(("post", "post", "overrule", "withdraw", "appeal", "fail", "apply")):
        case "overrule" if standing:
            post = draw.choice(standing)
            outcome = draw.choice([name for name in ("masked", "unmasked", "no_face") if name != post.outcome])
            if reviews.obstacle(post) is None:
                reviews.overrule(post, outcome, staff, "Looked at again.")
        case "withdraw" if standing:
            posts.withdraw(draw.choice(standing))
        case "appeal" if standing:
            post = draw.choice(standing)
            if not post.appeals.exists() and reviews.obstacle(post) is None:
                reviews.open_appeal(post, "It is on.")
        case "fail":
            new_post(draw.choice(authors), None, days_ago=draw.randrange(3))
            for waiting in Post.objects.filter(status=Post.Status.PENDING):
                held = analysis.claim(waiting.photos.get().pk, analysis_terms())
                assert held is not None
                analysis.fail(held, analysis.Failure("worker_lost", "It brought down its worker."))
        case "apply":
            apply_all()
        case _:
            first = draw.choice((None, "masked", "masked", "masked", "unmasked", "uncertain"))
            new_post(draw.choice(authors), first, days_ago=draw.randrange(4), region=draw.choice(("DE", "FR", "")))


@pytest.mark.django_db
@pytest.mark.parametrize("story", range(4))
def test_the_figures_equal_a_count_by_hand_after_whatever_happened(story: int, seeded: None) -> None:
    draw, staff = random.Random(story), User.objects.create_user("reviewer")
    platforms = [cast.make_platform(), cast.make_platform()]
    authors = [cast.make_author(draw.choice(platforms)) for _ in range(5)]
    builders.make_campaign(budget_minor=500)
    for step in range(30):
        one_thing(draw, authors, staff)
        if step % 5 == 4:
            figures.roll_up(timezone.now())
            assert kept() == counted_by_hand(), step

    new_post(authors[0], "masked")
    apply_all()
    figures.roll_up(timezone.now())
    told = kept()

    assert told == counted_by_hand()
    for name in ("counted", "badges", "boosts", "matches"):
        assert sum(numbers[name] for numbers in told.values()) > 0
    figures.rebuild(timezone.now())
    assert kept() == told


@pytest.mark.django_db
def test_only_the_days_on_which_something_happened_are_counted_again(seeded: None) -> None:
    author = cast.make_author()
    old, later = new_post(author, "masked", days_ago=3), new_post(author, "unmasked", days_ago=1)
    apply_all()
    assert figures.roll_up(timezone.now() + timedelta(hours=1)) == 2  # there is no mark yet: all of them

    assert figures.roll_up(timezone.now() + timedelta(hours=2)) == 0

    Verdict.objects.create(
        post=old,
        sequence=2,
        outcome="unmasked",
        source="reevaluation",
        policy=cast.make_policy(),
        photo_digests=[],
        created_at=timezone.now() + timedelta(hours=2),
    )
    before = DailyFigures.objects.get(day=later.created_at.date()).updated_at
    assert figures.roll_up(timezone.now() + timedelta(hours=3)) == 1
    assert DailyFigures.objects.get(day=later.created_at.date()).updated_at == before


@pytest.mark.django_db
def test_the_mark_waits_for_rewards_that_are_still_to_come(seeded: None) -> None:
    post = new_post(cast.make_author(), "masked", days_ago=2)
    [change] = PendingChange.objects.all()

    figures.roll_up(timezone.now() + timedelta(days=1))

    assert FiguresMark.objects.get().seen_until == change.created_at
    apply_all()
    figures.roll_up(timezone.now() + timedelta(days=2))
    assert DailyFigures.objects.get(day=post.created_at.date()).counted == 1


@pytest.mark.django_db
def test_a_post_that_fails_late_is_counted_as_failed(seeded: None) -> None:
    post = new_post(cast.make_author(), None, days_ago=2)
    figures.roll_up(timezone.now())
    FiguresMark.objects.update(seen_until=timezone.now() + timedelta(days=1))

    Post.objects.filter(pk=post.pk).update(status=Post.Status.FAILED, completed_at=timezone.now())
    figures.roll_up(timezone.now() + timedelta(days=1))

    assert kept() == counted_by_hand()


@pytest.mark.django_db
def test_rows_that_show_late_are_found_within_the_overlap(seeded: None) -> None:
    """A transaction that was open while the figures were brought up to now is counted by the next round."""
    author = cast.make_author()
    new_post(author, "masked", days_ago=5)
    apply_all()
    now = timezone.now()
    figures.roll_up(now + figures.OVERLAP / 2)

    new_post(author, "unmasked", days_ago=0)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM incentives_pendingchange")
    figures.roll_up(now + figures.OVERLAP)

    assert kept() == counted_by_hand()


@pytest.mark.django_db
def test_the_nightly_rebuild_forgets_what_an_erased_author_left(seeded: None) -> None:
    post = new_post(cast.make_author(), "masked", days_ago=2)
    figures.roll_up(timezone.now())
    Post.objects.filter(pk=post.pk).delete()

    figures.rebuild(timezone.now())

    assert kept() == {}


@pytest.mark.django_db
def test_a_day_begins_at_midnight_utc(seeded: None) -> None:
    author = cast.make_author()
    for hour, day in ((23, 1), (0, 2)):
        cast.make_post(author, outcome="masked", created_at=datetime(2026, 3, day, hour, 59, 59, 999_000, tzinfo=UTC))
    figures.rebuild(timezone.now())

    assert {row.day.day: row.posts for row in DailyFigures.objects.all()} == {1: 1, 2: 1}


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_count_once(seeded: None) -> None:
    author = cast.make_author()
    for days_ago in range(6):
        new_post(author, "masked", days_ago=days_ago)
    apply_all()

    builders.at_once(lambda _: figures.roll_up(timezone.now()), range(8), threads=8)

    assert kept() == counted_by_hand()


@pytest.mark.django_db(transaction=True)
def test_a_second_worker_leaves_the_work_to_the_first(seeded: None) -> None:
    new_post(cast.make_author(), "masked")

    def work(first: bool) -> int:
        with transaction.atomic():
            if first:
                figures.rebuild(timezone.now())
                ready.set()
                done.wait(20)
                return -1
            ready.wait(20)
            try:
                return figures.roll_up(timezone.now())
            finally:
                done.set()

    ready, done = threading.Event(), threading.Event()
    assert sorted(builders.at_once(work, [True, False], threads=2)) == [-1, 0]
    assert figures.roll_up(timezone.now()) == 1
