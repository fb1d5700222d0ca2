"""The books are added to and never changed, and a proof finds whatever disagrees with them."""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pgtrigger
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from incentives import donations, proof
from incentives.models import Campaign, CampaignDay, LedgerEntry, LedgerProof, Match, Tier
from incentives.tasks import prove_ledgers
from moderation.models import AuditEntry
from tests.cast import make_author
from tests.incentives.builders import give, make_campaign, masked_posts, take

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NEXT_DAY = NOON + timedelta(days=1)


def a_match(**fields: Any) -> Match:
    [post] = masked_posts(1)
    defaults: dict[str, Any] = {
        "campaign": make_campaign(),
        "post": post,
        "amount_minor": 50,
        "day": NOON.date(),
        "settle_at": timezone.now() + timedelta(days=1),
    }
    return Match.objects.create(**(defaults | fields))


def an_entry(match: Match | None = None, **fields: Any) -> LedgerEntry:
    match = match or a_match()
    defaults: dict[str, Any] = {
        "campaign": match.campaign,
        "number": LedgerEntry.objects.filter(campaign=match.campaign).count() + 1,
        "match": match,
        "kind": "reserved",
        "amount_minor": 50,
        "day": NOON.date(),
        "cause": "verdict",
    }
    return LedgerEntry.objects.create(**(defaults | fields))


def twice(match: Match, first: str, second: str) -> None:
    an_entry(match, kind=first)
    an_entry(match, kind=second)


@pytest.mark.parametrize(
    ("constraint", "act"),
    [
        ("campaign_never_promises_more_than_its_budget", lambda: make_campaign(budget_minor=10, committed_minor=11)),
        ("campaign_amount_above_0", lambda: make_campaign(amount_minor=0)),
        ("campaign_currency_iso_4217", lambda: make_campaign(currency="eur")),
        ("campaign_ends_after_it_starts", lambda: make_campaign(ends_at=datetime(2020, 1, 1, tzinfo=UTC))),
        ("campaign_never_promises_more_than_its_budget", lambda: make_campaign(budget_minor=-1)),
        ("committed_minor", lambda: make_campaign(committed_minor=-1)),
        ("tier_once", lambda: make_campaign(tiers=[(0, 100), (0, 10)])),
        ("tier_percent_from_1_to_100", lambda: make_campaign(tiers=[(0, 101)])),
        ("tier_percent_from_1_to_100", lambda: make_campaign(tiers=[(0, 0)])),
        ("match_amount_above_0", lambda: a_match(amount_minor=0)),
        ("match_settles_after_it_is_reserved", lambda: a_match(settle_at=datetime(2020, 1, 1, tzinfo=UTC))),
        ("match_once_per_post", lambda: a_match(post=a_match().post)),
        ("match_once_per_post", lambda: a_match(post=a_match(status="settled").post)),
        ("ledger_number_once", lambda: an_entry(number=1)),
        ("ledger_amount_above_0", lambda: an_entry(amount_minor=0)),
        ("ledger_step_once", lambda: twice(a_match(), "reserved", "reserved")),
        ("ledger_step_once", lambda: twice(a_match(), "refunded", "refunded")),
        ("ledger_ends_once", lambda: twice(a_match(), "settled", "voided")),
        ("ledger_budget_has_no_match", lambda: an_entry(kind="funded")),
        ("ledger_budget_has_no_match", lambda: an_entry(match=a_match(), kind="reduced")),
        ("standing_minor", lambda: CampaignDay.objects.create(campaign=make_campaign(), day=NOON, standing_minor=-1)),
    ],
)
def test_the_database_refuses_what_must_not_be_booked(constraint: str, act: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        act()


def test_a_step_of_a_match_without_its_match_is_refused() -> None:
    campaign = make_campaign()
    with pytest.raises(IntegrityError, match="ledger_budget_has_no_match"), transaction.atomic():
        LedgerEntry.objects.create(
            campaign=campaign, number=2, kind="voided", amount_minor=1, day=NOON.date(), cause="verdict"
        )


@pytest.mark.parametrize(
    ("trigger", "act"),
    [
        ("ledger_is_append_only", lambda: LedgerEntry.objects.filter(pk=an_entry().pk).update(amount_minor=1)),
        ("ledger_is_append_only", lambda: an_entry().delete()),
        ("ledger_is_append_only", lambda: LedgerEntry.objects.all().delete() if make_campaign() else None),
        ("match_is_never_deleted", lambda: a_match().delete()),
        ("campaign_keeps_its_currency", lambda: Campaign.objects.filter(pk=make_campaign().pk).update(currency="USD")),
        (
            "proof_is_never_edited",
            lambda: LedgerProof.objects.filter(pk=proof.prove(make_campaign(), NOON).pk).update(problems=[]),
        ),
        ("proof_is_never_edited", lambda: proof.prove(make_campaign(), NOON).delete()),
    ],
)
def test_the_database_refuses_to_change_the_past(trigger: str, act: Callable[[], object]) -> None:
    with pytest.raises(DatabaseError, match=trigger), transaction.atomic():
        act()


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 1},
        {"created_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"day": date(2020, 1, 1)},
        {"region": "FR"},
        {"settle_at": datetime(2036, 1, 1, tzinfo=UTC)},
    ],
)
def test_the_terms_of_a_match_never_change(change: dict[str, Any]) -> None:
    match = a_match()
    with pytest.raises(DatabaseError, match="match_keeps_its_terms"), transaction.atomic():
        Match.objects.filter(pk=match.pk).update(**change)


