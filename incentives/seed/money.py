"""The money of the seed: three campaigns, played through in the order of time by the rules of `offers`."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zlib import crc32
from zoneinfo import ZoneInfo

from ulid import ULID

from incentives import offers
from incentives.models import Campaign, LedgerEntry, Match, RewardApplication
from incentives.seed.places import ASIA, EUROPE

Reason = RewardApplication.Reason
Kind = LedgerEntry.Kind
Cause = LedgerEntry.Cause
_GIVEN_BACK = {Kind.VOIDED: Match.Status.VOIDED, Kind.REFUNDED: Match.Status.REFUNDED}


class Earned(NamedTuple):
    """A post that counts, from `at` on; lost again at `lost_at`, by a verdict or (None) by its withdrawal."""

    post_id: str
    author_id: int
    region: str
    at: datetime
    verdict_id: str
    lost_at: datetime | None
    lost_by: str | None


@dataclass(slots=True)
class Given:
    """A match as it stands."""

    id: str
    earned: Earned
    amount: int
    day: date
    settle_at: datetime
    status: str = Match.Status.RESERVED


class Booked(NamedTuple):
    """An entry of the ledger."""

    campaign: "Fund"
    number: int
    match: Given | None
    kind: str
    amount: int
    day: date
    cause: str
    cause_id: str
    causation_id: str
    at: datetime


@dataclass(slots=True)
class Fund:
    """A campaign and what became of its money so far; `tiers` are (from, percent), the lowest first."""

    row: Campaign
    tiers: Sequence[tuple[int, int]] = ()
    committed: int = 0
    numbers: int = 0
    today: Counter[tuple[int, date]] = field(default_factory=Counter)

    def day(self, at: datetime) -> date:
        """Return the campaign's day."""
        return at.astimezone(ZoneInfo(self.row.time_zone)).date()

    def next_amount(self) -> int:
        """Return what the next post is given; offers.next_amount without a query."""
        percent = next((share for start, share in reversed(self.tiers) if start <= self.committed), 100)
        return max(1, self.row.amount_minor * percent // 100)

    def refusal(self, earned: Earned, day: date) -> RewardApplication.Reason | None:
        """Say why it gives nothing."""
        regions = self.row.regions
        if regions and earned.region.partition("-")[0] not in regions:
            return Reason.NOT_ELIGIBLE
        if self.committed + self.next_amount() > self.row.budget_minor:
            return Reason.BUDGET_SPENT
        cap = self.row.cap_per_author_per_day
        return Reason.AUTHOR_CAP if cap is not None and self.today[earned.author_id, day] >= cap else None

    def runs(self, at: datetime) -> bool:
        """Say whether it gives at a moment."""
        return self.row.starts_at <= at and (self.row.ends_at is None or at < self.row.ends_at)


@dataclass(frozen=True, slots=True)
class Books:
    """What was given, why others were not, and every entry in the order of time."""

    given: Sequence[tuple[Fund, Given]]
    reasons: Sequence[tuple[Earned, str, "Given | None", Fund | None]]
    entries: Sequence[Booked]


def plan(now: datetime, starts: datetime, posts: int) -> list[tuple[Campaign, Sequence[tuple[int, int]], str]]:
    """Return the campaigns, their tiers and sponsors; the budgets fit the number of posts."""
    length = now - starts
    # About this much is matched in all at an amount of 50.
    expected = round(posts * 0.36) * 50
    clinics = Campaign(
        name="Masks for city clinics",
        cause="Surgical masks for out-patient clinics",
        currency="EUR",
        priority=10,
        amount_minor=50,
        budget_minor=max(5_000, expected * 22 // 100),
        regions=list(EUROPE),
        time_zone="Europe/Berlin",
        starts_at=starts,
        cap_per_author_per_day=5,
    )
    schools = Campaign(
        name="A mask for every desk",
        cause="Children's masks for schools",
        currency="JPY",
        priority=20,
        amount_minor=60,
        budget_minor=max(8_000, expected * 36 // 100),
        regions=list(ASIA),
        time_zone="Asia/Tokyo",
        starts_at=starts + length / 3,
        ends_at=now + timedelta(days=40),
    )
    open_fund = Campaign(
        name="The open mask fund",
        cause="Masks for health workers, wherever they are short",
        currency="USD",
        priority=50,
        amount_minor=40,
        budget_minor=max(9_000, expected * 62 // 100),
        starts_at=starts + length / 18,
        ends_at=now + timedelta(days=60),
        cap_per_author_per_day=3,
    )
    tiers = [(0, 100), (clinics.budget_minor * 6 // 10, 50)]
    return [(clinics, tiers, "Harbour Bank"), (schools, (), "Kite Textiles"), (open_fund, (), "Northlight Foundation")]


def play(funds: Sequence[Fund], earned: Iterable[Earned], now: datetime, user_id: int) -> Books:
    """Give the money to the posts in the order in which they earned it; take back and settle what is due meanwhile."""
    given: list[tuple[Fund, Given]] = []
    reasons: list[tuple[Earned, str, Given | None, Fund | None]] = []
    entries = [_fund(fund, user_id) for fund in funds]
    due: list[tuple[datetime, int, Fund, Given]] = []
    for post in earned:
        entries += _until(due, post.at)
        match, fund, reason = None, None, Reason.MATCHED
        refusals = []
        for candidate in funds:
            if not candidate.runs(post.at):
                continue
            day = candidate.day(post.at)
            if refused := candidate.refusal(post, day):
                refusals.append(refused)
                continue
            match, fund = _give(candidate, post, day, len(given)), candidate
            given.append((candidate, match))
            entries.append(_book(candidate, match, Kind.RESERVED, post.at, Cause.VERDICT, post.verdict_id))
            for when in filter(None, (match.settle_at, post.lost_at)):
                heapq.heappush(due, (when, len(given) * 2 + (when == post.lost_at), candidate, match))
            break
        else:
            reason = offers.most_telling(refusals)
        reasons.append((post, reason, match, fund))
    entries += _until(due, now)
    return Books(given, reasons, entries)


def _fund(fund: Fund, user_id: int) -> Booked:
    fund.numbers = 1
    at, user = fund.row.starts_at, str(user_id)
    return Booked(fund, 1, None, Kind.FUNDED, fund.row.budget_minor, fund.day(at), Cause.STAFF, user, user, at)


def _give(fund: Fund, post: Earned, day: date, number: int) -> Given:
    amount = fund.next_amount()
    fund.committed += amount
    fund.today[post.author_id, day] += 1
    moment = int(post.at.timestamp() * 1000).to_bytes(6)
    match_id = f"mat_{ULID.from_bytes(moment + crc32(post.post_id.encode()).to_bytes(4) + number.to_bytes(6))}".lower()
    return Given(match_id, post, amount, day, post.at + timedelta(seconds=fund.row.hold_seconds))


def _until(due: list[tuple[datetime, int, Fund, Given]], at: datetime) -> Iterator[Booked]:
    """Settle, or take back, what is due by a moment."""
    while due and due[0][0] < at:
        when, _, fund, match = heapq.heappop(due)
        if when == match.earned.lost_at:
            withdrawn = match.earned.lost_by is None
            if match.status == Match.Status.SETTLED and withdrawn:
                continue  # it stood for as long as it could be appealed against
            kind = Kind.VOIDED if match.status == Match.Status.RESERVED else Kind.REFUNDED
            match.status = _GIVEN_BACK[kind]
            fund.committed -= match.amount
            fund.today[match.earned.author_id, match.day] -= 1
            cause = Cause.WITHDRAWAL if withdrawn else Cause.VERDICT
            yield _book(fund, match, kind, when, cause, match.earned.lost_by or match.earned.post_id)
        elif match.status == Match.Status.RESERVED:
            match.status = Match.Status.SETTLED
            yield _book(fund, match, Kind.SETTLED, when, Cause.WINDOW_OVER, match.id)


def _book(fund: Fund, match: Given, kind: str, at: datetime, cause: str, cause_id: str) -> Booked:
    fund.numbers += 1
    return Booked(fund, fund.numbers, match, kind, match.amount, fund.day(at), cause, cause_id, cause_id, at)


def match_rows(books: Books) -> Iterator[tuple[Any, ...]]:
    """Return the rows of the matches, in the order of MATCH_COLUMNS."""
    for fund, match in books.given:
        post = match.earned
        yield (
            *(match.id, fund.row.pk, post.post_id, post.author_id, post.verdict_id, match.amount, match.status),
            *(match.day, post.region, post.at, match.settle_at),
        )


MATCH_COLUMNS = (
    "id, campaign_id, post_id, author_id, verdict_id, amount_minor, status, day, region, created_at, settle_at"
)
ENTRY_COLUMNS = (
    "campaign_id, number, match_id, kind, amount_minor, day, region, cause, cause_id, causation_id, reason, created_at"
)


def entry_rows(books: Books) -> Iterator[tuple[Any, ...]]:
    """Return the rows of the ledger, in the order of ENTRY_COLUMNS."""
    for entry in books.entries:
        match = entry.match
        yield (
            *(entry.campaign.row.pk, entry.number, match.id if match else None, entry.kind, entry.amount, entry.day),
            *(match.earned.region if match else "", entry.cause, entry.cause_id, entry.causation_id),
            *("" if match else "The sponsor's promise.", entry.at),
        )
