"""A masked post counts once: no repeats, no haste, no account made for the purpose; and staff are told."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from incentives import donations, farming, rewards, selectors
from incentives.models import (
    BadgeAward,
    Boost,
    Claim,
    CountedPost,
    EarningRules,
    Event,
    Fingerprint,
    Flag,
    Match,
    RewardApplication,
)
from moderation import posts
from moderation import selectors as posts_selectors
from moderation.models import Author, Face, Post, Verdict
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.incentives.builders import at_once, make_campaign, types_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

MASK, NOBODY = ({"mask": 1.0},), ()


def rules(**values: Any) -> None:
    EarningRules.objects.update_or_create(platform=None, defaults=values)


def pdq(seed: int, turned: int = 0) -> bytes:
    """Return the fingerprint of a picture, `turned` bits away from the picture's own."""
    bits = bytearray(random.Random(seed).randbytes(32))
    for place in random.Random(seed + 1).sample(range(256), turned):
        bits[place // 8] ^= 1 << place % 8
    return bytes(bits)


def photographed(
    author: Author | None, *prints: bytes | None, quality: int = 90, faces: Sequence[Any] | None = None, **fields: Any
) -> Post:
    """Make a masked post whose photos have these fingerprints."""
    post = make_post(author, outcome="masked", photos=faces or [MASK for _ in prints], **fields)
    for photo, print_ in zip(post.photos.order_by("position"), prints, strict=True):
        photo.pdq, photo.pdq_quality = print_, None if print_ is None else quality
        photo.save(update_fields=["pdq", "pdq_quality"])
    return post


def applied(post: Post) -> Post:
    assert rewards.apply_verdict(post.verdicts.order_by("-sequence")[0].pk)
    return post


def ruling(post: Post) -> str:
    return Claim.objects.get(post=post).ruling


@pytest.mark.parametrize("turned", [0, 31])
def test_a_near_duplicate_earns_nothing_whoever_posts_it_and_the_author_is_told_why(turned: int) -> None:
    make_campaign()
    platform = make_platform()
    first = applied(photographed(make_author(platform), pdq(1)))
    again = applied(photographed(make_author(platform), pdq(1, turned)))

    claim = Claim.objects.get(post=again)
    assert (claim.ruling, claim.distance) == ("near_duplicate", turned)
    assert (claim.photo, claim.earlier) == (again.photos.get(), first.photos.get())
    assert not BadgeAward.objects.filter(author=again.author).exists()
    assert not Boost.objects.filter(post=again).exists() and not Match.objects.filter(post=again).exists()
    assert types_of(again)[-2:] == ["post.analyzed", "donation.declined"]
    declined = Event.objects.get(type="donation.declined")
    assert (declined.data["reason"], declined.subject_id) == ("near_duplicate", again.pk)
    found = selectors.rewards_of(posts_selectors.posts_in_full().get(pk=again.pk))
    assert found is not None
    assert (found.counts, found.donation.reason, found.match) == (False, "near_duplicate", None)
    assert "posted before" in found.donation.text


def test_thirty_two_bits_apart_is_another_photo() -> None:
    platform = make_platform()
    applied(photographed(make_author(platform), pdq(1)))
    assert ruling(applied(photographed(make_author(platform), pdq(1, 32)))) == "counts"


def test_a_photo_with_too_little_in_it_is_not_judged() -> None:
    author = make_author()
    for quality, expected in ((49, ["counts", "counts"]), (50, ["counts", "near_duplicate"])):
        Claim.objects.all().delete()
        Fingerprint.objects.all().delete()
        made = [applied(photographed(author, pdq(quality), quality=quality)) for _ in range(2)]
        assert [ruling(post) for post in made] == expected


def test_another_platform_is_another_world() -> None:
    applied(photographed(None, pdq(1)))
    assert ruling(applied(photographed(None, pdq(1)))) == "counts"


def test_one_new_face_makes_it_a_new_post_and_a_new_landscape_does_not() -> None:
    author = make_author()
    applied(photographed(author, pdq(1)))

    assert ruling(applied(photographed(author, pdq(1), pdq(2), faces=[MASK, MASK]))) == "counts"
    assert ruling(applied(photographed(author, pdq(1), pdq(3), faces=[MASK, NOBODY]))) == "near_duplicate"


def test_something_that_hardly_looks_like_a_face_makes_no_new_post() -> None:
    author = make_author()
    applied(photographed(author, pdq(1)))
    again = photographed(author, pdq(1), pdq(2), faces=[MASK, MASK])
    Face.objects.filter(analysis__photo__post=again, analysis__photo__position=1).update(score=0.5)

    assert ruling(applied(again)) == "near_duplicate"


def test_a_photo_on_which_only_people_saw_a_face_counts_once() -> None:
    author = make_author()
    made = [applied(photographed(author, pdq(1), faces=[NOBODY])) for _ in range(2)]

    assert [ruling(post) for post in made] == ["counts", "near_duplicate"]


def test_a_photo_whose_post_was_withdrawn_may_be_posted_again() -> None:
    author = make_author()
    first = applied(photographed(author, pdq(1)))
    posts.withdraw(first)
    rewards.take_back(first.pk)

    assert ruling(applied(photographed(author, pdq(1)))) == "counts"


def test_a_photo_whose_money_was_settled_may_not() -> None:
    make_campaign(hold_seconds=0)
    author = make_author()
    first = applied(photographed(author, pdq(1)))
    assert donations.settle_due(timezone.now()) == 1
    posts.withdraw(first)
    rewards.take_back(first.pk)

    assert ruling(applied(photographed(author, pdq(1)))) == "near_duplicate"


@pytest.mark.parametrize("is_withdrawal_first", [True, False])
def test_a_photo_whose_settled_money_was_refunded_may_whatever_comes_first(is_withdrawal_first: bool) -> None:
    make_campaign(hold_seconds=0)
    author = make_author()
    first = applied(photographed(author, pdq(1)))
    assert donations.settle_due(timezone.now()) == 1
    verdict = make_verdict(first, "unmasked", source=Verdict.Source.REVIEWER)
    posts.withdraw(first)
    taken_back = is_withdrawal_first and rewards.take_back(first.pk)
    assert rewards.apply_verdict(verdict.pk)
    assert taken_back or rewards.take_back(first.pk)

    assert Match.objects.get().status == "refunded"
    assert ruling(applied(photographed(author, pdq(1)))) == "counts"


def test_duplicates_are_let_through_where_the_rules_say_so() -> None:
    rules(judges_duplicates=False)
    author = make_author()
    assert [ruling(applied(photographed(author, pdq(1)))) for _ in range(2)] == ["counts", "counts"]


def test_a_platforms_own_rules_go_before_everybodys() -> None:
    author = make_author()
    EarningRules.objects.create(platform=author.platform, judges_duplicates=False)
    assert [ruling(applied(photographed(author, pdq(1)))) for _ in range(2)] == ["counts", "counts"]


@pytest.mark.django_db(transaction=True)
def test_control_looking_without_taking_turns_lets_the_same_photo_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rules(posts_per_day=None)
    monkeypatch.setattr(farming, "_lock", lambda platform_id: None)
    assert max(counted_at_once() for _ in range(5)) > 1


@pytest.mark.django_db(transaction=True)
def test_the_same_photo_posted_by_sixteen_people_at_once_counts_once() -> None:
    assert [counted_at_once() for _ in range(3)] == [1, 1, 1]


def counted_at_once() -> int:
    platform = make_platform()
    made = [photographed(make_author(platform), pdq(1)) for _ in range(16)]
    at_once(rewards.apply_verdict, [post.verdicts.get().pk for post in made])
    return CountedPost.objects.filter(post__platform=platform).count()


def test_a_second_post_within_the_cooldown_earns_nothing_and_one_after_it_does() -> None:
    rules(cooldown_seconds=60)
    author, now = make_author(), timezone.now()
    rulings = [
        ruling(applied(make_post(author, outcome="masked", created_at=now + timedelta(seconds=late))))
        for late in (0, 59, 60)
    ]
    assert rulings == ["counts", "cooldown", "counts"]


def test_the_days_limit_counts_days_of_the_author() -> None:
    rules(posts_per_day=2)
    author = make_author()
    Author.objects.filter(pk=author.pk).update(time_zone="Pacific/Auckland")
    author.refresh_from_db()
    # Auckland is twelve hours ahead in July.
    midnight = datetime.fromisoformat("2026-07-01T12:00:00+00:00")
    times = [midnight + timedelta(minutes=minutes) for minutes in (-3, -2, -1, 0, 1, 2)]
    rulings = [ruling(applied(make_post(author, outcome="masked", created_at=when))) for when in times]
    assert rulings == ["counts", "counts", "daily_limit"] * 2


@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(days=7), "counts"), (timedelta(days=6, hours=23), "account_too_young"), (None, "counts")],
)
def test_a_young_account_earns_nothing_and_one_of_unknown_age_does(age: timedelta | None, expected: str) -> None:
    rules(min_account_age_days=7)
    author, now = make_author(), timezone.now()
    Author.objects.filter(pk=author.pk).update(registered_at=None if age is None else now - age)
    author.refresh_from_db()
    assert ruling(applied(make_post(author, outcome="masked", created_at=now))) == expected


