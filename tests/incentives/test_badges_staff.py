"""What people do to badges by hand: with a reason, in the history, and counting leaves it alone."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from incentives.badges import awards, staff
from incentives.badges.staff import StepError
from incentives.models import BadgeAward, BadgeChange, BadgeRule, Event
from tests.cast import make_author
from tests.incentives.builders import at_once
from tests.incentives.counted import count, discount, held, make_counted, reconcile

pytestmark = pytest.mark.django_db

WHY = "Two accounts of one person."


@pytest.fixture
def rule(db: None) -> BadgeRule:
    BadgeRule.objects.update(is_active=False)
    return BadgeRule.objects.create(code="one", title="One", kind="masked_posts", threshold=1)


@pytest.fixture
def award(rule: BadgeRule) -> BadgeAward:
    author = make_author()
    count(author)
    return BadgeAward.objects.get(author=author)


def last_told(award: BadgeAward) -> tuple[str, str | None]:
    event = Event.objects.filter(platform=award.author.platform).order_by("position").last()
    assert event is not None
    assert event.causation_id == event.id, "nothing else set it off"
    assert event.data["award_id"] == award.public_id
    return event.type, event.data["post_id"]


def test_a_suspended_badge_stays_so_whatever_is_posted_and_is_reinstated(award: BadgeAward, admin_user: User) -> None:
    staff.suspend(award.pk, admin_user, WHY)
    assert last_told(award) == ("badge.suspended", None)
    post = count(award.author)
    discount(post)
    award.refresh_from_db()
    assert (award.status, award.by_staff) == ("suspended", True)

    staff.reinstate(award.pk, admin_user, "It was a mistake.")

    award.refresh_from_db()
    assert (award.status, award.by_staff) == ("active", False), "its posts earn it, so they decide again"
    assert last_told(award) == ("badge.reinstated", None)
    steps = [(change.status, change.actor, change.reason) for change in award.changes.all()]
    assert steps[1:] == [("suspended", admin_user, WHY), ("active", admin_user, "It was a mistake.")]


def test_a_revoked_badge_is_not_earned_again_by_posting(award: BadgeAward, admin_user: User) -> None:
    staff.revoke(award.pk, admin_user, WHY)
    count(award.author)

    award.refresh_from_db()
    assert (award.status, award.by_staff) == ("revoked", True)
    assert last_told(award) == ("badge.revoked", None)


def test_a_suspended_badge_can_be_revoked(award: BadgeAward, admin_user: User) -> None:
    staff.suspend(award.pk, admin_user, WHY)
    staff.revoke(award.pk, admin_user, WHY)
    assert BadgeAward.objects.get(pk=award.pk).status == "revoked"


def test_a_reinstated_badge_that_posts_do_not_earn_stays_with_staff(award: BadgeAward, admin_user: User) -> None:
    staff.suspend(award.pk, admin_user, WHY)
    discount(award.author.posts.get())

    staff.reinstate(award.pk, admin_user, "Kept for old times' sake.")

    award.refresh_from_db()
    assert (award.status, award.by_staff) == ("active", True)
    discount(count(award.author))
    assert held(award.author) == ["one"]


def test_a_badge_reinstated_on_its_posts_falls_with_them(award: BadgeAward, admin_user: User) -> None:
    staff.suspend(award.pk, admin_user, WHY)
    staff.reinstate(award.pk, admin_user, WHY)

    discount(award.author.posts.get())

    assert held(award.author) == []


def test_a_badge_given_by_hand_needs_no_post_and_no_active_rule(rule: BadgeRule, admin_user: User) -> None:
    BadgeRule.objects.filter(pk=rule.pk).update(is_active=False, valid_days=7)
    rule.refresh_from_db()
    author = make_author()

    award = staff.grant(rule, author, admin_user, "Helped at the clinic.")

    assert (award.status, award.by_staff, award.verdict) == ("active", True, None)
    assert award.expires_at == award.awarded_at + timedelta(days=7)
    assert award.evidence["measured"] == 0
    assert last_told(award) == ("badge.awarded", None)
    discount(count(author))
    assert held(author) == ["one"]


def test_a_badge_that_was_taken_back_can_be_given_by_hand(award: BadgeAward, admin_user: User) -> None:
    discount(award.author.posts.get())

    again = staff.grant(award.rule, award.author, admin_user, WHY)

    assert (again.pk, again.public_id, again.status) == (award.pk, award.public_id, "active")
    assert [change.status for change in award.changes.all()] == ["active", "revoked", "active"]


def test_a_badge_given_by_hand_runs_out_and_then_posts_decide(rule: BadgeRule, admin_user: User) -> None:
    BadgeRule.objects.filter(pk=rule.pk).update(valid_days=7)
    rule.refresh_from_db()
    author = make_author()
    award = staff.grant(rule, author, admin_user, WHY)
    later = timezone.now() + timedelta(days=8)
    assert awards.expire_due(later) == 1

    post = make_counted(author, later)
    reconcile(post, now=later + timedelta(minutes=1))

    award.refresh_from_db()
    assert (award.status, award.by_staff, award.verdict) == ("active", False, post.verdicts.get())


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_every_step_needs_a_reason(award: BadgeAward, admin_user: User, reason: str) -> None:
    other = make_author()
    revoked = make_author()
    count(revoked)
    discount(revoked.posts.get())
    told = Event.objects.count(), BadgeChange.objects.count()
    lost = BadgeAward.objects.get(author=revoked)
    steps: list[Callable[[], BadgeAward]] = [
        lambda: staff.suspend(award.pk, admin_user, reason),
        lambda: staff.revoke(award.pk, admin_user, reason),
        lambda: staff.reinstate(lost.pk, admin_user, reason),
        lambda: staff.grant(award.rule, other, admin_user, reason),
    ]

    for step in steps:
        with pytest.raises(StepError) as refused:
            step()
        assert refused.value.field == "reason"

    assert (Event.objects.count(), BadgeChange.objects.count()) == told
    assert (held(award.author), held(other), held(revoked)) == (["one"], [], [])


def test_a_step_that_does_not_follow_is_refused(award: BadgeAward, admin_user: User) -> None:
    with pytest.raises(StepError, match="active"):
        staff.reinstate(award.pk, admin_user, WHY)
    with pytest.raises(StepError, match="holds this badge already"):
        staff.grant(award.rule, award.author, admin_user, WHY)
    staff.revoke(award.pk, admin_user, WHY)
    for step in (staff.suspend, staff.revoke):
        with pytest.raises(StepError, match="revoked"):
            step(award.pk, admin_user, WHY)


def test_a_badge_whose_time_ran_out_on_hold_is_not_reinstated(award: BadgeAward, admin_user: User) -> None:
    staff.suspend(award.pk, admin_user, WHY)
    past = timezone.now() - timedelta(days=9)
    BadgeAward.objects.update(awarded_at=past, expires_at=past + timedelta(days=1))

    with pytest.raises(StepError, match="run out"):
        staff.reinstate(award.pk, admin_user, WHY)
    staff.grant(award.rule, award.author, admin_user, WHY)

    assert held(award.author) == ["one"]


@pytest.mark.django_db(transaction=True)
def test_two_people_who_revoke_at_once_do_it_once(admin_user: User) -> None:
    BadgeRule.objects.update(is_active=False)
    BadgeRule.objects.create(code="one", title="One", kind="masked_posts", threshold=1)
    author = make_author()
    count(author)
    award = BadgeAward.objects.get(author=author)

    def revoke(number: int) -> bool:
        try:
            staff.revoke(award.pk, admin_user, f"Reason {number}")
        except StepError:
            return False
        return True

    assert sum(map(bool, at_once(revoke, range(6)))) == 1
    assert BadgeChange.objects.filter(status="revoked").count() == 1
    assert Event.objects.filter(type="badge.revoked").count() == 1


@pytest.mark.django_db(transaction=True)
def test_control_without_the_authors_lock_two_people_revoke_the_same_badge(
    admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    BadgeRule.objects.update(is_active=False)
    BadgeRule.objects.create(code="one", title="One", kind="masked_posts", threshold=1)
    author = make_author()
    count(author)
    award = BadgeAward.objects.get(author=author)

    def unlocked(type_: Event.Type, award_id: int) -> BadgeAward:
        found = BadgeAward.objects.select_related("author", "rule").get(pk=award_id, status="active")
        time.sleep(0.3)
        return found

    monkeypatch.setattr(staff, "_held_for", unlocked)
    at_once(lambda number: staff.revoke(award.pk, admin_user, f"Reason {number}"), range(6))

    assert BadgeChange.objects.filter(status="revoked").count() > 1
