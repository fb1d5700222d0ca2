"""A verdict is turned into what it earns, exactly once."""

from datetime import UTC, datetime, timedelta

import pytest

from incentives import donations, rewards
from incentives.models import BadgeAward, Boost, Event, Match, RewardApplication
from incentives.tasks import sweep_verdicts
from moderation import signals
from moderation.models import Author, Post, Verdict
from tests import cast
from tests.cast import make_author, make_post, make_verdict
from tests.incentives.builders import at_once, make_campaign, types_of
from tests.incentives.conftest import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

EARNED = ["post.analyzed", "badge.awarded", "boost.started", "donation.matched"]
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
    assert award.evidence == {"measured": 1, "threshold": 1, "post_ids": [post.pk]}
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
        *("post.analyzed", "boost.started", "donation.matched"),
        *("post.analyzed", "boost.ended", "donation.voided"),
    ]
    assert BadgeAward.objects.get(author=author).status == "active", "the first post still carries it"
    assert Boost.objects.get(post=first).revoked_at is None
    assert Match.objects.get(post=first).status == "reserved"
    campaign.refresh_from_db()
    assert campaign.committed_minor == 50

    overturn(first)

    assert types_of(first)[-4:] == ["post.analyzed", "badge.revoked", "boost.ended", "donation.voided"]
    assert BadgeAward.objects.get(author=author).status == "revoked"
    campaign.refresh_from_db()
    assert campaign.committed_minor == 0
    assert donations.audit(campaign).problems == ()


def test_a_badge_that_still_stands_rests_on_the_posts_that_are_left() -> None:
    author = make_author()
    first = masked_post(author, DAY)
    second = masked_post(author, DAY + timedelta(days=1))
    assert BadgeAward.objects.get(author=author).verdict.post == first

    overturn(first)

    award = BadgeAward.objects.get(author=author)
    assert (award.status, award.verdict.post) == ("active", second)
    assert award.evidence["post_ids"] == [second.pk]
    assert "badge.revoked" not in types_of(first)


def test_settled_money_stays_where_it_went() -> None:
    campaign = make_campaign(hold_seconds=0)
    post = masked_post()
    assert donations.settle_due(datetime.now(UTC)) == 1

    overturn(post)

    assert Match.objects.get(post=post).status == "settled"
    assert "donation.voided" not in types_of(post)
    assert donations.audit(campaign).settled_minor == 50


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

    assert types_of(post)[len(EARNED) :] == ["badge.revoked", "boost.ended", "donation.voided"]
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


def test_the_sweep_finds_what_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    done, missed, gone = masked_post(), make_post(outcome="masked"), masked_post()
    cast.withdraw(gone)

    now = datetime.now(UTC)
    assert rewards.unapplied_verdicts(now) == [], "its worker may be at it"
    later = now + rewards.LOST_AFTER
    assert rewards.unapplied_verdicts(later) == [missed.verdicts.get().pk]
    assert rewards.withdrawn_with_rewards() == [gone.pk]

    monkeypatch.setattr(rewards, "LOST_AFTER", timedelta())
    sweep_verdicts()

    assert rewards.unapplied_verdicts(later) == rewards.withdrawn_with_rewards() == []
    assert Boost.objects.filter(post__in=[done, missed], revoked_at=None).count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_signal_only_enqueues(sent: Sent) -> None:
    post = make_post(outcome="masked")
    verdict = post.verdicts.get()

    signals.verdict_reached.send(sender=Verdict, verdict_id=verdict.pk)

    assert sent.of("apply_verdict") == [verdict.pk]
    assert not Event.objects.exists()