@pytest.mark.parametrize("name", ["post", "author", "verdict"])
def test_a_match_is_no_other_posts_ever_and_an_erased_ones_stays_so(name: str) -> None:
    [one, other] = masked_posts(2)
    make_campaign()
    give(one)
    matches, wrong = Match.objects.all(), {"post": other, "author": make_author(), "verdict": other.verdicts.get()}
    for _ in range(2):
        with pytest.raises(DatabaseError, match="match_keeps_its_post"), transaction.atomic():
            matches.update(**{name: wrong[name]})
        matches.update(**{name: None})  # as erasure does


STATUSES = ("reserved", "settled", "voided", "refunded")
LEGAL = {("reserved", "settled"), ("reserved", "voided"), ("settled", "refunded")}


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_a_match_goes_its_way_and_no_other(before: str, after: str) -> None:
    match = a_match(status=before)
    moved = Match.objects.filter(pk=match.pk)
    if before == after or (before, after) in LEGAL:
        assert moved.update(status=after) == 1
    else:
        with pytest.raises(DatabaseError, match="match_ends_once"), transaction.atomic():
            moved.update(status=after)


def a_busy_campaign() -> tuple[Campaign, Match, Match]:
    """Return a campaign with entries of every kind, a match that stands and one that was refunded."""
    campaign = make_campaign(hold_seconds=0, tiers=[(0, 100), (120, 50)])
    posts = [*masked_posts(2, region="DE"), *masked_posts(2)]
    first, second = give(posts[0], NOON).match, give(posts[1], NOON).match
    take(posts[1], NEXT_DAY)
    third = give(posts[2], NOON).match
    donations.settle_due(NEXT_DAY)
    take(posts[2], NEXT_DAY)
    give(posts[3], NEXT_DAY)
    assert first
    assert second
    assert third
    return campaign, first, third


def test_the_proof_of_true_books_adds_them_up() -> None:
    campaign, _, _ = a_busy_campaign()

    found = proof.prove(campaign, NEXT_DAY)

    assert found.problems == []
    assert (found.entries, found.budget_minor) == (9, 100_00)
    assert (found.reserved_minor, found.settled_minor) == (50, 100)
    assert (found.voided_minor, found.refunded_minor) == (50, 50)
    assert donations.audit(campaign).committed_minor == 100


def test_days_are_summed_by_booking_and_what_stands_by_promise() -> None:
    campaign, _, _ = a_busy_campaign()

    days = {
        (row.day.isoformat(), row.region): (
            (row.reserved_minor, row.settled_minor, row.voided_minor, row.refunded_minor),
            (row.reserved_count, row.settled_count, row.voided_count, row.refunded_count),
            row.standing_minor,
        )
        for row in CampaignDay.objects.filter(campaign=campaign)
    }

    assert days == {
        ("2026-11-20", "DE"): ((100, 0, 0, 0), (2, 0, 0, 0), 50),
        ("2026-11-20", ""): ((50, 0, 0, 0), (1, 0, 0, 0), 0),
        ("2026-11-21", "DE"): ((0, 50, 50, 0), (0, 1, 1, 0), 0),
        ("2026-11-21", ""): ((50, 50, 0, 50), (1, 1, 0, 1), 50),
    }


def drop(model: type[Any], **which: Any) -> None:
    trigger = "incentives.LedgerEntry:ledger_is_append_only"
    with pgtrigger.ignore(trigger):
        model.objects.filter(**which).delete()


def edit_entry(which: dict[str, Any], change: dict[str, Any]) -> None:
    with pgtrigger.ignore("incentives.LedgerEntry:ledger_is_append_only"):
        LedgerEntry.objects.filter(**which).update(**change)


