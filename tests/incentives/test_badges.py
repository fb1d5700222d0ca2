"""Badges are what an author's counted posts add up to: given, taken back, run out, earned again."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from incentives import badges, causes
from incentives.badges import Evidence, awards, measure
from incentives.models import BadgeAward, BadgeChange, BadgeRule, CountedPost, Event
from moderation.models import Author, Post
from tests.cast import make_author, make_post, make_verdict
from tests.incentives.builders import at_once
from tests.incentives.counted import count, discount, held, make_counted, reconcile

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_other_rules(db: None) -> None:
    BadgeRule.objects.update(is_active=False)


def make_rule(code: str = "two", threshold: int = 2, **fields: Any) -> BadgeRule:
    fields = {"title": code.title(), "kind": "masked_posts", "threshold": threshold} | fields
    return BadgeRule.objects.create(code=code, **fields)


def story(author: Author) -> list[tuple[str, int]]:
    events = Event.objects.filter(platform=author.platform, subject_id=author.external_id).order_by("position")
    return [(event.type, event.sequence) for event in events]


def test_the_post_that_reaches_the_threshold_earns_the_badge_and_says_so() -> None:
    make_rule(level=2)
    author = make_author()
    first = count(author, NOON)
    assert held(author) == []

    last = count(author, NOON + timedelta(hours=1))

    assert held(author) == ["two"]
    award = BadgeAward.objects.get(author=author)
    verdict = last.verdicts.get()
    assert (award.verdict, award.by_staff, award.expires_at) == (verdict, False, None)
    assert (award.evidence["measured"], award.evidence["post_ids"]) == (2, [first.pk, last.pk])
    [change] = award.changes.all()
    assert (change.status, change.actor, change.reason, change.causation_id) == (
        *("active", None, "model: masked"),
        verdict.pk,
    )
    event = Event.objects.get(platform=author.platform)
    assert (event.type, event.causation_id) == ("badge.awarded", verdict.pk)
    assert event.data == {
        "author_id": author.external_id,
        "award_id": award.public_id,
        "badge": {"code": "two", "title": "Two", "level": 2},
        "post_id": last.pk,
    }


def test_an_overturned_post_takes_its_badge_back_and_another_gives_it_again() -> None:
    make_rule()
    author = make_author()
    count(author, NOON)
    overturned = count(author, NOON)

    discount(overturned)
    assert held(author) == []
    count(author, NOON)

    assert held(author) == ["two"]
    award = BadgeAward.objects.get(author=author)
    assert [change.status for change in award.changes.all()] == ["active", "revoked", "active"]
    assert story(author) == [("badge.awarded", 1), ("badge.revoked", 2), ("badge.awarded", 3)]
    revoked = Event.objects.get(type="badge.revoked")
    assert revoked.causation_id == overturned.verdicts.order_by("-sequence")[0].pk


def test_a_badge_that_still_stands_rests_on_the_posts_that_are_left() -> None:
    rule = make_rule(is_active=False)
    author = make_author()
    posts = [count(author, NOON + timedelta(hours=hour)) for hour in range(3)]
    BadgeRule.objects.filter(pk=rule.pk).update(is_active=True)
    tipping = count(author, NOON + timedelta(hours=9))

    discount(tipping)

    award = BadgeAward.objects.get(author=author)
    assert award.status == "active"
    assert award.verdict == posts[1].verdicts.get(), "no badge rests on a post that lost its verdict"
    assert award.evidence["measured"] == 3
    assert [change.reason for change in award.changes.all()] == [
        "model: masked",
        "It still stands, on other ground: model: unmasked",
    ]
    assert story(author) == [("badge.awarded", 1)]


def test_another_authors_posts_do_not_count() -> None:
    make_rule(threshold=1)
    mine, other = make_author(), make_author()
    count(other, NOON)
    reconcile(make_post(mine, outcome="unmasked", photos=()))

    assert (held(mine), held(other)) == ([], ["two"])


def test_a_rule_that_is_switched_off_awards_no_more_but_keeps_and_takes_back_what_it_gave() -> None:
    rule = make_rule(threshold=1)
    before, after = make_author(), make_author()
    post = count(before, NOON)
    BadgeRule.objects.filter(pk=rule.pk).update(is_active=False)

    count(after, NOON)
    assert (held(before), held(after)) == (["two"], [])

    discount(post)
    assert held(before) == []


def test_a_rule_added_later_is_earned_at_the_next_change_even_by_a_post_that_does_not_count() -> None:
    author = make_author()
    posts = [count(author, NOON + timedelta(hours=hour)) for hour in range(3)]
    make_rule()

    reconcile(make_post(author, outcome="unmasked", photos=()))

    award = BadgeAward.objects.get(author=author)
    assert award.verdict == posts[1].verdicts.get()
    assert Event.objects.get(type="badge.awarded").data["post_id"] == posts[1].pk


def test_a_stricter_rule_takes_nothing_from_its_holders() -> None:
    rule = make_rule()
    author = make_author()
    posts = [count(author, NOON) for _ in range(2)]
    rule.threshold, rule.regions = 10, ["DE"]
    rule.save()

    extra = count(author, NOON)
    assert held(author) == ["two"]

    discount(extra)
    assert held(author) == ["two"], "two posts are what it was given for"
    discount(posts[0])
    assert held(author) == [], "one is not"


def test_a_laxer_rule_keeps_what_the_old_one_would_take() -> None:
    rule = make_rule(threshold=3)
    author = make_author()
    posts = [count(author, NOON) for _ in range(3)]
    BadgeRule.objects.filter(pk=rule.pk).update(threshold=1)

    discount(posts[2])

    assert held(author) == ["two"]
    assert BadgeAward.objects.get(author=author).evidence["threshold"] == 1
    discount(posts[1])
    assert held(author) == ["two"]
    discount(posts[0])
    assert held(author) == []


def test_what_is_withheld_is_not_given_but_taken_back() -> None:
    make_rule(threshold=1)
    author = make_author()
    count(author, NOON, withheld=True)
    assert held(author) == []

    post = count(author, NOON)
    assert held(author) == ["two"]
    CountedPost.objects.exclude(post=post).delete()
    discount(post, withheld=True)
    assert held(author) == []


def test_a_badge_outlives_the_posts_that_earned_it() -> None:
    make_rule()
    author = make_author()
    posts = [count(author, NOON) for _ in range(2)]
    evidence = BadgeAward.objects.get(author=author).evidence

    for post in posts:
        post.delete()

    award = BadgeAward.objects.get(author=author)
    assert (award.status, award.verdict, award.evidence) == ("active", None, evidence)

    discount(count(author, NOON))
    assert held(author) == ["two"], "counting anew does not miss them"
    reconcile(make_post(author, outcome="unmasked", photos=()))
    assert held(author) == ["two"]


def test_a_badge_valid_for_a_time_runs_out_and_says_so() -> None:
    make_rule(threshold=1, valid_days=30)
    author = make_author()
    post = count(author, NOON)
    award = BadgeAward.objects.get(author=author)
    assert award.expires_at == award.awarded_at + timedelta(days=30)

    assert awards.expire_due(award.expires_at - timedelta(seconds=1)) == 0
    assert held(author) == ["two"]
    assert awards.expire_due(award.expires_at) == 1
    assert awards.expire_due(award.expires_at) == 0

    award.refresh_from_db()
    assert (award.status, award.counts_since, award.verdict) == ("expired", award.expires_at, post.verdicts.get())
    event = Event.objects.get(type="badge.expired")
    assert (event.data["post_id"], event.causation_id) == (None, event.id)
    assert award.changes.last().reason.startswith("It was valid until ")  # type: ignore[union-attr]


def test_a_badge_that_ran_out_is_earned_again_by_later_posts_alone() -> None:
    make_rule(valid_days=30)
    author = make_author()
    for _ in range(5):
        count(author, NOON)
    award = BadgeAward.objects.get(author=author)
    first = award.awarded_at - timedelta(days=40)
    BadgeAward.objects.update(awarded_at=first, expires_at=first + timedelta(days=30))
    public_id = award.public_id

    new = count(author)  # nobody let it run out yet: this does
    assert held(author) == []
    reconcile(new)
    assert held(author) == [], "four posts from before do not help"
    count(author)

    assert held(author) == ["two"]
    award.refresh_from_db()
    assert award.public_id == public_id
    assert award.expires_at == award.awarded_at + timedelta(days=30)
    assert award.awarded_at > first + timedelta(days=39)
    assert award.evidence["measured"] == 2
    assert [change.status for change in award.changes.all()] == ["active", "expired", "active"]

    discount(new)
    assert held(author) == [], "the posts from before do not hold it up either"


@pytest.mark.django_db(transaction=True)
def test_expiry_passes_over_an_author_that_a_verdict_holds() -> None:
    make_rule(threshold=1, valid_days=1)
    author, busy = make_author(), make_author()
    count(author, NOON)
    count(busy, NOON)
    later = timezone.now() + timedelta(days=2)

    def expire() -> int:
        try:
            return awards.expire_due(later)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Author.objects.select_for_update(no_key=True).get(pk=busy.pk)
            assert pool.submit(expire).result(20) == 1
        assert (held(author), held(busy)) == ([], ["two"])
        assert pool.submit(expire).result(20) == 1


@pytest.mark.django_db(transaction=True)
def test_expiry_and_verdicts_at_once_end_in_one_expiry_and_no_deadlock() -> None:
    make_rule(threshold=1, valid_days=1)
    authors = [make_author() for _ in range(12)]
    posts = [count(author, NOON) for author in authors]
    later = timezone.now() + timedelta(days=2)

    def work(item: object) -> None:
        if item is None:
            while awards.expire_due(later):
                pass
        else:
            reconcile(item, now=later)  # type: ignore[arg-type]

    at_once(work, [*posts, None, None, None, None])

    assert Event.objects.filter(type="badge.expired").count() == 12
    assert BadgeChange.objects.filter(status="expired").count() == 12
    assert BadgeAward.objects.filter(status="expired").count() == 12


@pytest.mark.django_db(transaction=True)
def test_an_author_gets_a_badge_once_however_many_verdicts_come_at_once() -> None:
    make_rule(threshold=1)
    author = make_author()
    posts = [make_counted(author, NOON) for _ in range(12)]

    at_once(reconcile, posts)

    assert story(author) == [("badge.awarded", 1)]
    assert BadgeChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_control_without_the_authors_lock_two_verdicts_give_the_same_badge(monkeypatch: pytest.MonkeyPatch) -> None:
    make_rule(threshold=1)
    author = make_author()
    posts = [make_counted(author, NOON) for _ in range(6)]

    def slowly(*args: Any, **more: Any) -> Evidence:
        time.sleep(0.2)
        return measure(*args, **more)

    monkeypatch.setattr(awards, "measure", slowly)

    def unlocked(post: Post) -> None:
        verdict = post.verdicts.get()
        with transaction.atomic():
            badges.reconcile(author, post, verdict, timezone.now(), cause=causes.by_verdict(verdict))

    with pytest.raises(IntegrityError, match="badge_once_per_author"):
        at_once(unlocked, posts)


def test_the_database_refuses_a_second_award_of_the_same_badge() -> None:
    rule = make_rule(threshold=1)
    author = make_author()
    count(author, NOON)
    with pytest.raises(IntegrityError, match="badge_once_per_author"), transaction.atomic():
        BadgeAward.objects.create(author=author, rule=rule, evidence={})


def test_a_verdict_that_confirms_changes_nothing() -> None:
    make_rule(threshold=1)
    author = make_author()
    post = count(author, NOON)
    make_verdict(post, "masked")

    reconcile(post)

    assert (held(author), BadgeChange.objects.count()) == (["two"], 1)
