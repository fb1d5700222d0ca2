"""What was given: badges, money, boosts, and what the experiments say of them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, FloatField, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Extract, Power, TruncDate

from incentives.boosts import factor_at
from incentives.dashboard.charts import Chart, Line
from incentives.dashboard.seen import Period
from incentives.experiments import report, tally
from incentives.models import BadgeAward, BadgeRule, Boost, BoostPolicy, Campaign, CampaignDay, Experiment
from incentives.money import decimals, format_money

STRONGEST = 10
#: How far back the speed of a campaign is measured, and how many campaigns are shown.
SPEED_DAYS = 14
CAMPAIGNS_SHOWN = 6
EXPERIMENTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BadgeCard:
    """A badge, who holds it, and how many gained it lately."""

    code: str
    title: str
    is_active: bool
    holders: int
    gained: int
    chart: Chart

    @property
    def holders_shown(self) -> str:
        """The number as people read it."""
        return f"{self.holders:,}"

    @property
    def gained_shown(self) -> str:
        """The number as people read it."""
        return f"{self.gained:,}"


def badge_cards(period: Period) -> list[BadgeCard]:
    """Return every badge with its holders, and its growth by day."""
    awards = BadgeAward.objects.order_by()
    if period.platform is not None:
        awards = awards.filter(author__platform=period.platform)
    holders = dict(awards.filter(status=BadgeAward.Status.ACTIVE).values_list("rule").annotate(n=Count("pk")))
    begins = datetime.combine(period.first, time(), UTC)
    lately = awards.filter(awarded_at__gte=begins).exclude(status=BadgeAward.Status.REVOKED)
    by_day: dict[str, Counter[date]] = defaultdict(Counter)
    for rule, day, count in lately.values_list("rule", TruncDate("awarded_at", tzinfo=UTC)).annotate(n=Count("pk")):
        by_day[rule][day] = count
    labels = [f"{day:%d %b}" for day in period.dates]

    def card(rule: BadgeRule) -> BadgeCard:
        growth = [by_day[rule.code][day] for day in period.dates]
        chart = Chart(f"badge-{rule.code}", f"New holders of {rule.title}", labels, [Line("gained", growth, "purple")])
        gained = sum(growth)
        return BadgeCard(rule.code, rule.title, rule.is_active, holders.get(rule.code, 0), gained, chart)

    return [card(rule) for rule in BadgeRule.objects.all()]


@dataclass(frozen=True, slots=True)
class Burn:
    """A campaign: where its budget went, and when it will be spent at the speed of late."""

    campaign: Campaign
    settled: str
    reserved: str
    left: str
    budget: str
    settled_percent: float
    reserved_percent: float
    outlook: str
    chart: Chart | None

    @property
    def settled_width(self) -> str:
        """For the bar."""
        return f"{self.settled_percent:.2f}"

    @property
    def reserved_width(self) -> str:
        """For the bar."""
        return f"{self.reserved_percent:.2f}"


def burns(campaigns: QuerySet[Campaign], today: date) -> list[Burn]:
    """Return the campaigns that run or ran lately, those that give first, with what is left of each by day."""
    running = ("active", "paused", "exhausted")
    chosen = campaigns.exclude(status=Campaign.Status.DRAFT).select_related("sponsor")
    sums = chosen.annotate(
        settled_sum=Coalesce(Sum("days__settled_minor"), 0), refunded_sum=Coalesce(Sum("days__refunded_minor"), 0)
    )
    found = sorted(sums.order_by("-pk")[: 4 * CAMPAIGNS_SHOWN], key=lambda row: row.status not in running)
    shown = found[:CAMPAIGNS_SHOWN]
    standing: dict[str, Counter[date]] = defaultdict(Counter)
    days = CampaignDay.objects.filter(campaign__in=shown).order_by()
    for campaign_id, day, minor in days.values_list("campaign", "day").annotate(n=Sum("standing_minor")):
        standing[campaign_id][day] = minor
    return [_burn(campaign, standing[campaign.pk], today) for campaign in shown]


def _burn(campaign: Any, standing: Counter[date], today: date) -> Burn:
    settled = campaign.settled_sum - campaign.refunded_sum
    left, budget = campaign.budget_minor - campaign.committed_minor, campaign.budget_minor or 1
    reserved = campaign.committed_minor - settled
    lately = sum(minor for day, minor in standing.items() if today - timedelta(days=SPEED_DAYS) < day <= today)
    speed = lately / SPEED_DAYS
    return Burn(
        campaign=campaign,
        settled=format_money(settled, campaign.currency),
        reserved=format_money(reserved, campaign.currency),
        left=format_money(left, campaign.currency),
        budget=format_money(campaign.budget_minor, campaign.currency),
        settled_percent=100 * settled / budget,
        reserved_percent=100 * reserved / budget,
        outlook=_outlook(campaign, left, speed, today),
        chart=_burn_down(campaign, standing, speed, today) if standing else None,
    )


def _outlook(campaign: Campaign, left: int, speed: float, today: date) -> str:
    if campaign.status != Campaign.Status.ACTIVE:
        return campaign.get_status_display()
    if speed <= 0:
        return "nothing given lately"
    spent_on = today + timedelta(days=min(left / speed, 36_500))
    ends_on = campaign.ends_at.date() if campaign.ends_at else None
    if ends_on and spent_on > ends_on:
        share = 100 * (left - speed * (ends_on - today).days) / (campaign.budget_minor or 1)
        return f"ends on {ends_on:%d %b %Y}, with about {max(0.0, share):.0f} % of the budget left"
    return f"spent by about {spent_on:%d %b %Y}"


def _burn_down(campaign: Campaign, standing: Counter[date], speed: float, today: date) -> Chart:
    first = min(standing)
    days = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    scale = 10 ** decimals(campaign.currency)
    given = list(accumulate(standing[day] for day in days))
    left: list[float | None] = [round((campaign.budget_minor - minor) / scale, 2) for minor in given]
    ahead: list[float | None] = []
    if campaign.status == Campaign.Status.ACTIVE and speed > 0:
        remaining = campaign.budget_minor - campaign.committed_minor
        for number in range(1, max(7, len(days) // 3) + 1):
            ahead.append(round(max(0.0, remaining - speed * number) / scale, 2))
    labels = [f"{day:%d %b}" for day in (*days, *(today + timedelta(days=number + 1) for number in range(len(ahead))))]
    lines = [Line("left", [*left, *[None] * len(ahead)], "green")]
    if ahead:
        lines.append(Line("projected", [*[None] * (len(left) - 1), left[-1], *ahead], "grey", dashed=True))
    return Chart(f"burn-{campaign.pk}", f"What is left of {campaign.name}", labels, lines, unit=campaign.currency)


@dataclass(frozen=True, slots=True)
class StrongBoost:
    """A boost of this moment."""

    post_id: str
    factor_now: float
    factor: float
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class BoostsNow:
    """How many boosts there are at this moment, and the strongest of them."""

    count: int
    strongest: Sequence[StrongBoost]
    is_off: bool

    @property
    def count_shown(self) -> str:
        """The number as people read it."""
        return f"{self.count:,}"


def boosts_now(period: Period, now: datetime) -> BoostsNow:
    """Return the boosts of this moment."""
    live = Boost.objects.filter(revoked_at=None, ends_at__gt=now, starts_at__lte=now)
    if period.platform is not None:
        live = live.filter(post__platform=period.platform)
    age = Extract(ExpressionWrapper(Value(now) - F("starts_at"), output_field=DurationField()), "epoch")
    halves = Power(Value(0.5), age / F("half_life_seconds"), output_field=FloatField())
    strongest = live.annotate(excess=(F("factor") - 1) * halves).order_by("-excess", "pk")[:STRONGEST]
    everybody = BoostPolicy.objects.filter(platform=None).values_list("is_enabled", flat=True).first()
    return BoostsNow(
        live.count(),
        [StrongBoost(boost.post_id, factor_at(boost, now), boost.factor, boost.ends_at) for boost in strongest],
        everybody is False,
    )


@dataclass(frozen=True, slots=True)
class Lift:
    """What an experiment says: the report is None until its record was added up."""

    experiment: Experiment
    report: report.Report | None
    added_up_at: datetime | None

    @property
    def arrow(self) -> dict[str, float] | None:
        """Where zero, the value and the ends of its interval are, in percent of the width of a drawing."""
        lift = self.report.relative_lift if self.report else None
        if lift is None:
            return None
        low, high = min(0.0, lift.low), max(0.0, lift.high)
        margin = 0.08 * (high - low)
        places = {"zero": 0.0, "low": lift.low, "value": lift.value, "high": lift.high}
        found = {name: 100 * (at - low + margin) / (high - low + 2 * margin) for name, at in places.items()}
        return found | {"width": found["high"] - found["low"]}

    @property
    def text(self) -> str:
        """The lift with its interval."""
        lift = self.report.relative_lift if self.report else None
        return f"{lift.value:+.1%} ({lift.low:+.1%} to {lift.high:+.1%})" if lift else ""

    @property
    def authors(self) -> str:
        """How many take part."""
        if self.report is None:
            return ""
        ratio = self.report.sample_ratio
        return f"{ratio.treatment:,} authors with, {ratio.holdout:,} without."


def lifts(period: Period) -> list[Lift]:
    """Return the newest experiments, with what they say of what was last added up."""
    chosen = Experiment.objects.exclude(status=Experiment.Status.DRAFT).select_related("sums").order_by("-starts_at")
    if period.platform is not None:
        chosen = chosen.filter(Q(platform=period.platform) | Q(platform=None))
    return [_lift(experiment) for experiment in chosen[:EXPERIMENTS_SHOWN]]


def _lift(experiment: Experiment) -> Lift:
    sums = getattr(experiment, "sums", None)
    if sums is None:
        return Lift(experiment, None, None)
    return Lift(experiment, report.report(experiment, tally.from_json(sums.data)), sums.added_up_at)


def total_money(campaigns: QuerySet[Campaign]) -> list[tuple[str, int, int]]:
    """Return, for each currency, what is promised or paid and what is left of the campaigns that are not over."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for campaign in campaigns:
        sums[campaign.currency]["given"] += campaign.committed_minor
        if campaign.status in (Campaign.Status.ACTIVE, Campaign.Status.PAUSED):
            sums[campaign.currency]["left"] += campaign.budget_minor - campaign.committed_minor
    return [(currency, numbers["given"], numbers["left"]) for currency, numbers in sorted(sums.items())]
