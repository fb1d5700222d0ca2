"""A verdict is turned into what it earns, exactly once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from incentives import donations, rewards
from incentives.models import BadgeAward, Boost, Event, LedgerEntry, Match, PendingChange, RewardApplication
from moderation import posts, signals
from moderation.models import Author, Post, Verdict
from tests import cast
from tests.cast import make_author, make_post, make_verdict
from tests.incentives.builders import at_once, make_campaign, types_of
from tests.incentives.conftest import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

EARNED = ["post.analyzed", "badge.awarded", "donation.matched", "boost.started"]
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def masked_post(author: Author | None = None, created_at: datetime | None = None) -> Post:
    post = make_post(author, outcome="masked", created_at=created_at)
    assert rewards.apply_verdict(post.verdicts.get().pk)
    return post


def overturn(post: Post, outcome: str = "unmasked") -> Verdict:
    verdict = make_verdict(post, outcome, source=Verdict.Source.REVIEWER)
    assert rewards.apply_verdict(verdict.pk)
    return verdict


def withdraw(post: Post) -> None:
    cast.withdraw(post)
    assert rewards.take_back(post.pk)


def test_a_masked_post_earns_badge_boost_and_match_and_says_so() -> None:
    campaign = make_campaign()
    post = masked_post()

    award = BadgeAward.objects.get(author=post.author)
    assert (award.rule_id, award.status) == ("first-mask", "active")
    assert (award.evidence["measured"], award.evidence["threshold"], award.evidence["post_ids"]) == (1, 1, [post.pk])
    assert Boost.objects.get(post=post).revoked_at is None
    match = Match.objects.get(post=post)
    assert (match.campaign, match.amount_minor, match.status) == (campaign, 50, "reserved")
    assert types_of(post) == EARNED
    analyzed = Event.objects.get(type="post.analyzed")
    verdict = post.verdicts.get()
    assert analyzed.data == {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "verdict": {"id": verdict.pk, "outcome": "masked", "source": "model", "sequence": 1},
    }


@pytest.mark.parametrize("outcome", [outcome for outcome in Verdict.Outcome if outcome != Verdict.Outcome.MASKED])
def test_any_other_verdict_earns_nothing_and_is_told_all_the_same(outcome: str) -> None:
    make_campaign()
    post = make_post(outcome=outcome)

    assert rewards.apply_verdict(post.verdicts.get().pk)

    assert types_of(post) == ["post.analyzed"]
    assert not BadgeAward.objects.exists() and not Boost.objects.exists() and not Match.objects.exists()


def test_a_second_application_does_nothing() -> None:
    make_campaign()
    post = masked_post()

    assert rewards.apply_verdict(post.verdicts.get().pk) is False

    assert types_of(post) == EARNED


def test_an_erased_verdict_is_left_alone() -> None:
    assert rewards.apply_verdict("ver_nobody") is False
    assert rewards.take_back("post_nobody") is False


@pytest.mark.django_db(transaction=True)
def test_twenty_workers_with_the_same_message_apply_it_once() -> None:
    make_campaign()
    post = make_post(outcome="masked")
    verdict = post.verdicts.get().pk

    done = at_once(rewards.apply_verdict, [verdict] * 20, threads=20)

    assert sorted(map(bool, done)) == [False] * 19 + [True]
    assert types_of(post) == EARNED
    assert (RewardApplication.objects.count(), Match.objects.count(), Boost.objects.count()) == (1, 1, 1)


@pytest.mark.django_db(transaction=True)
def test_posts_of_one_author_at_once_earn_one_badge_and_no_deadlock() -> None:
    author = make_author()
    posts = [make_post(author, outcome="masked", photos=()) for _ in range(24)]

    at_once(rewards.apply_verdict, [post.verdicts.get().pk for post in posts])

    assert BadgeAward.objects.filter(author=author).count() == 1
    assert Event.objects.filter(type="badge.awarded").count() == 1
    assert Boost.objects.count() == 24


@pytest.mark.django_db(transaction=True)
def test_verdicts_withdrawals_and_settlements_at_once_end_without_a_deadlock_and_with_true_books() -> None:
    campaign = make_campaign(hold_seconds=0)
    authors = [make_author() for _ in range(3)]
    posts = [masked_post(author) for author in authors for _ in range(8)]
    for post in posts[::2]:
        make_verdict(post, "unmasked", source=Verdict.Source.REVIEWER)
    cast.withdraw(*posts[1::4])

    def work(number: int) -> object:
        post = posts[number % len(posts)]
        if number % 3 == 0:
            return donations.settle_due(datetime.now(UTC))
        if number % 3 == 1:
            return rewards.take_back(post.pk)
        return rewards.apply_verdict(post.verdicts.order_by("-sequence")[0].pk)

    at_once(work, list(range(3 * len(posts))))

    assert donations.audit(campaign).problems == ()


def test_a_verdict_that_was_overturned_takes_back_exactly_what_it_gave() -> None:
    campaign = make_campaign()
    author = make_author()
    first = masked_post(author)
    second = masked_post(author)

    overturn(second)

    assert types_of(first)[len(EARNED) :] == [
        *("post.analyzed", "donation.matched", "boost.started"),
        *("post.analyzed", "donation.voided", "boost.ended"),
    ]
    assert BadgeAward.objects.get(author=author).status == "active", "the first post still carries it"
    assert Boost.objects.get(post=first).revoked_at is None
    assert Match.objects.get(post=first).status == "reserved"
    campaign.refresh_from_db()
    assert campaign.committed_minor == 50

    overturn(first)

    assert types_of(first)[-4:] == ["post.analyzed", "badge.revoked", "donation.voided", "boost.ended"]
    assert BadgeAward.objects.get(author=author).status == "revoked"
    campaign.refresh_from_db()
    assert campaign.committed_minor == 0
    assert donations.audit(campaign).problems == ()


def test_a_badge_that_still_stands_rests_on_the_posts_that_are_left() -> None:
    author = make_author()
    first = masked_post(author, DAY)
    second = masked_post(author, DAY + timedelta(days=1))
    assert BadgeAward.objects.get(author=author, verdict__post=first)

    overturn(first)

    award = BadgeAward.objects.get(author=author, verdict__post=second)
    assert award.status == "active"
    assert award.evidence["post_ids"] == [second.pk]
    assert "badge.revoked" not in types_of(first)


def test_money_that_was_settled_is_credited_back_when_the_verdict_falls() -> None:
    campaign = make_campaign(hold_seconds=0)
    post = masked_post()
    assert donations.settle_due(datetime.now(UTC)) == 1

    overturn(post)

    assert Match.objects.get(post=post).status == "refunded"
    assert types_of(post)[-2:] == ["donation.refunded", "boost.ended"]
    campaign.refresh_from_db()
    assert campaign.committed_minor == 0
    assert donations.audit(campaign).problems == ()


def test_money_that_was_settled_stays_when_the_post_is_withdrawn() -> None:
    make_campaign(hold_seconds=0)
    post = masked_post()
    donations.settle_due(datetime.now(UTC))

    withdraw(post)

    assert Match.objects.get(post=post).status == "settled"
    assert types_of(post)[-2:] == ["badge.revoked", "boost.ended"]


def test_a_verdict_restored_on_appeal_earns_again() -> None:
    make_campaign()
    post = masked_post()
    overturn(post)

    overturn(post, "masked")

    assert types_of(post)[-4:] == EARNED
    assert BadgeAward.objects.get(author=post.author).status == "active"
    assert Boost.objects.filter(post=post, revoked_at=None).count() == 1
    assert list(Match.objects.filter(post=post).order_by("pk").values_list("status", flat=True)) == [
        "voided",
        "reserved",
    ]


def test_a_second_masked_verdict_gives_nothing_twice() -> None:
    make_campaign()
    post = masked_post()

    overturn(post, "masked")

    assert types_of(post) == [*EARNED, "post.analyzed"]


def test_a_verdict_applied_late_gives_nothing() -> None:
    post = make_post(outcome="masked")
    late = post.verdicts.get()
    make_verdict(post, "unmasked", source=Verdict.Source.REVIEWER)

    assert rewards.apply_verdict(late.pk)

    assert types_of(post) == ["post.analyzed"]
    assert not Boost.objects.exists()


def test_verdicts_are_told_in_their_order_even_when_the_messages_are_not() -> None:
    post = make_post(outcome="masked")
    first = post.verdicts.get()
    second = make_verdict(post, "unmasked", source=Verdict.Source.REVIEWER)

    assert rewards.apply_verdict(second.pk)
    assert rewards.apply_verdict(first.pk) is False

    told = Event.objects.filter(type="post.analyzed").order_by("sequence")
    assert [event.data["verdict"]["sequence"] for event in told] == [1, 2]
    assert not Boost.objects.exists()


def test_withdrawing_takes_back_what_the_post_earned() -> None:
    make_campaign()
    post = masked_post()

    withdraw(post)

    assert types_of(post)[len(EARNED) :] == ["badge.revoked", "donation.voided", "boost.ended"]
    assert rewards.take_back(post.pk), "again, with nothing left to take"
    assert len(types_of(post)) == len(EARNED) + 3


def test_a_post_that_stands_keeps_what_it_earned() -> None:
    post = masked_post()

    assert rewards.take_back(post.pk) is False

    assert Boost.objects.get(post=post).revoked_at is None


def test_a_verdict_on_a_withdrawn_post_earns_nothing() -> None:
    post = make_post(outcome="masked")
    cast.withdraw(post)

    assert rewards.apply_verdict(post.verdicts.get().pk)

    assert types_of(post) == ["post.analyzed"]


def reach(post: Post) -> Verdict:
    """Send the signal that a post's verdict was reached, as recording one does."""
    verdict = post.verdicts.get()
    with transaction.atomic():
        signals.verdict_reached.send(sender=Verdict, verdict_id=verdict.pk, post_id=verdict.post_id)
    return verdict


