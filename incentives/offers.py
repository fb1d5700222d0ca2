"""What a campaign offers a post: whether it is for it, how much, and why not.

Nothing here writes. Asked without the campaign's lock, an answer may be old by the time it is read: a no is as good as
any other, a yes has to be asked for again under the lock.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Count, F, Q, QuerySet, Sum

from incentives.models import Campaign, CampaignDay, Match, RewardApplication
from moderation.models import Post
from moderation.time_zones import day_in

Reason = RewardApplication.Reason
Status = Campaign.Status
# A match that has not been given back: what caps count, and at most one for each post.
STANDING = (Match.Status.RESERVED, Match.Status.SETTLED)
# Of several refusals the author is told the last of these: the one that they could do most about.
_BY_WEIGHT = (
    Reason.NO_CAMPAIGN,
    Reason.NOT_ELIGIBLE,
    Reason.BUDGET_SPENT,
    Reason.DAY_CAP,
    Reason.REGION_CAP,
    Reason.AUTHOR_CAP,
)


def asked(post: Post, now: datetime) -> QuerySet[Campaign]:
    """Return the campaigns that are asked for a post, in their order: its platform's own, by priority, the oldest."""
    open_now = Campaign.objects.filter(
        Q(platform_id=post.platform_id) | Q(platform=None),
        Q(ends_at=None) | Q(ends_at__gt=now),
        status__in=[Status.ACTIVE, Status.EXHAUSTED],
        starts_at__lte=now,
    )
    return open_now.order_by(F("platform_id").asc(nulls_last=True), "priority", "pk").prefetch_related("tiers")


def refusal(campaign: Campaign, post: Post, now: datetime) -> RewardApplication.Reason | None:
    """Say why a campaign gives a post nothing; None where it does."""
    if not _is_open(campaign, now):
        return Reason.NO_CAMPAIGN
    if not _is_for(campaign, post, now):
        return Reason.NOT_ELIGIBLE
    if campaign.status == Status.EXHAUSTED or not _can_afford(campaign):
        return Reason.BUDGET_SPENT
    checks: tuple[Callable[[Campaign, Post, datetime], Reason | None], ...] = (_author_cap, _money_cap)
    return next(filter(None, (check(campaign, post, now) for check in checks)), None)


def most_telling(refusals: list[RewardApplication.Reason]) -> RewardApplication.Reason:
    """Return which of several campaigns' refusals the author is told; none asked, none runs."""
    return max(refusals, key=_BY_WEIGHT.index, default=Reason.NO_CAMPAIGN)


def next_amount(campaign: Campaign) -> int:
    """Return what the next post is given: the amount, or the share of the tier that has been reached, at least 1."""
    reached = [tier for tier in campaign.tiers.all() if tier.from_minor <= campaign.committed_minor]
    percent = max(reached, key=lambda tier: tier.from_minor).percent if reached else 100
    return max(1, campaign.amount_minor * percent // 100)


def status_of(campaign: Campaign, now: datetime) -> Campaign.Status:
    """Return the status that fits what is left: a running campaign is exhausted without the next amount."""
    status = Status(campaign.status)
    if status == Status.ACTIVE and not _can_afford(campaign):
        return Status.EXHAUSTED
    over = campaign.ends_at is not None and campaign.ends_at <= now
    if status == Status.EXHAUSTED and _can_afford(campaign) and not over:
        return Status.ACTIVE
    return status


def _can_afford(campaign: Campaign) -> bool:
    return campaign.committed_minor + next_amount(campaign) <= campaign.budget_minor


def _is_open(campaign: Campaign, now: datetime) -> bool:
    runs = campaign.status in (Status.ACTIVE, Status.EXHAUSTED)
    return runs and campaign.starts_at <= now and (campaign.ends_at is None or now < campaign.ends_at)


def _is_for(campaign: Campaign, post: Post, now: datetime) -> bool:
    """Look at the region and the account's age; an age that the platform does not tell is old enough."""
    here = any(post.region == code or post.region.startswith(f"{code}-") for code in campaign.regions)
    registered = post.author.registered_at
    old_enough = registered is None or now - registered >= timedelta(days=campaign.min_account_age_days)
    return old_enough and (here or not campaign.regions)


def _author_cap(campaign: Campaign, post: Post, now: datetime) -> RewardApplication.Reason | None:
    """Exact, for the caller holds the author's row."""
    in_all, in_a_day = campaign.cap_per_author, campaign.cap_per_author_per_day
    if in_all is None and in_a_day is None:
        return None
    given = Match.objects.filter(campaign=campaign, author=post.author, status__in=STANDING)
    today = Count("pk", filter=Q(day=day_in(now, campaign.time_zone)))
    counts = given.order_by().aggregate(in_all=Count("pk"), today=today)
    full = (in_all is not None and counts["in_all"] >= in_all) or (in_a_day is not None and counts["today"] >= in_a_day)
    return Reason.AUTHOR_CAP if full else None


def _money_cap(campaign: Campaign, post: Post, now: datetime) -> RewardApplication.Reason | None:
    """Exact under the campaign's lock: sums of days change with their bookings."""
    days = CampaignDay.objects.filter(campaign=campaign)
    amount = next_amount(campaign)
    in_a_region, in_a_day = campaign.cap_per_region_minor, campaign.cap_per_day_minor
    if in_a_region is not None and _standing(days.filter(region=post.region)) + amount > in_a_region:
        return Reason.REGION_CAP
    today = day_in(now, campaign.time_zone)
    if in_a_day is not None and _standing(days.filter(day=today)) + amount > in_a_day:
        return Reason.DAY_CAP
    return None


def _standing(days: QuerySet[CampaignDay]) -> int:
    total: int | None = days.aggregate(total=Sum("standing_minor"))["total"]
    return total or 0
