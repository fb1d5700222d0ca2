"""What the dashboard shows: values only, read in a bounded number of queries; templates and a script draw them.

Posts are not counted here: what was is in the daily figures, and what is now has indexes of its own. Each part is read
for those alone who may see its rows elsewhere in the admin.

seen      the period, its figures, the funnel, mask rates by region and day
tiles     the mask rates as a map
given     badges, money, boosts, experiments
charts    what a chart shows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.urls import reverse

from incentives import selectors
from incentives.dashboard import given, seen, tiles
from incentives.dashboard.charts import Chart
from incentives.dashboard.given import BadgeCard, BoostsNow, Burn, Lift
from incentives.dashboard.seen import FEWEST_FOR_A_RATE, PERIODS, HeatMap, Period, RegionRow, Stage, read_period
from incentives.dashboard.tiles import TileMap
from incentives.models import BadgeAward, Boost, Campaign, Flag
from incentives.money import format_money
from moderation.models import Appeal, Platform, Post, Verdict

__all__ = ["FEWEST_FOR_A_RATE", "PERIODS", "Dashboard", "Period", "read", "read_period"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top, and what to make of it."""

    name: str
    value: str
    note: str
    icon: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Everything on the page; what somebody may not see is None or empty."""

    period: Period
    platforms: Sequence[Platform]
    tiles: Sequence[Tile]
    queues: Sequence[Tile]
    funnel: Sequence[Chart]
    stages: Sequence[Stage]
    heat_map: HeatMap | None
    map: TileMap | None
    regions: Sequence[RegionRow]
    badges: Sequence[BadgeCard]
    burns: Sequence[Burn]
    boosts: BoostsNow | None
    lifts: Sequence[Lift]

    @property
    def charts(self) -> list[dict[str, Any]]:
        """What the script draws."""
        burning = [burn.chart for burn in self.burns if burn.chart]
        growing = [badge.chart for badge in self.badges]
        return [chart.data for chart in (*self.funnel, *burning, *growing)]

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing that this person may see."""
        return not (self.tiles or self.queues or self.burns or self.badges or self.lifts)


def read(user: User | AnonymousUser, query: Mapping[str, str], now: datetime) -> Dashboard:
    """Read what a person may see, for the period and platform that the query asks for."""
    period = read_period(query, now)

    def may(name: str) -> bool:
        return user.has_perm(f"incentives.view_{name}")

    figures = seen.read_figures(period) if may("dailyfigures") else None
    campaigns = selectors.campaigns_visible_to(user) if may("campaign") else Campaign.objects.none()
    if period.platform is not None:
        campaigns = campaigns.filter(platform__in=[period.platform.pk]) | campaigns.filter(platform=None)
    boosts = given.boosts_now(period, now) if may("boost") else None
    badges = given.badge_cards(period) if may("badgerule") and may("badgeaward") else []
    return Dashboard(
        period=period,
        platforms=list(Platform.objects.all()) if figures else [],
        tiles=[
            *(_seen_tiles(figures) if figures else ()),
            *(_held_tiles(badges) if badges else ()),
            *(_boost_tiles(boosts) if boosts else ()),
            *_money_tiles(campaigns),
        ],
        queues=_queues(user),
        funnel=seen.funnel(period, figures) if figures else [],
        stages=seen.stages(figures) if figures else [],
        heat_map=seen.heat_map(period, figures) if figures else None,
        map=tiles.tile_map(figures) if figures else None,
        regions=seen.regions(figures) if figures else [],
        badges=badges,
        burns=given.burns(campaigns, period.last),
        boosts=boosts,
        lifts=given.lifts(period) if may("experiment") else [],
    )


def _seen_tiles(figures: seen.Figures) -> list[Tile]:
    now, before = seen.rate(figures.total), seen.rate(figures.before)
    posts = figures.total["posts"]
    points = "nothing before to compare with"
    if now.share is not None and before.share is not None:
        points = f"{100 * (now.share - before.share):+.1f} points against the period before"
    url = reverse("admin:moderation_post_changelist")
    return [
        Tile("Posts", f"{posts:,}", _change(posts, figures.before["posts"]), "photo_library", url),
        Tile("Share masked", now.percent, points, "masks", f"{url}?outcome=masked"),
    ]


def _change(now: int, before: int) -> str:
    return f"{now / before - 1:+.0%} against the period before" if before else "nothing before to compare with"


def _held_tiles(badges: Sequence[BadgeCard]) -> list[Tile]:
    held = sum(badge.holders for badge in badges)
    return [
        Tile("Badges held", f"{held:,}", "by all authors, at this moment", "military_tech", _changelist(BadgeAward))
    ]


def _boost_tiles(boosts: BoostsNow) -> list[Tile]:
    note = "boosts are switched off" if boosts.is_off else "at this moment"
    return [Tile("Boosts live", f"{boosts.count:,}", note, "trending_up", _changelist(Boost))]


def _money_tiles(campaigns: QuerySet[Campaign]) -> list[Tile]:
    url = reverse("admin:incentives_campaign_changelist")
    return [
        Tile(
            f"Money given, {currency}",
            format_money(paid, currency),
            f"{format_money(left, currency)} left in campaigns that run",
            "volunteer_activism",
            url,
        )
        for currency, paid, left in given.total_money(campaigns)
    ]


def _queues(user: User | AnonymousUser) -> list[Tile]:
    found = []
    if user.has_perm("moderation.view_post"):
        uncertain = Post.objects.filter(outcome=Verdict.Outcome.UNCERTAIN, status=Post.Status.ANALYZED).count()
        url = f"{reverse('admin:moderation_post_changelist')}?outcome=uncertain"
        found.append(Tile("Uncertain posts", f"{uncertain:,}", "wait for a reviewer", "help", url))
    if user.has_perm("moderation.view_appeal"):
        appeals = Appeal.objects.filter(status=Appeal.Status.OPEN).count()
        found.append(Tile("Open appeals", f"{appeals:,}", "wait for an answer", "gavel", _changelist(Appeal, "open")))
    if user.has_perm("incentives.view_flag"):
        flags = Flag.objects.filter(status=Flag.Status.OPEN).count()
        found.append(Tile("Open flags", f"{flags:,}", "look like farming", "flag", _changelist(Flag, "open")))
    return found


def _changelist(model: Any, status: str = "") -> str:
    """Return the address of a model's list; none where it has no page."""
    if not admin.site.is_registered(model):
        return ""
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{url}?status__exact={status}" if status else url