def test_the_sweep_does_what_was_missed_and_nothing_else() -> None:
    done, missed, gone = masked_post(), make_post(outcome="masked"), masked_post()
    reach(missed)
    posts.withdraw(gone)

    now = timezone.now()
    assert rewards.sweep(now) == 0, "its worker may be at it"
    assert rewards.sweep(now + rewards.LOST_AFTER) == 2

    assert not PendingChange.objects.exists()
    assert set(Boost.objects.filter(revoked_at=None).values_list("post", flat=True)) == {done.pk, missed.pk}


def test_a_change_that_cannot_be_done_keeps_no_other_from_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = reach(make_post(outcome="masked")), reach(make_post(outcome="masked"))
    real = rewards.apply_verdict

    def fail(verdict_id: str) -> bool:
        if verdict_id == bad.pk:
            raise RuntimeError("something that nobody thought of")
        return real(verdict_id)

    monkeypatch.setattr(rewards, "apply_verdict", fail)
    assert rewards.sweep(timezone.now() + rewards.LOST_AFTER) == 1

    assert [change.verdict_id for change in PendingChange.objects.all()] == [bad.pk]
    assert Boost.objects.get().verdict_id == good.pk


def test_more_changes_that_cannot_be_done_than_a_batch_holds_keep_no_later_one_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewards, "SWEEP_BATCH", 2)
    bad = {reach(make_post(outcome="masked")).pk for _ in range(5)}
    good = reach(make_post(outcome="masked"))
    real = rewards.apply_verdict

    def fail(verdict_id: str) -> bool:
        if verdict_id in bad:
            raise RuntimeError("something that nobody thought of")
        return real(verdict_id)

    monkeypatch.setattr(rewards, "apply_verdict", fail)

    assert rewards.sweep(timezone.now() + rewards.LOST_AFTER) == 1
    assert Boost.objects.get().verdict_id == good.pk