def test_a_later_verdict_does_not_ask_again() -> None:
    rules(cooldown_seconds=60)
    author = make_author()
    first, second = (applied(make_post(author, outcome="masked")) for _ in range(2))
    for outcome in ("unmasked", "masked"):
        make_verdict(first, outcome, source=Verdict.Source.REVIEWER)
        applied(first)
    assert [ruling(first), ruling(second)] == ["counts", "cooldown"]
    assert [row.post for row in CountedPost.objects.all()] == [first]


def test_nobody_is_judged_who_is_not_masked() -> None:
    applied(make_post(outcome="unmasked"))
    assert not Claim.objects.exists()
    assert RewardApplication.objects.get().donation_reason == "not_masked"


def test_a_pace_that_nobody_keeps_is_flagged_once_a_day_with_its_count() -> None:
    rules(velocity_posts=3, velocity_seconds=60)
    author, now = make_author(), timezone.now()
    for number in range(5):
        applied(make_post(author, outcome="masked", created_at=now + timedelta(seconds=number)))
    flag = Flag.objects.get()
    assert (flag.author, flag.kind, flag.count, flag.status) == (author, "velocity", 5, "open")


def test_a_pace_that_people_keep_is_not() -> None:
    rules(velocity_posts=3, velocity_seconds=60)
    author, now = make_author(), timezone.now()
    for number in range(5):
        applied(make_post(author, outcome="masked", created_at=now + timedelta(seconds=31 * number)))
    assert not Flag.objects.exists()


