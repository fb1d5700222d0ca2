"""Boosts: how much higher a masked post stands in the feed, and for how long."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from incentives import events
from incentives.models import Boost, Event
from moderation.models import Post, Verdict


@dataclass(frozen=True, slots=True)
class Terms:
    """What a boost is granted with; each boost keeps its own, so that a change here touches none that runs."""

    factor: float
    cap: float
    half_life: timedelta
    duration: timedelta


# After four half-lives 3 % are left of a factor of 1.5: too little to reorder anything, so it ends there.
TERMS = Terms(factor=1.5, cap=3.0, half_life=timedelta(hours=6), duration=timedelta(hours=24))


class Fading(Protocol):
    """What of a boost its maths needs."""

    factor: float
    cap: float
    half_life_seconds: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None


def factor_at(boost: Fading, when: datetime, *, age: timedelta | None = None) -> float:
    """Return the factor at `when`: its excess over 1 halves every half-life of `age`, which counts from the start.

    1 before the start, from the end on, and once revoked.
    """
    if boost.revoked_at is not None or not boost.starts_at <= when < boost.ends_at:
        return 1.0
    age = when - boost.starts_at if age is None else age
    if age >= boost.ends_at - boost.starts_at:
        return 1.0
    faded = 1 + (boost.factor - 1) * math.exp2(-age.total_seconds() / boost.half_life_seconds)
    return min(boost.cap, faded)


def reconcile(post: Post, earned_by: Verdict | None, now: datetime, *, terms: Terms = TERMS) -> None:
    """Give the post the boost that the verdict earns, or take back the one it has; under the post's lock."""
    live = Boost.objects.filter(post=post, revoked_at=None).first()
    if earned_by is not None and live is None:
        boost = Boost.objects.create(
            verdict=earned_by,
            post=post,
            factor=terms.factor,
            cap=terms.cap,
            half_life_seconds=round(terms.half_life.total_seconds()),
            starts_at=now,
            ends_at=now + terms.duration,
        )
        events.record(Event.Type.BOOST_STARTED, post, _told(boost, post))
    elif earned_by is None and live is not None:
        live.revoked_at = now
        live.save(update_fields=["revoked_at"])
        events.record(Event.Type.BOOST_ENDED, post, _told(live, post))


def _told(boost: Boost, post: Post) -> Mapping[str, Any]:
    return {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "factor": boost.factor,
        "half_life_seconds": boost.half_life_seconds,
        "starts_at": events.written(boost.starts_at),
        "ends_at": events.written(boost.revoked_at or boost.ends_at),
    }
