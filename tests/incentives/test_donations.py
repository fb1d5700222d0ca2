"""A campaign gives to masked posts, and never more than its budget."""

import time
from datetime import UTC, datetime, timedelta

import pgtrigger
import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from incentives import donations, rewards
from incentives.models import Campaign, Event, LedgerEntry, Match, RewardApplication
from moderation.models import Author, Post
from tests.cast import make_author, make_platform, make_post, make_verdict, withdraw
from tests.incentives.builders import at_once, make_campaign

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]


def masked_posts(count: int, author: Author | None = None) -> list[Post]:
    author = author or make_author()
    return [make_post(author, outcome="masked", photos=()) for _ in range(count)]


def apply(post: Post) -> bool:
    return rewards.apply_verdict(post.verdicts.get().pk)


def reserve(post: Post) -> Match | None:
    with transaction.atomic():
        RewardApplication.objects.get_or_create(verdict=post.verdicts.get())
        return donations.reserve_match(post, post.verdicts.get(), timezone.now())


def naive_reserve(post: Post) -> bool:
    """Match a post the way one would without thinking of others: read, compare, write."""
    campaign = Campaign.objects.get(status=Campaign.Status.ACTIVE)
    if campaign.committed_minor + campaign.amount_minor > campaign.budget_minor:
        return False
    time.sleep(0.002)  # what a busy database takes
    campaign.committed_minor += campaign.amount_minor
    campaign.save(update_fields=["committed_minor"])
    match = Match.objects.create(
        campaign=campaign, post=post, amount_minor=campaign.amount_minor, settle_at=timezone.now() + timedelta(days=1)
    )
    LedgerEntry.objects.create(match=match, kind="reserved", amount_minor=match.amount_minor)
    return True


@pytest.mark.django_db(transaction=True)
def test_control_reading_before_writing_promises_more_than_there_is() -> None:
    campaign = make_campaign(budget_minor=50 * 50)
    posts = masked_posts(200)

    at_once(naive_reserve, posts)

    # The check on the campaign's row sees nothing wrong: updates were lost. The books do.
    campaign.refresh_from_db()
    assert campaign.committed_minor <= campaign.budget_minor
    assert Match.objects.count() > 50
    audit = donations.audit(campaign)
    assert audit.committed_minor > campaign.budget_minor
    assert len(audit.problems) == 2


@pytest.mark.django_db(transaction=True)
def test_two_hundred_posts_against_a_budget_for_fifty_are_matched_fifty_times() -> None:
    campaign = make_campaign(budget_minor=50 * 50 + 49)
    posts = [post for _ in range(20) for post in masked_posts(10)]

    assert all(at_once(apply, posts))

    assert Match.objects.count() == 50
    assert Event.objects.filter(type="donation.matched").count() == 50
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.problems) == (50 * 50, ())


@pytest.mark.django_db(transaction=True)
def test_posts_of_one_author_at_once_stay_within_the_days_cap() -> None:
    make_campaign(cap_per_author_per_day=3)

    at_once(apply, masked_posts(24))

    assert Match.objects.count() == 3


def test_the_cap_counts_days_and_what_was_voided_does_not_count() -> None:
    make_campaign(cap_per_author_per_day=1, starts_at=timezone.now() - timedelta(days=2))
    first, second, third = masked_posts(3)
    yesterday = timezone.now() - timedelta(days=1)

    assert donations.reserve_match(first, first.verdicts.get(), yesterday) is not None
    match = reserve(second)
    assert match is not None
    assert reserve(third) is None
    assert donations.void(match, second, timezone.now())
    assert reserve(third) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "draft"},
        {"status": "paused"},
        {"status": "ended"},
        {"starts_at": datetime(2999, 1, 1, tzinfo=UTC)},
        {"starts_at": datetime(2020, 1, 1, tzinfo=UTC), "ends_at": datetime(2020, 2, 1, tzinfo=UTC)},
        {"budget_minor": 49},
        {"budget_minor": 0},
    ],
)
def test_a_campaign_that_does_not_run_or_has_too_little_gives_nothing(fields: dict[str, object]) -> None:
    make_campaign(**fields)

    assert reserve(masked_posts(1)[0]) is None


