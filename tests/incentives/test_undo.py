"""After any sequence of verdicts, authors hold what the last verdicts alone would have given, and the books say why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incentives import boosts, donations, rewards
from incentives.models import (
    BadgeAward,
    BadgeRule,
    Boost,
    Campaign,
    CountedPost,
    Event,
    LedgerEntry,
    Match,
    PendingChange,
    RewardApplication,
)
from moderation import posts
from moderation.models import Author, Post, Verdict
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.incentives.builders import make_campaign

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

MASKED, UNMASKED = Verdict.Outcome.MASKED, Verdict.Outcome.UNMASKED
AUTHORS, POSTS = 2, 5
WITHDRAW, SETTLE, SWEEP = "withdraw", "settle", "sweep"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to a post: a verdict of a person, a withdrawal; or to all: settling, sweeping."""

    what: str
    post: int
    # Whether its message reaches a worker at once; else the sweep has to find it.
    is_heard: bool


steps = st.lists(
    st.builds(
        Step,
        what=st.sampled_from([MASKED, MASKED, UNMASKED, Verdict.Outcome.UNCERTAIN, WITHDRAW, SETTLE, SWEEP]),
        post=st.integers(0, POSTS - 1),
        is_heard=st.booleans(),
    ),
    max_size=10,
)
histories = st.tuples(st.lists(st.sampled_from([MASKED, UNMASKED]), min_size=POSTS, max_size=POSTS), steps)


@given(histories)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_an_author_holds_is_what_the_last_verdicts_alone_would_have_given(
    history: tuple[list[str], list[Step]],
) -> None:
    with transaction.atomic():
        check(*history)
        transaction.set_rollback(True)


def test_control_a_boost_that_is_not_taken_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = boosts.reconcile

    def forgetful(post: Post, earned_by: Verdict | None, now: datetime, **rest: Any) -> None:
        if earned_by is not None:
            real(post, earned_by, now, **rest)

    monkeypatch.setattr(boosts, "reconcile", forgetful)
    with pytest.raises(AssertionError):
        check([MASKED] * POSTS, [Step(UNMASKED, 0, True)])


def check(first: Sequence[str], happened: Sequence[Step]) -> None:
    BadgeRule.objects.update_or_create(
        code="three-masks", defaults={"title": "Three", "kind": "masked_posts", "threshold": 3, "is_active": True}
    )
    began = timezone.now() - timedelta(days=3)
    campaign = make_campaign(hold_seconds=0)
    lived = world(first, began)
    for step in happened:
        go(step, lived)
    rewards.sweep(timezone.now() + rewards.LOST_AFTER)

    # The other world: the same people and posts, and from the start only what was said last.
    last = [post.verdicts.order_by("-sequence")[0].outcome for post in lived]
    other = world(last, began)
    for post, twin in zip(lived, other, strict=True):
        if Post.objects.get(pk=post.pk).status == Post.Status.WITHDRAWN:
            posts.withdraw(twin)
    rewards.sweep(timezone.now() + rewards.LOST_AFTER)

    assert not PendingChange.objects.exists()
    assert held(lived) == held(other)
    # Money that was settled stays where it went when its post is withdrawn; all other money is where the verdicts say.
    kept = {
        number
        for number, post in enumerate(lived)
        if Match.objects.filter(post=post, status=Match.Status.SETTLED, post__status=Post.Status.WITHDRAWN).exists()
    }
    assert matched(lived) - kept == matched(other)
    explain(campaign, lived)


def world(outcomes: Sequence[str], began: datetime) -> list[Post]:
    platform = make_platform()
    authors = [make_author(platform) for _ in range(AUTHORS)]
    made = []
    for number, outcome in enumerate(outcomes):
        post = make_post(
            authors[number % AUTHORS], outcome=outcome, photos=(), created_at=began + timedelta(hours=20 * number)
        )
        reach(post.verdicts.get(), is_heard=True)
        made.append(post)
    return made


def reach(verdict: Verdict, *, is_heard: bool) -> None:
    rewards.expect_verdict(verdict.post_id, verdict.pk)
    if is_heard:
        rewards.apply_verdict(verdict.pk)


def go(step: Step, lived: Sequence[Post]) -> None:
    post = lived[step.post]
    post.refresh_from_db()
    match step.what:
        case "settle":
            donations.settle_due(timezone.now())
        case "sweep":
            rewards.sweep(timezone.now() + rewards.LOST_AFTER)
        case "withdraw":
            if posts.withdraw(post) and step.is_heard:
                rewards.take_back(post.pk)
        case outcome if post.status != Post.Status.WITHDRAWN:
            reach(make_verdict(post, outcome, source=Verdict.Source.REVIEWER), is_heard=step.is_heard)


def held(of: Sequence[Post]) -> tuple[Any, ...]:
    """Return what the authors hold, in terms that two worlds can be compared by."""
    place = {post.pk: number for number, post in enumerate(of)}
    authors = sorted({post.author_id for post in of})
    return (
        {place[row.post_id] for row in CountedPost.objects.filter(post__in=of)},
        {place[row.post_id] for row in Boost.objects.filter(post__in=of, revoked_at=None)},
        {
            (authors.index(row.author_id), row.rule_id, row.evidence["measured"] >= row.evidence["threshold"])
            for row in BadgeAward.objects.filter(author__in=authors, status=BadgeAward.Status.ACTIVE)
        },
    )


def matched(of: Sequence[Post]) -> set[int]:
    place = {post.pk: number for number, post in enumerate(of)}
    return {place[row.post_id or ""] for row in Match.objects.filter(post__in=of, status__in=donations.STANDING)}


def explain(campaign: Campaign, lived: Sequence[Post]) -> None:
    """Check that the books are true, and that each booking leads to a verdict or withdrawal that was told."""
    audit = donations.audit(campaign)
    assert audit.problems == ()
    standing = Match.objects.filter(campaign=campaign, status__in=donations.STANDING).count()
    assert audit.committed_minor == standing * campaign.amount_minor
    booked = LedgerEntry.objects.filter(match__post__in=lived).exclude(cause=LedgerEntry.Cause.WINDOW_OVER)
    for causation_id, post_id in booked.values_list("causation_id", "match__post"):
        assert Event.objects.filter(causation_id=causation_id, subject_id=post_id).exists()
    verdicts = Verdict.objects.filter(post__in=lived)
    assert RewardApplication.objects.filter(verdict__in=verdicts).count() == verdicts.count()
    authors = Author.objects.filter(posts__in=lived).distinct()
    for award in BadgeAward.objects.filter(author__in=authors):
        assert award.changes.order_by("-pk")[0].status == award.status
