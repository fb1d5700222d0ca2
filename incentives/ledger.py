"""The books: money is promised, paid and given back by an entry here, and in no other way.

Whoever books holds the campaign's row. So its entries are numbered without a gap, and what is derived from them (what
it has committed, whether its budget is spent, the sums of its days) changes with them or not at all.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import F

from incentives import offers
from incentives.causes import Cause
from incentives.models import Campaign, CampaignDay, LedgerEntry, Match
from moderation.time_zones import day_in

Kind = LedgerEntry.Kind
_BUDGET = {Kind.FUNDED: 1, Kind.REDUCED: -1}
_COMMITTED = {Kind.RESERVED: 1, Kind.VOIDED: -1, Kind.REFUNDED: -1}


@dataclass(frozen=True, slots=True)
class Booking:
    """A step to be booked; of a match, or of the budget where there is none."""

    kind: LedgerEntry.Kind
    amount_minor: int
    cause: Cause
    match: Match | None = None


def hold(campaign_id: str) -> Campaign:
    """Return a campaign as it is now, and hold its row until the transaction or the savepoint ends."""
    rows = Campaign.objects.select_for_update(no_key=True, of=("self",)).select_related("sponsor")
    return rows.prefetch_related("tiers").get(pk=campaign_id)


def book(held: Campaign, bookings: Sequence[Booking], now: datetime) -> None:
    """Write entries and what follows from them; the caller holds the campaign."""
    day = day_in(now, held.time_zone)
    entries = [_entry(held, number, booking, day, now) for number, booking in enumerate(bookings, held.last_entry + 1)]
    held.last_entry += len(entries)
    held.budget_minor += sum(_BUDGET.get(booking.kind, 0) * booking.amount_minor for booking in bookings)
    held.committed_minor += sum(_COMMITTED.get(booking.kind, 0) * booking.amount_minor for booking in bookings)
    held.status = offers.status_of(held, now)
    held.save(update_fields=["last_entry", "budget_minor", "committed_minor", "status"])
    LedgerEntry.objects.bulk_create(entries)
    _add_up(held, bookings, day)


def _entry(held: Campaign, number: int, booking: Booking, day: date, now: datetime) -> LedgerEntry:
    return LedgerEntry(
        campaign=held,
        number=number,
        match=booking.match,
        kind=booking.kind,
        amount_minor=booking.amount_minor,
        day=day,
        region=booking.match.region if booking.match else "",
        cause=booking.cause.kind,
        cause_id=booking.cause.id,
        causation_id=booking.cause.causation_id,
        reason="" if booking.match else booking.cause.reason,
        created_at=now,
    )


def _add_up(held: Campaign, bookings: Sequence[Booking], day: date) -> None:
    """Carry bookings of matches over to the sums of the days: of the booking, and of the promise that it changes."""
    sums: defaultdict[tuple[date, str], Counter[str]] = defaultdict(Counter)
    for booking in bookings:
        if booking.match is None:
            continue
        region = booking.match.region
        sums[day, region][f"{booking.kind}_minor"] += booking.amount_minor
        sums[day, region][f"{booking.kind}_count"] += 1
        sums[booking.match.day, region]["standing_minor"] += _COMMITTED.get(booking.kind, 0) * booking.amount_minor
    for (of, region), columns in sums.items():
        row = CampaignDay.objects.filter(campaign=held, day=of, region=region)
        if not row.update(**{name: F(name) + value for name, value in columns.items()}):
            CampaignDay.objects.create(campaign=held, day=of, region=region, **columns)