def test_a_platforms_own_campaign_comes_first_and_then_those_for_everybody_in_their_order() -> None:
    author = make_author()
    older, newer = make_campaign(budget_minor=50), make_campaign(budget_minor=50)
    make_campaign(platform=make_platform())
    own = make_campaign(platform=author.platform, budget_minor=50)

    given = [match and match.campaign for match in map(reserve, masked_posts(4, author))]

    assert given == [own, older, newer, None]


def test_voiding_gives_the_money_back_once() -> None:
    campaign = make_campaign(budget_minor=50)
    first, second = masked_posts(2)
    match = reserve(first)
    assert match is not None
    assert reserve(second) is None

    assert donations.void(match, first, timezone.now())
    assert donations.void(match, first, timezone.now()) is False

    assert reserve(second) is not None
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.voided_minor, audit.problems) == (50, 50, ())


def test_matches_settle_when_they_are_due_and_are_told() -> None:
    campaign = make_campaign(hold_seconds=3600)
    for post in masked_posts(5):
        reserve(post)

    assert donations.settle_due(timezone.now()) == 0
    later = timezone.now() + timedelta(hours=1)
    assert donations.settle_due(later, batch=2) == 5
    assert donations.settle_due(later) == 0

    audit = donations.audit(campaign)
    assert (audit.reserved_minor, audit.settled_minor, audit.problems) == (0, 250, ())
    assert Event.objects.filter(type="donation.settled").count() == 5


def test_a_match_is_not_settled_while_something_may_still_take_it_back() -> None:
    campaign = make_campaign(hold_seconds=0)
    [withdrawn, overturned, upheld] = masked_posts(3)
    for post in (withdrawn, overturned, upheld):
        apply(post)
    withdraw(withdrawn)
    verdicts = [make_verdict(overturned, "unmasked"), make_verdict(upheld, "masked")]

    assert donations.settle_due(timezone.now()) == 0
    rewards.take_back(withdrawn.pk)
    for verdict in verdicts:
        rewards.apply_verdict(verdict.pk)

    assert donations.settle_due(timezone.now()) == 1
    found = dict(Match.objects.values_list("post", "status"))
    assert found == {withdrawn.pk: "voided", overturned.pk: "voided", upheld.pk: "settled"}
    assert donations.audit(campaign).problems == ()


def test_an_amount_that_is_changed_while_a_post_is_matched_is_the_one_that_is_promised() -> None:
    campaign = make_campaign(amount_minor=50)
    stale = Campaign.objects.get(pk=campaign.pk)
    Campaign.objects.filter(pk=campaign.pk).update(amount_minor=70)

    with transaction.atomic():
        assert donations._commit(stale, timezone.now()) == 70

    campaign.refresh_from_db()
    assert campaign.committed_minor == 70


def test_the_money_of_an_erased_author_still_settles() -> None:
    campaign = make_campaign(hold_seconds=0)
    [post] = masked_posts(1)
    reserve(post)
    post.delete()

    assert donations.settle_due(timezone.now()) == 1

    assert donations.audit(campaign).problems == ()
    assert not Event.objects.filter(type="donation.settled").exists()


@pytest.mark.django_db(transaction=True)
def test_settling_at_once_settles_each_match_once() -> None:
    campaign = make_campaign(hold_seconds=0)
    for post in masked_posts(30):
        reserve(post)

    settled = at_once(lambda _: donations.settle_due(timezone.now(), batch=7), range(8))
    rest = donations.settle_due(timezone.now())

    assert sum(int(str(count)) for count in settled) + rest == 30
    assert donations.audit(campaign).problems == ()


