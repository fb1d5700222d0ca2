"""A sponsor's statement: what became of its money by day and region, each row leading to the next to the cent."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Case, F, IntegerField, QuerySet, Sum, Value, When

from incentives.models import Campaign, CampaignDay, LedgerEntry
from incentives.money import decimals

_MONEY = ("budget_minor", "reserved_minor", "settled_minor", "voided_minor", "refunded_minor", "remaining_minor")


@dataclass(frozen=True, slots=True)
class Sums:
    """Money in minor units and posts; `budget_minor` is what the budget was raised by, less what it was lowered by."""

    budget_minor: int = 0
    reserved_minor: int = 0
    settled_minor: int = 0
    voided_minor: int = 0
    refunded_minor: int = 0
    reserved_posts: int = 0
    settled_posts: int = 0
    voided_posts: int = 0
    refunded_posts: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        """Add up, figure by figure."""
        return Sums(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Sums)))

    @property
    def freed_minor(self) -> int:
        """What the remaining budget grows by; less than nothing where it shrinks."""
        return self.budget_minor - self.reserved_minor + self.voided_minor + self.refunded_minor


@dataclass(frozen=True, slots=True)
class Line:
    """What was booked on a day of the campaign's for a region, and what remained of the budget after it."""

    day: date
    # Empty: posts without a region, or the budget itself.
    region: str
    sums: Sums
    remaining_minor: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A campaign's money over some days; opening + what the lines free = closing."""

    campaign: Campaign
    first: date | None
    last: date | None
    opening_minor: int
    lines: Sequence[Line]
    totals: Sums
    closing_minor: int

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the lines as flat rows in minor units."""
        for line in self.lines:
            row = {"day": line.day.isoformat(), "region": line.region}
            yield row | asdict(line.sums) | {"remaining_minor": line.remaining_minor}

    def body(self) -> dict[str, Any]:
        """Return the statement as JSON; every amount is in minor units."""
        return {
            "campaign": {
                "id": self.campaign.pk,
                "name": self.campaign.name,
                "sponsor": self.campaign.sponsor.name,
                "currency": self.campaign.currency,
                "time_zone": self.campaign.time_zone,
                "status": self.campaign.status,
            },
            "first_day": self.first and self.first.isoformat(),
            "last_day": self.last and self.last.isoformat(),
            "opening_minor": self.opening_minor,
            "lines": list(self.rows()),
            "totals": asdict(self.totals),
            "closing_minor": self.closing_minor,
        }

    def csv(self) -> str:
        """Return the statement as CSV (RFC 4180) in whole units of the currency, the balances as rows of their own."""
        names = [name.removesuffix("_minor") for name in _MONEY]
        posts = [field.name for field in fields(Sums) if field.name.endswith("_posts")]
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, ["day", "region", "currency", *names, *posts], restval="")
        writer.writeheader()
        currency = self.campaign.currency
        writer.writerow({"day": "opening", "currency": currency, "remaining": self._written(self.opening_minor)})
        for row in self.rows():
            money = {name: self._written(row[f"{name}_minor"]) for name in names}
            counts = {name: row[name] for name in posts}
            writer.writerow({"day": row["day"], "region": row["region"], "currency": currency} | money | counts)
        totals = asdict(self.totals)
        money = {name: self._written(totals[f"{name}_minor"]) for name in names if name != "remaining"}
        closing = {"day": "total", "currency": currency, "remaining": self._written(self.closing_minor)}
        writer.writerow(closing | money | {name: totals[name] for name in posts})
        return stream.getvalue()

    def _written(self, minor: int) -> str:
        return str(Decimal(minor).scaleb(-decimals(self.campaign.currency)))


def statement(campaign: Campaign, first: date | None = None, last: date | None = None) -> Statement:
    """Return a campaign's statement from one day to another, both included; open ends reach to its first or last."""
    before = _lines(campaign, None, first) if first else []
    opening = sum(sums.freed_minor for *_, sums in before)
    remaining, lines, totals = opening, [], Sums()
    for day, region, sums in _lines(campaign, first, None):
        if last is not None and day > last:
            break
        remaining += sums.freed_minor
        totals += sums
        lines.append(Line(day, region, sums, remaining))
    return Statement(campaign, first, last, opening, lines, totals, remaining)


def _lines(campaign: Campaign, first: date | None, before: date | None) -> list[tuple[date, str, Sums]]:
    """Return what was booked by day and region from `first` on and before `before`, the budget ahead of its day."""
    found: dict[tuple[date, str], Sums] = {}
    for day, change in _within(_budget(campaign), first, before):
        found[day, ""] = Sums(budget_minor=change)
    kept = CampaignDay.objects.filter(campaign=campaign)
    names = ("reserved", "settled", "voided", "refunded")
    columns = [*(f"{name}_minor" for name in names), *(f"{name}_count" for name in names)]
    for day, region, *values in _within(kept.values_list("day", "region", *columns), first, before):
        if any(values):  # of a match that is gone nothing may be left
            found[day, region] = found.get((day, region), Sums()) + Sums(0, *values)
    return [(day, region, found[day, region]) for day, region in sorted(found)]


def _budget(campaign: Campaign) -> QuerySet[LedgerEntry, tuple[date, int]]:
    kinds = LedgerEntry.Kind
    entries = LedgerEntry.objects.filter(campaign=campaign, kind__in=[kinds.FUNDED, kinds.REDUCED])
    sign = Case(When(kind=kinds.FUNDED, then=Value(1)), default=Value(-1), output_field=IntegerField())
    return entries.order_by().values_list("day").annotate(change=Sum(F("amount_minor") * sign))


def _within(rows: QuerySet[Any, Any], first: date | None, before: date | None) -> QuerySet[Any, Any]:
    if first is not None:
        rows = rows.filter(day__gte=first)
    return rows if before is None else rows.filter(day__lt=before)
