"""What is read of rewards and money; nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from incentives import events
from incentives.badges import masked_history
from incentives.boosts import factor_at
from incentives.models import BadgeAward, Boost, Campaign, Match, RewardApplication
from moderation.models import Author, Platform, Post
from moderation.selectors import latest_verdict


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge of an author."""

    rule: str
    title: str
    description: str
    status: str
    awarded_at: datetime
    changed_at: datetime
    post_id: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BoostStanding:
    """How a post is boosted at this moment."""

    factor: float
    factor_now: float
    half_life_seconds: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignName:
    """Who gives."""

    id: str
    name: str
    sponsor: str


@dataclass(frozen=True, slots=True)
class MatchStanding:
    """What a sponsor gives for a post."""

    id: str
    campaign: CampaignName
    amount_minor: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a post earned and still has, and the events that told of it."""

    badges: Sequence[Badge]
    boost: BoostStanding | None
    match: MatchStanding | None
    event_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Money:
    """A sum in one currency."""

    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an author stands."""

    id: str
    masked_posts: int
    distinct_days: int
    badges: Sequence[Badge]
    matched: Sequence[Money]


def is_settled(post: Post) -> bool:
    """Say whether nothing more will come of a post as it stands."""
    match post.status:
        case Post.Status.FAILED:
            return True  # there is no verdict, and will be none
        case Post.Status.WITHDRAWN:
            return not Boost.objects.filter(post=post, revoked_at=None).exists()  # what it earned was taken back
    return _is_applied(post)


def _is_applied(post: Post) -> bool:
    verdict = latest_verdict(post)
    return verdict is not None and RewardApplication.objects.filter(verdict=verdict).exists()


def rewards_of(post: Post) -> Rewards | None:
    """Return what a post earned; None until its present verdict was applied."""
    if not _is_applied(post):
        return None
    awards = BadgeAward.objects.filter(verdict__post=post, status=BadgeAward.Status.ACTIVE)
    boost = Boost.objects.filter(post=post, revoked_at=None).first()
    match = Match.objects.filter(post=post).exclude(status=Match.Status.VOIDED).select_related("campaign").first()
    return Rewards(
        badges=[badge_of(award) for award in awards.select_related("rule", "verdict").order_by("pk")],
        boost=None if boost is None else _boost_standing(boost),
        match=None if match is None else _match_standing(match),
        event_ids=events.ids_about(post),
    )


def reward_milliseconds(post: Post) -> float | None:
    """Return how long the present verdict waited until it was applied."""
    verdict = latest_verdict(post)
    applied = RewardApplication.objects.filter(verdict=verdict).first() if verdict else None
    if verdict is None or applied is None:
        return None
    return (applied.applied_at - verdict.created_at).total_seconds() * 1000


def badge_of(award: BadgeAward) -> Badge:
    """Return an award as it is shown."""
    return Badge(
        rule=award.rule_id,
        title=award.rule.title,
        description=award.rule.description,
        status=award.status,
        awarded_at=award.awarded_at,
        changed_at=award.changed_at,
        post_id=award.verdict.post_id,
        evidence=award.evidence,
    )


def badges_of(author: Author) -> QuerySet[BadgeAward]:
    """Return every award of an author, whatever became of it."""
    return BadgeAward.objects.filter(author=author).select_related("rule", "verdict")


def standing_of(author: Author) -> Standing:
    """Return where an author stands."""
    history = masked_history(author)
    active = badges_of(author).filter(status=BadgeAward.Status.ACTIVE).order_by("pk")
    matches = Match.objects.filter(author=author).exclude(status=Match.Status.VOIDED).order_by()
    sums = matches.values_list("campaign__currency").annotate(total=Sum("amount_minor")).order_by("campaign__currency")
    return Standing(
        id=author.external_id,
        masked_posts=len(history),
        distinct_days=len({post.day for post in history}),
        badges=[badge_of(award) for award in active],
        matched=[Money(total, currency) for currency, total in sums],
    )


def campaigns_for(platform: Platform) -> QuerySet[Campaign]:
    """Return the campaigns a platform may know of: its own and those for everybody, without drafts."""
    known = Campaign.objects.filter(platform=platform) | Campaign.objects.filter(platform=None)
    return with_settled(known.exclude(status=Campaign.Status.DRAFT))


def with_settled(campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """Add `settled_minor` to each campaign, in the same query."""
    settled = Match.objects.filter(campaign=OuterRef("pk"), status=Match.Status.SETTLED).order_by()
    total = settled.values("campaign").annotate(total=Sum("amount_minor")).values("total")
    return campaigns.annotate(settled_minor=Coalesce(Subquery(total), 0, output_field=BigIntegerField()))


def _boost_standing(boost: Boost) -> BoostStanding:
    return BoostStanding(
        factor=boost.factor,
        factor_now=round(factor_at(boost, timezone.now()), 6),
        half_life_seconds=boost.half_life_seconds,
        starts_at=boost.starts_at,
        ends_at=boost.ends_at,
    )


def _match_standing(match: Match) -> MatchStanding:
    campaign = match.campaign
    return MatchStanding(
        id=match.pk,
        campaign=CampaignName(campaign.pk, campaign.name, campaign.sponsor),
        amount_minor=match.amount_minor,
        currency=campaign.currency,
        status=match.status,
    )
