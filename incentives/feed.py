"""The order of a feed: the platform's own scores, lifted by our boosts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import FilteredRelation, Q

from incentives.boosts import factor_at
from incentives.models import Boost
from moderation.models import Post


class Reason(StrEnum):
    """Why a candidate has its factor."""

    BOOSTED = "boosted"
    FADED = "boost_over"
    NOT_BOOSTED = "not_boosted"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown_post"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A post that the platform may show; `age` where it counts the post's age by itself."""

    post_id: str
    base_score: float
    age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate in its place; the first has rank 1."""

    post_id: str
    rank: int
    score: float
    factor: float
    reason: Reason


def rank(platform_id: str, candidates: Sequence[Candidate], now: datetime) -> list[Ranked]:
    """Order candidates by score times factor, in one query; equals stay in the order they came in."""
    known = _boosts(platform_id, [candidate.post_id for candidate in candidates])
    judged = []
    for candidate in candidates:
        factor, reason = _judge(candidate, known, now)
        judged.append((candidate.base_score * factor, factor, reason, candidate.post_id))
    judged.sort(key=lambda row: -row[0])
    return [
        Ranked(post_id=post_id, rank=place, score=score, factor=factor, reason=reason)
        for place, (score, factor, reason, post_id) in enumerate(judged, start=1)
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    status: str
    boost: Boost | None


def _boosts(platform_id: str, post_ids: Sequence[str]) -> dict[str, _Known]:
    """Return the posts that the platform has, each with the boost that was not taken back."""
    live = FilteredRelation("boosts", condition=Q(boosts__revoked_at=None))
    posts = Post.objects.filter(platform_id=platform_id, pk__in=post_ids).annotate(live=live)
    fields = ("factor", "cap", "half_life_seconds", "starts_at", "ends_at")
    rows = posts.values_list("pk", "status", *(f"live__{field}" for field in fields))
    return {
        pk: _Known(status, None if values[0] is None else Boost(**dict(zip(fields, values, strict=True))))
        for pk, status, *values in rows
    }


def _judge(candidate: Candidate, known: dict[str, _Known], now: datetime) -> tuple[float, Reason]:
    post = known.get(candidate.post_id)
    if post is None:
        return 1.0, Reason.UNKNOWN
    if post.status == Post.Status.WITHDRAWN:
        return 1.0, Reason.WITHDRAWN
    if post.boost is None:
        return 1.0, Reason.NOT_BOOSTED
    factor = factor_at(post.boost, now, age=candidate.age)
    return factor, Reason.BOOSTED if factor > 1 else Reason.FADED
