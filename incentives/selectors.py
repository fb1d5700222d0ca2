"""What is read of rewards and money; nothing here writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db.models import BigIntegerField, Count, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from incentives import donations, events
from incentives.boosts import factor_at
from incentives.credentials.addresses import Addresses
from incentives.models import (
    BadgeAward,
    Boost,
    Campaign,
    CampaignDay,
    CountedPost,
    Match,
    PendingChange,
    RewardApplication,
)
from mask_social import clock
from moderation.models import Author, Platform, Post
from moderation.selectors import latest_verdict


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge of an author."""

    rule: str
    title: str
    description: str
    series: str
    level: int
    status: str
    awarded_at: datetime
    changed_at: datetime
    expires_at: datetime | None
    post_id: str | None
    evidence: dict[str, Any]
    verify_url: str
    credential_url: str
    image_url: str


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
class Told:
    """What the author is told about the money: a stable code, and why in words."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a post earned and still has, and the events that told of it."""

    counts: bool
    badges: Sequence[Badge]
    boost: BoostStanding | None
    match: MatchStanding | None
    donation: Told
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
            return not PendingChange.objects.filter(post=post).exists()  # what it earned was taken back
    return _application(post) is not None


def _application(post: Post) -> RewardApplication | None:
    verdict = latest_verdict(post)
    return None if verdict is None else RewardApplication.objects.filter(verdict=verdict).first()


def rewards_of(post: Post) -> Rewards | None:
    """Return what a post earned; None until its present verdict was applied."""
    application = _application(post)
    if application is None:
        return None
    awards = BadgeAward.objects.filter(verdict__post=post, status=BadgeAward.Status.ACTIVE)
    boost = Boost.objects.filter(post=post, revoked_at=None).first()
    match = donations.standing_match(post)
    reason = RewardApplication.Reason.WITHDRAWN if post.status == Post.Status.WITHDRAWN else application.donation_reason
    return Rewards(
        counts=CountedPost.objects.filter(post=post).exists(),
        badges=[badge_of(award) for award in awards.select_related("rule", "verdict").order_by("pk")],
        boost=None if boost is None else _boost_standing(boost),
        match=None if match is None else _match_standing(match),
        donation=Told(reason, RewardApplication.Reason(reason).label),
        event_ids=list(events.about(post).values_list("id", flat=True)),
    )


def reward_milliseconds(post: Post) -> float | None:
    """Return how long the present verdict waited until it was applied."""
    verdict, applied = latest_verdict(post), _application(post)
    if verdict is None or applied is None:
        return None
    return (applied.applied_at - verdict.created_at).total_seconds() * 1000


def badge_of(award: BadgeAward) -> Badge:
    """Return an award as it is shown."""
    at = Addresses.known()
    return Badge(
        rule=award.rule_id,
        title=award.rule.title,
        description=award.rule.description,
        series=award.rule.series,
        level=award.rule.level,
        status=award.status,
        awarded_at=award.awarded_at,
        changed_at=award.changed_at,
        expires_at=award.expires_at,
        post_id=award.verdict.post_id if award.verdict else None,
        evidence=award.evidence,
        verify_url=at.page(award.public_id),
        credential_url=at.credential(award.public_id),
        image_url=at.image(award.public_id),
    )


def badges_of(author: Author) -> QuerySet[BadgeAward]:
    """Return every award of an author, whatever became of it."""
    return BadgeAward.objects.filter(author=author).select_related("rule", "verdict")


def standing_of(author: Author) -> Standing:
    """Return where an author stands."""
    counted = CountedPost.objects.filter(author=author).aggregate(posts=Count("pk"), days=Count("day", distinct=True))
    active = badges_of(author).filter(status=BadgeAward.Status.ACTIVE).order_by("pk")
    matches = Match.objects.filter(author=author, status__in=donations.STANDING).order_by()
    sums = matches.values_list("campaign__currency").annotate(total=Sum("amount_minor")).order_by("campaign__currency")
    return Standing(
        id=author.external_id,
        masked_posts=counted["posts"],
        distinct_days=counted["days"],
        badges=[badge_of(award) for award in active],
        matched=[Money(total, currency) for currency, total in sums],
    )


def campaigns_for(platform: Platform) -> QuerySet[Campaign]:
    """Return the campaigns a platform may know of: its own and those for everybody, without drafts."""
    known = Campaign.objects.filter(platform=platform) | Campaign.objects.filter(platform=None)
    return with_settled(known.exclude(status=Campaign.Status.DRAFT))


def campaigns_visible_to(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Campaign]:
    """Return the campaigns that somebody of the staff may see: all of them, or those of the sponsors they belong to."""
    sees_all = user.has_perm("incentives.view_every_campaign")  # type: ignore[union-attr]  # every user class of ours has it
    return Campaign.objects.all() if sees_all else Campaign.objects.filter(sponsor__users=user.pk)


def with_settled(campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
    """Add `settled_minor` to each campaign, less what was refunded, in the same query."""
    days = CampaignDay.objects.filter(campaign=OuterRef("pk")).order_by().values("campaign")
    total = days.annotate(total=Sum(F("settled_minor") - F("refunded_minor"))).values("total")
    settled = Coalesce(Subquery(total), 0, output_field=BigIntegerField())
    return campaigns.select_related("sponsor").annotate(settled_minor=settled)


def _boost_standing(boost: Boost) -> BoostStanding:
    return BoostStanding(
        factor=boost.factor,
        factor_now=round(factor_at(boost, clock.now()), 6),
        half_life_seconds=boost.half_life_seconds,
        starts_at=boost.starts_at,
        ends_at=boost.ends_at,
    )


def _match_standing(match: Match) -> MatchStanding:
    campaign = match.campaign
    return MatchStanding(
        id=match.pk,
        campaign=CampaignName(campaign.pk, campaign.name, campaign.sponsor.name),
        amount_minor=match.amount_minor,
        currency=campaign.currency,
        status=match.status,
    )