def edit_match(match: Match, **change: Any) -> None:
    with pgtrigger.ignore("incentives.Match:match_keeps_its_terms", "incentives.Match:match_ends_once"):
        Match.objects.filter(pk=match.pk).update(**change)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda campaign, match: drop(LedgerEntry, campaign=campaign, number=4), "entry 5 follows entry 3"),
        (
            lambda campaign, match: drop(LedgerEntry, campaign=campaign, number=9),
            "the last entry is 8, the campaign says 9",
        ),
        (
            lambda campaign, match: edit_entry({"campaign": campaign, "kind": "funded"}, {"amount_minor": 60}),
            "at entry 3 100 are promised of a budget of 60",
        ),
        (
            lambda campaign, match: Campaign.objects.filter(pk=campaign.pk).update(budget_minor=200_00),
            "the campaign says a budget of 20000, its ledger 10000",
        ),
        (
            lambda campaign, match: Campaign.objects.filter(pk=campaign.pk).update(committed_minor=99),
            "the campaign says 99, its ledger 100",
        ),
        (
            lambda campaign, match: edit_match(match, status="voided"),
            "{match} is voided, its ledger has reserved settled",
        ),
        (lambda campaign, match: drop(LedgerEntry, match=match), "{match} is settled, its ledger has nothing"),
        (
            lambda campaign, match: edit_entry({"match": match, "kind": "settled"}, {"kind": "voided"}),
            "{match} is settled, its ledger has reserved voided",
        ),
        (
            lambda campaign, match: edit_match(match, campaign=make_campaign()),
            "{match} is not of this campaign, its ledger has reserved settled",
        ),
        (lambda campaign, match: edit_match(match, amount_minor=60), "{match} is over 60, its ledger over 50"),
        (
            lambda campaign, match: edit_entry({"match": match, "kind": "settled"}, {"amount_minor": 40}),
            "{match} is over 50, its ledger over 40 to 50",
        ),
        (
            lambda campaign, match: edit_match(match, region="FR"),
            '{match} was reserved on 2026-11-20 in "FR", its ledger says on 2026-11-20 in "DE"',
        ),
        (
            lambda campaign, match: CampaignDay.objects.filter(campaign=campaign, region="DE").update(settled_minor=0),
            'on 2026-11-21 in "DE" the sums are kept as {{0,0,50,0,0,1,1,0,0}}, '
            "the entries give {{0,50,50,0,0,1,1,0,0}}",
        ),
        (
            lambda campaign, match: CampaignDay.objects.filter(campaign=campaign, region="DE").delete(),
            'on 2026-11-20 in "DE" the sums are kept as nothing, the entries give {{100,0,0,0,2,0,0,0,50}}',
        ),
        (
            lambda campaign, match: CampaignDay.objects.create(campaign=campaign, day=date(2020, 1, 1), voided_minor=3),
            'on 2020-01-01 in "" the sums are kept as {{0,0,3,0,0,0,0,0,0}}, the entries give nothing',
        ),
    ],
)
def test_the_proof_finds_books_that_were_tampered_with(harm: Callable[[Campaign, Match], object], told: str) -> None:
    campaign, match, _ = a_busy_campaign()
    assert proof.audit(campaign).problems == ()

    harm(campaign, match)

    assert told.format(match=match.pk) in proof.prove(campaign, NEXT_DAY).problems


def test_every_way_to_harm_shows_some_problems_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, _, _ = a_busy_campaign()
    monkeypatch.setattr(proof, "PROBLEMS_SHOWN", 2)
    drop(LedgerEntry, campaign=campaign)

    problems = proof.audit(campaign).problems

    assert len(problems) == 3
    assert problems[0] == "the last entry is 0, the campaign says 9"
    assert problems[-1].startswith("and ")


def test_a_proof_asks_the_database_once_and_the_nightly_one_covers_every_campaign(
    django_assert_num_queries: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    campaign, _, _ = a_busy_campaign()
    ended = make_campaign(status="ended")
    with django_assert_num_queries(1, connection=connection):
        proof.audit(campaign)
    Campaign.objects.filter(pk=ended.pk).update(budget_minor=1)

    with caplog.at_level(logging.ERROR, logger="incentives.proof"):
        prove_ledgers()

    assert LedgerProof.objects.get(campaign=campaign).problems == []
    assert LedgerProof.objects.get(campaign=ended).problems == ["the campaign says a budget of 1, its ledger 10000"]
    assert [record.getMessage() for record in caplog.records] == [
        f"The books of {ended.pk} are wrong: the campaign says a budget of 1, its ledger 10000."
    ]


def test_a_tier_is_of_its_campaign_alone() -> None:
    first, second = make_campaign(tiers=[(0, 10)]), make_campaign()

    assert [tier.campaign for tier in Tier.objects.all()] == [first]
    assert give(masked_posts(1)[0]).match == first.matches.get()
    assert second.matches.count() == 0


def test_a_proof_anchors_the_books_in_the_audit_log_and_finds_them_written_anew() -> None:
    campaign = make_campaign(budget_minor=5000)
    assert not proof.prove(campaign, NOON).problems
    entry = AuditEntry.objects.latest("number")
    assert (entry.action, entry.object_id, entry.details["entries"]) == ("prove", campaign.pk, 1)
    assert not proof.prove(campaign, NOON).problems

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE incentives_ledgerentry SET reason = 'Another.' WHERE campaign_id = %s", [campaign.pk])
        cursor.execute("SET LOCAL session_replication_role = origin")

    for _ in range(2):
        [problem] = proof.prove(campaign, NEXT_DAY).problems
        assert "are not those of entry" in problem
