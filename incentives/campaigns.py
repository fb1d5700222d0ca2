"""A campaign's life: made, funded, begun, paused, ended; each step holds its row, and no post is matched meanwhile."""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.contrib.auth.models import User
from django.db import transaction

from incentives import ledger, offers
from incentives.causes import Cause
from incentives.ledger import Booking, Kind
from incentives.models import Campaign, LedgerEntry, Tier
from incentives.money import format_money

Status = Campaign.Status


class CampaignError(Exception):
    """Staff asked for what cannot be; `field` is what of the campaign stands in the way, the text is for people."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


def create_campaign(
    campaign: Campaign, user: User | None, now: datetime, *, tiers: Iterable[Tier] = (), reason: str = ""
) -> Campaign:
    """Store a new campaign with its tiers, and book its budget as the first entry."""
    with transaction.atomic():
        campaign.save(force_insert=True)
        for tier in tiers:
            tier.campaign = campaign
            tier.save(force_insert=True)
        budget, campaign.budget_minor = campaign.budget_minor, 0  # what is booked is added to it
        if budget:
            ledger.book(campaign, [Booking(Kind.FUNDED, budget, _by(user, reason))], now)
    return campaign


def set_budget(campaign: Campaign, minor: int, user: User | None, reason: str, now: datetime) -> None:
    """Raise or lower a budget. Raises CampaignError for one below what is promised or paid."""
    with transaction.atomic():
        held = ledger.hold(campaign.pk)
        if minor < held.committed_minor:
            taken = format_money(held.committed_minor, held.currency)
            raise CampaignError("budget_below_committed", "budget_minor", f"{taken} are promised or paid already.")
        change = minor - held.budget_minor
        if change:
            kind = Kind.FUNDED if change > 0 else Kind.REDUCED
            ledger.book(held, [Booking(kind, abs(change), _by(user, reason))], now)
    campaign.refresh_from_db()


def activate(campaign: Campaign, now: datetime) -> None:
    """Begin a draft, or go on with a paused one. Raises CampaignError where neither is possible."""
    with transaction.atomic():
        held = _hold(campaign, {Status.DRAFT, Status.PAUSED}, "begin")
        if held.ends_at is not None and held.ends_at <= now:
            raise CampaignError("campaign_over", "ends_at", "Its window is over: set a later end first.")
        was = held.status
        held.status = Status.ACTIVE
        held.status = offers.status_of(held, now)
        if was == Status.DRAFT and held.status != Status.ACTIVE:
            raise CampaignError("budget_too_small", "budget_minor", "Its budget is too small for a single post.")
        held.save(update_fields=["status"])
    campaign.refresh_from_db()


def pause(campaign: Campaign) -> None:
    """Stop giving for a while; what is promised stays so. Raises CampaignError where it does not run."""
    _move(campaign, {Status.ACTIVE, Status.EXHAUSTED}, Status.PAUSED, "be paused")


def end(campaign: Campaign) -> None:
    """End a campaign for good; what is promised is still settled or voided. Raises CampaignError for an ended one."""
    _move(campaign, set(Status) - {Status.ENDED}, Status.ENDED, "be ended")


def end_due(now: datetime) -> int:
    """End the campaigns whose window is over; return how many."""
    over = Campaign.objects.filter(ends_at__lte=now).exclude(status=Status.ENDED)
    # One by one: no transaction holds two campaigns.
    return sum(over.filter(pk=pk).update(status=Status.ENDED) for pk in list(over.values_list("pk", flat=True)))


def reassess(now: datetime, *, only: Campaign | None = None) -> int:
    """Open or exhaust running campaigns whose amount or tiers were edited, or `only` one; return how many."""
    changed = 0
    running = Campaign.objects.filter(status__in=[Status.ACTIVE, Status.EXHAUSTED])
    running = running if only is None else running.filter(pk=only.pk)
    for campaign in running.prefetch_related("tiers"):
        if offers.status_of(campaign, now) == campaign.status:
            continue
        with transaction.atomic():
            held = ledger.hold(campaign.pk)
            status = offers.status_of(held, now)
            changed += status != held.status
            held.status = status
            held.save(update_fields=["status"])
    return changed


def _move(campaign: Campaign, sources: Collection[str], target: Campaign.Status, verb: str) -> None:
    with transaction.atomic():
        held = _hold(campaign, sources, verb)
        held.status = target
        held.save(update_fields=["status"])
    campaign.refresh_from_db()


def _hold(campaign: Campaign, sources: Collection[str], verb: str) -> Campaign:
    held = ledger.hold(campaign.pk)
    if held.status not in sources:
        raise CampaignError("wrong_status", "status", f"Its status is “{held.get_status_display()}”: it cannot {verb}.")
    return held


def _by(user: User | None, reason: str) -> Cause:
    return Cause(LedgerEntry.Cause.STAFF, str(user.pk) if user else "", "", reason)
