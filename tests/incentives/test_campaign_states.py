"""A campaign is made, funded, begun, paused and ended, each step by its rules."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from incentives import campaigns, donations
from incentives.campaigns import CampaignError
from incentives.models import Campaign, LedgerEntry, Tier
from incentives.tasks import tend_campaigns
from tests.cast import make_reviewer
from tests.incentives.builders import give, make_campaign, make_sponsor, masked_posts

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def status_of(campaign: Campaign) -> str:
    return Campaign.objects.values_list("status", flat=True).get(pk=campaign.pk)


def test_a_campaign_is_made_as_a_draft_whose_budget_is_its_first_entry() -> None:
    manager = make_reviewer("manager")
    new = Campaign(
        sponsor=make_sponsor(), name="New", cause="masks", currency="JPY", budget_minor=5_000, amount_minor=5
    )

    campaign = campaigns.create_campaign(new, manager, NOON, tiers=[Tier(from_minor=10, percent=50)], reason="the fair")

    campaign = Campaign.objects.get(pk=campaign.pk)
    assert (campaign.status, campaign.budget_minor, campaign.last_entry) == ("draft", 5_000, 1)
    assert [(tier.from_minor, tier.percent) for tier in campaign.tiers.all()] == [(10, 50)]
    entry = LedgerEntry.objects.get(campaign=campaign)
    assert (entry.number, entry.kind, entry.amount_minor, entry.match) == (1, "funded", 5_000, None)
    assert (entry.cause, entry.cause_id, entry.reason) == ("staff", str(manager.pk), "the fair")
    assert donations.audit(campaign).problems == ()


def test_a_campaign_without_a_budget_has_empty_books() -> None:
    campaign = make_campaign(budget_minor=0, status="draft")

    assert (campaign.last_entry, LedgerEntry.objects.filter(campaign=campaign).count()) == (0, 0)
    assert donations.audit(campaign).problems == ()


def test_a_budget_is_raised_and_lowered_by_entries_that_say_who_and_why() -> None:
    campaign, manager = make_campaign(budget_minor=1_000), make_reviewer("manager")

    campaigns.set_budget(campaign, 1_500, manager, "A good week.", NOON)
    campaigns.set_budget(campaign, 1_200, manager, "Too good.", NOON)
    campaigns.set_budget(campaign, 1_200, manager, "Nothing to do.", NOON)

    assert campaign.budget_minor == 1_200
    booked = LedgerEntry.objects.filter(campaign=campaign).order_by("number")
    assert list(booked.values_list("number", "kind", "amount_minor", "reason"))[1:] == [
        (2, "funded", 500, "A good week."),
        (3, "reduced", 300, "Too good."),
    ]
    assert {entry.cause_id for entry in booked[1:]} == {str(manager.pk)}
    assert donations.audit(campaign).problems == ()


def test_a_budget_is_not_set_below_what_is_promised_or_paid() -> None:
    campaign = make_campaign()
    for post in masked_posts(3):
        give(post)

    with pytest.raises(CampaignError, match=r"1\.50 EUR are promised or paid already") as refused:
        campaigns.set_budget(campaign, 149, None, "", NOON)

    assert (refused.value.code, refused.value.field) == ("budget_below_committed", "budget_minor")
    campaigns.set_budget(campaign, 150, None, "", NOON)
    assert status_of(campaign) == "exhausted"
    assert donations.audit(campaign).problems == ()


def test_a_negative_budget_is_refused_and_names_the_field() -> None:
    campaign = make_campaign()

    with pytest.raises(CampaignError) as refused:
        campaigns.set_budget(campaign, -1, None, "", NOON)

    assert refused.value.field == "budget_minor"


def test_a_raised_budget_reopens_an_exhausted_campaign_inside_its_window_alone() -> None:
    open_, over = make_campaign(budget_minor=49), make_campaign(budget_minor=49)
    Campaign.objects.filter(pk=over.pk).update(ends_at=NOON)
    assert status_of(open_) == status_of(over) == "exhausted"

    for campaign in (open_, over):
        campaigns.set_budget(campaign, 50, None, "", NOON)

    assert (status_of(open_), status_of(over)) == ("active", "exhausted")


STEPS: dict[str, Callable[[Campaign], None]] = {
    "activate": lambda campaign: campaigns.activate(campaign, NOON),
    "pause": campaigns.pause,
    "end": campaigns.end,
}


@pytest.mark.parametrize(
    ("before", "step", "after"),
    [
        ("draft", "activate", "active"),
        ("draft", "pause", None),
        ("draft", "end", "ended"),
        ("active", "activate", None),
        ("active", "pause", "paused"),
        ("active", "end", "ended"),
        ("paused", "activate", "active"),
        ("paused", "pause", None),
        ("paused", "end", "ended"),
        ("exhausted", "activate", None),
        ("exhausted", "pause", "paused"),
        ("exhausted", "end", "ended"),
        ("ended", "activate", None),
        ("ended", "pause", None),
        ("ended", "end", None),
    ],
)
def test_each_step_leads_where_it_should_or_says_why_it_does_not(before: str, step: str, after: str | None) -> None:
    campaign = make_campaign(status=before, budget_minor=49 if before == "exhausted" else 500)

    if after is not None:
        STEPS[step](campaign)
    else:
        with pytest.raises(CampaignError, match="it cannot") as refused:
            STEPS[step](campaign)
        assert (refused.value.code, refused.value.field) == ("wrong_status", "status")

    assert campaign.status == status_of(campaign) == (after or before)


def test_a_step_looks_at_the_row_and_not_at_what_somebody_read_before() -> None:
    campaign = make_campaign(status="draft")
    stale = Campaign.objects.get(pk=campaign.pk)
    campaigns.end(campaign)

    with pytest.raises(CampaignError):
        campaigns.activate(stale, NOON)

    assert status_of(campaign) == "ended"


def test_a_campaign_that_cannot_give_once_is_not_begun_and_goes_on_as_exhausted() -> None:
    draft, paused = make_campaign(status="draft", budget_minor=49), make_campaign(status="paused", budget_minor=49)

    with pytest.raises(CampaignError) as refused:
        campaigns.activate(draft, NOON)
    campaigns.activate(paused, NOON)

    assert (refused.value.code, refused.value.field) == ("budget_too_small", "budget_minor")
    assert (status_of(draft), status_of(paused)) == ("draft", "exhausted")


def test_a_campaign_whose_window_is_over_is_not_begun() -> None:
    campaign = make_campaign(status="draft", ends_at=NOON)

    with pytest.raises(CampaignError) as refused:
        campaigns.activate(campaign, NOON)

    assert (refused.value.code, refused.value.field) == ("campaign_over", "ends_at")


def test_a_sweep_ends_what_is_over_and_its_matches_still_settle() -> None:
    soon = make_campaign(ends_at=NOON, hold_seconds=3600)
    kept = make_campaign(ends_at=NOON + timedelta(seconds=1))
    drafted = make_campaign(status="draft", ends_at=NOON)
    give(masked_posts(1)[0], NOON - timedelta(minutes=1))

    assert campaigns.end_due(NOON) == 2
    assert campaigns.end_due(NOON) == 0

    assert (status_of(soon), status_of(kept), status_of(drafted)) == ("ended", "active", "ended")
    assert donations.settle_due(NOON + timedelta(hours=1)) == 1
    assert donations.audit(soon).problems == ()


@pytest.mark.parametrize(
    ("fields", "change", "after"),
    [
        ({"budget_minor": 60}, {"amount_minor": 61}, "exhausted"),
        ({"budget_minor": 49}, {"amount_minor": 49}, "active"),
        ({"budget_minor": 60, "status": "paused"}, {"amount_minor": 61}, "paused"),
        ({"budget_minor": 60}, {"amount_minor": 60}, "active"),
    ],
)
def test_a_sweep_follows_an_amount_that_was_edited(fields: dict[str, Any], change: dict[str, Any], after: str) -> None:
    campaign = make_campaign(**fields)
    Campaign.objects.filter(pk=campaign.pk).update(**change)

    tend_campaigns()

    assert status_of(campaign) == after
    assert campaigns.reassess(timezone.now()) == 0


def test_a_page_that_saved_a_campaign_follows_it_alone() -> None:
    saved, other = make_campaign(budget_minor=60), make_campaign(budget_minor=60)
    Campaign.objects.update(amount_minor=61)

    assert campaigns.reassess(timezone.now(), only=saved) == 1

    assert (status_of(saved), status_of(other)) == ("exhausted", "active")


STATUSES = ("draft", "active", "paused", "exhausted", "ended")
LEGAL = {
    *(("draft", after) for after in ("active", "ended")),
    *(("active", after) for after in ("paused", "exhausted", "ended")),
    *(("paused", after) for after in ("active", "exhausted", "ended")),
    *(("exhausted", after) for after in ("active", "paused", "ended")),
}


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_the_database_refuses_a_way_that_no_campaign_goes(before: str, after: str) -> None:
    campaign = make_campaign(status=before, budget_minor=49 if before == "exhausted" else 500)
    moved = Campaign.objects.filter(pk=campaign.pk)
    if before == after or (before, after) in LEGAL:
        assert moved.update(status=after) == 1
    else:
        with pytest.raises(DatabaseError, match="campaign_goes_its_way"), transaction.atomic():
            moved.update(status=after)
