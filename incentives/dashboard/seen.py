"""What was seen: the period, its figures, the funnel, and the mask rates by region and day."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Sum

from incentives.dashboard.charts import Chart, Line
from incentives.models import DailyFigures
from moderation.models import Platform

PERIODS = (7, 30, 90)
#: With fewer posts that show a face for sure, a share says more about chance than about masks.
FEWEST_FOR_A_RATE = 20
_SURE = ("masked", "unmasked", "incorrect", "partly_masked")
_NUMBERS = (*_SURE, "posts", "faces", "uncertain", "no_face", "counted", "badges", "boosts", "matches", "appeals")


@dataclass(frozen=True, slots=True)
class Period:
    """The days that are shown, and of which platform; None: of all."""

    days: int
    last: date
    platform: Platform | None

    @property
    def first(self) -> date:
        """The first day that is shown."""
        return self.last - timedelta(days=self.days - 1)

    @property
    def dates(self) -> list[date]:
        """Every day, the oldest first."""
        return [self.first + timedelta(days=number) for number in range(self.days)]


def read_period(query: Mapping[str, str], now: datetime) -> Period:
    """Return what a query asks for; what it does not know, or wrongly, is the default."""
    asked = query.get("days", "")
    days = int(asked) if asked in map(str, PERIODS) else PERIODS[1]
    slug = query.get("platform", "")
    return Period(days, now.astimezone(UTC).date(), Platform.objects.filter(slug=slug).first() if slug else None)


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of masked posts among those that show a face for sure; None where they are too few."""

    masked: int
    sure: int

    @property
    def share(self) -> float | None:
        """Masked of sure, 0 to 1."""
        return self.masked / self.sure if self.sure >= FEWEST_FOR_A_RATE else None

    @property
    def percent(self) -> str:
        """As people read it."""
        return "too few" if self.share is None else f"{self.share:.0%}"

    @property
    def bare_percent(self) -> str:
        """The same without its sign, for a narrow cell."""
        return "" if self.share is None else f"{100 * self.share:.0f}"

    @property
    def step(self) -> int | None:
        """Which of the ten colours it has."""
        return None if self.share is None else min(9, int(self.share * 10))


@dataclass(frozen=True, slots=True)
class Figures:
    """The sums of the period and the one before, by day and by region."""

    total: Counter[str]
    before: Counter[str]
    by_day: Mapping[date, Counter[str]]
    by_region: Mapping[str, Counter[str]]
    by_place: Mapping[tuple[str, date], Counter[str]]


def read_figures(period: Period) -> Figures:
    """Read the daily figures of a period and of the same time before it, in one query."""
    rows = DailyFigures.objects.filter(day__gt=period.first - timedelta(days=period.days + 1), day__lte=period.last)
    if period.platform is not None:
        rows = rows.filter(platform=period.platform)
    columns = {f"sum_{name}": Sum(name) for name in _NUMBERS}
    sums: Iterable[Mapping[str, Any]] = rows.order_by().values("day", "region").annotate(**columns)
    found = Figures(Counter(), Counter(), defaultdict(Counter), defaultdict(Counter), defaultdict(Counter))
    for row in sums:
        numbers = {name: row[f"sum_{name}"] for name in _NUMBERS}
        numbers["sure"] = sum(numbers[name] for name in _SURE)
        numbers["with_face"] = numbers["sure"] + numbers["uncertain"]
        if row["day"] < period.first:
            found.before.update(numbers)
            continue
        region, day = row["region"], row["day"]
        for counter in (found.total, found.by_day[day], found.by_region[region], found.by_place[region, day]):
            counter.update(numbers)
    return found


def rate(numbers: Mapping[str, int]) -> Rate:
    """Return the share of masked posts in some sums."""
    return Rate(numbers["masked"], numbers["sure"])


def funnel(period: Period, figures: Figures) -> list[Chart]:
    """Return what became of the posts of each day: what was seen, and what was given."""
    labels = [f"{day:%d %b}" for day in period.dates]

    def line(name: str, column: str, colour: str) -> Line:
        return Line(name, [figures.by_day[day][column] for day in period.dates], colour)

    seen = (line("posts", "posts", "grey"), line("with a face", "with_face", "blue"), line("masked", "masked", "green"))
    given = (
        line("boosted", "boosts", "orange"),
        line("matched", "matches", "green"),
        line("badges", "badges", "purple"),
    )
    return [
        Chart("funnel-seen", "Posts, faces, masks", labels, seen),
        Chart("funnel-given", "Boosts, money, badges", labels, given),
    ]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the funnel: how many got this far, as a share of the first and of the step before."""

    name: str
    count: int
    of_all: float
    #: Of the step before; None where it does not come out of one.
    of_last: float | None

    @property
    def count_shown(self) -> str:
        """The count as people read it."""
        return f"{self.count:,}"

    @property
    def percent(self) -> str:
        """The share of all, for a bar."""
        return f"{100 * self.of_all:.1f}"

    @property
    def shares(self) -> str:
        """Both shares in words."""
        return f"{self.of_all:.0%} of all" + (
            "" if self.of_last is None else f", {self.of_last:.0%} of the step before"
        )


def stages(figures: Figures) -> list[Stage]:
    """Return the funnel of the whole period."""
    one_of_another = (("posts", "posts"), ("with a face", "with_face"), ("masked", "masked"), ("counted", "counted"))
    # What a post that counts is given; both may be given, and a post that was paid for may be withdrawn.
    side_by_side = (("boosted", "boosts"), ("matched with money", "matches"))
    found: list[Stage] = []
    last, posts = 0, figures.total["posts"]
    for name, column in (*one_of_another, *side_by_side):
        count = figures.total[column]
        of_last = count / last if last and (name, column) in one_of_another else None
        found.append(Stage(name, count, count / posts if posts else 0.0, of_last))
        last = count
    return found


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A region's rates over time."""

    region: str
    total: Rate
    cells: Sequence[Rate]


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A region, how much it posts, and its rate."""

    region: str
    posts: str
    rate: Rate

    @property
    def width(self) -> str:
        """The share for a bar."""
        return f"{100 * (self.rate.share or 0):.1f}"


def regions(figures: Figures) -> list[RegionRow]:
    """Return every region, the highest share first and those with too few posts last."""
    rows = [
        RegionRow(region or "unknown", f"{sums['posts']:,}", rate(sums)) for region, sums in figures.by_region.items()
    ]
    return sorted(rows, key=lambda row: (-1 if row.rate.share is None else row.rate.share, row.rate.sure), reverse=True)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Rates by region and time; a span is named by the day and month of its beginning."""

    spans: Sequence[tuple[str, str]]
    rows: Sequence[HeatRow]


def heat_map(period: Period, figures: Figures) -> HeatMap:
    """Return the mask rates of each region by day; of 90 days, by week."""
    length = 7 if period.days > PERIODS[1] else 1
    groups = [period.dates[start : start + length] for start in range(0, period.days, length)]

    def row(region: str) -> HeatRow:
        sums = [sum((figures.by_place.get((region, day), Counter()) for day in days), Counter()) for days in groups]
        return HeatRow(region or "unknown", rate(figures.by_region[region]), [rate(numbers) for numbers in sums])

    busiest = sorted(figures.by_region, key=lambda region: (-figures.by_region[region]["sure"], region))
    return HeatMap([(str(days[0].day), f"{days[0]:%b}") for days in groups], [row(region) for region in busiest])