def test_who_posts_the_same_again_and_again_is_flagged() -> None:
    author = make_author()
    for _ in range(3):
        applied(photographed(author, pdq(1)))
    assert not Flag.objects.exists(), "two of three are repeats"
    applied(photographed(author, pdq(1)))
    assert [(flag.kind, flag.count) for flag in Flag.objects.all()] == [("duplicates", 3)]


def test_what_staff_decided_stays_decided_while_the_count_goes_on() -> None:
    rules(velocity_posts=2, velocity_seconds=60)
    author, now = make_author(), timezone.now()
    for number in range(2):
        applied(make_post(author, outcome="masked", created_at=now + timedelta(seconds=number)))
    Flag.objects.update(status="dismissed", decided_at=now)
    applied(make_post(author, outcome="masked", created_at=now + timedelta(seconds=3)))
    assert [(flag.status, flag.count) for flag in Flag.objects.all()] == [("dismissed", 3)]


def test_a_claim_and_its_rewards_are_two_transactions_and_a_crash_between_them_changes_nothing() -> None:
    post = make_post(outcome="masked")
    with transaction.atomic():
        farming.judge(post.author, post, timezone.now())
    assert not CountedPost.objects.exists()

    applied(post)

    assert (Claim.objects.count(), CountedPost.objects.count()) == (1, 1)