def test_all_that_follows_from_one_thing_has_one_causation_id() -> None:
    make_campaign()
    post = make_post(outcome="masked")
    verdict = reach(post)
    rewards.apply_verdict(verdict.pk)

    assert set(Event.objects.values_list("causation_id", flat=True)) == {verdict.pk}
    assert LedgerEntry.objects.get(kind="reserved").causation_id == verdict.pk
    assert BadgeAward.objects.get().changes.get().causation_id == verdict.pk

    posts.withdraw(post)
    rewards.take_back(post.pk)

    withdrawn = Event.objects.get(type="post.withdrawn")
    after = Event.objects.filter(position__gte=withdrawn.position).order_by("position")
    assert [event.type for event in after] == ["post.withdrawn", "badge.revoked", "donation.voided", "boost.ended"]
    assert {event.causation_id for event in after} == {withdrawn.id}
    assert LedgerEntry.objects.get(kind="voided").causation_id == withdrawn.id


@pytest.mark.django_db(transaction=True)
def test_the_signal_only_enqueues(sent: Sent) -> None:
    post = make_post(outcome="masked")
    verdict = post.verdicts.get()

    signals.verdict_reached.send(sender=Verdict, verdict_id=verdict.pk, post_id=verdict.post_id)

    assert sent.of("apply_verdict") == [verdict.pk]
    assert PendingChange.objects.get().verdict == verdict
    assert not Event.objects.exists()