def test_the_audit_finds_a_campaign_that_disagrees_with_its_books() -> None:
    campaign = make_campaign()
    [post] = masked_posts(1)
    match = reserve(post)
    assert match is not None
    Campaign.objects.filter(pk=campaign.pk).update(committed_minor=51)
    with pgtrigger.ignore("incentives.Match:match_keeps_its_terms"):
        Match.objects.filter(pk=match.pk).update(status="settled", amount_minor=60)

    assert donations.audit(campaign).problems == (
        "the campaign says 51, its ledger 50",
        f"{match.pk} is settled, its ledger has reserved",
        f"{match.pk} is over 60, its ledger over [50]",
    )


def a_match(**fields: object) -> Match:
    [post] = masked_posts(1)
    defaults: dict[str, object] = {
        "campaign": make_campaign(),
        "post": post,
        "amount_minor": 50,
        "settle_at": timezone.now() + timedelta(days=1),
    }
    return Match.objects.create(**(defaults | fields))


def second_match_of_a_post() -> None:
    a_match(post=a_match().post)


def ledger_twice(kind: str) -> None:
    match = a_match()
    for _ in range(2):
        LedgerEntry.objects.create(match=match, kind=kind, amount_minor=50)


def settled_and_voided() -> None:
    match = a_match()
    LedgerEntry.objects.create(match=match, kind="settled", amount_minor=50)
    LedgerEntry.objects.create(match=match, kind="voided", amount_minor=50)


@pytest.mark.parametrize(
    ("constraint", "act"),
    [
        ("campaign_never_promises_more_than_its_budget", lambda: make_campaign(budget_minor=10, committed_minor=11)),
        ("campaign_amount_above_0", lambda: make_campaign(amount_minor=0)),
        ("campaign_currency_iso_4217", lambda: make_campaign(currency="eur")),
        ("campaign_ends_after_it_starts", lambda: make_campaign(ends_at=datetime(2020, 1, 1, tzinfo=UTC))),
        ("match_amount_above_0", lambda: a_match(amount_minor=0)),
        ("match_settles_after_it_is_reserved", lambda: a_match(settle_at=datetime(2020, 1, 1, tzinfo=UTC))),
        ("match_once_per_post", second_match_of_a_post),
        ("ledger_amount_above_0", lambda: LedgerEntry.objects.create(match=a_match(), kind="reserved", amount_minor=0)),
        ("ledger_step_once", lambda: ledger_twice("reserved")),
        ("ledger_ends_once", settled_and_voided),
    ],
)
def test_the_database_refuses_what_must_not_be_booked(constraint: str, act: object) -> None:
    assert callable(act)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        act()


def test_an_entry_of_the_ledger_is_neither_changed_nor_deleted() -> None:
    entry = LedgerEntry.objects.create(match=a_match(), kind="reserved", amount_minor=50)
    for act in (
        lambda: LedgerEntry.objects.filter(pk=entry.pk).update(amount_minor=1),
        lambda: LedgerEntry.objects.filter(pk=entry.pk).delete(),
    ):
        with (
            pytest.raises(DatabaseError, match="ledger_is_append_only"),
            transaction.atomic(),
        ):
            act()


@pytest.mark.parametrize("end", ["settled", "voided"])
@pytest.mark.parametrize("again", ["reserved", "settled", "voided"])
def test_a_match_ends_once(end: str, again: str) -> None:
    match = a_match()
    Match.objects.filter(pk=match.pk).update(status=end)
    if end == again:
        return
    with pytest.raises(DatabaseError, match="match_ends_once"), transaction.atomic():
        Match.objects.filter(pk=match.pk).update(status=again)


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"created_at": datetime(2020, 1, 1, tzinfo=UTC)}])
def test_the_terms_of_a_match_never_change(change: dict[str, object]) -> None:
    match = a_match()
    with pytest.raises(DatabaseError, match="match_keeps_its_terms"), transaction.atomic():
        Match.objects.filter(pk=match.pk).update(**change)


def test_a_campaign_keeps_its_currency() -> None:
    campaign = make_campaign()
    with pytest.raises(DatabaseError, match="campaign_keeps_its_currency"), transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(currency="USD")


def test_a_match_is_never_deleted() -> None:
    match = a_match()
    with pytest.raises(DatabaseError, match="match_is_never_deleted"), transaction.atomic():
        match.delete()
