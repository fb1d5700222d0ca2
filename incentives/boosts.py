"""Boosts: how much higher a masked post stands in the feed, and for how long."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import F, Q

from incentives import events
from incentives.models import Boost, BoostPolicy, Campaign, Event
from mask_social import clock
from moderation.models import Post, Verdict


class Fading(Protocol):
    """What of a boost its maths needs."""

    factor: float
    cap: float
    half_life_seconds: int
    starts_at: datetime
    ends_at: datetime
    revoked_at: datetime | None


def faded(factor: float, cap: float, half_life_seconds: float, age_seconds: float) -> float:
    """Return what is left of a factor at an age: its excess over 1 halves every half-life."""
    return min(cap, 1 + (factor - 1) * math.exp2(-age_seconds / half_life_seconds))


def factor_at(boost: Fading, when: datetime, *, age: timedelta | None = None) -> float:
    """Return the factor at `when`, faded by `age`, which counts from the start where it is not given.

    1 before the start, from the end on, and once revoked.
    """
    if boost.revoked_at is not None or not boost.starts_at <= when < boost.ends_at:
        return 1.0
    age = when - boost.starts_at if age is None else age
    if age >= boost.ends_at - boost.starts_at:
        return 1.0
    return faded(boost.factor, boost.cap, boost.half_life_seconds, age.total_seconds())


def policy_for(platform_id: str) -> BoostPolicy:
    """Return the platform's own terms, or else everybody's."""
    found = BoostPolicy.objects.filter(Q(platform_id=platform_id) | Q(platform_id=None))
    return found.order_by(F("platform_id").asc(nulls_last=True)).first() or BoostPolicy()


def reconcile(
    post: Post,
    earned_by: Verdict | None,
    now: datetime,
    *,
    campaign: Campaign | None = None,
    causation_id: str = "",
) -> None:
    """Give the post the boost that the verdict earns, or take back the one it has; under the post's lock.

    A boost keeps the terms it was given: a later change of the policy touches none that runs. It is given while boosts
    are switched off as well, so that those that still run count again once they are on.
    """
    live = Boost.objects.filter(post=post, revoked_at=None).first()
    if earned_by is not None and live is None:
        terms = policy_for(post.platform_id)
        boost = Boost.objects.create(
            verdict=earned_by,
            post=post,
            campaign=campaign,
            factor=terms.factor,
            cap=terms.cap,
            half_life_seconds=terms.half_life_seconds,
            starts_at=now,
            ends_at=now + timedelta(seconds=terms.duration_seconds),
        )
        events.record(Event.Type.BOOST_STARTED, post, _told(boost, post), causation_id=causation_id)
    elif earned_by is None and live is not None:
        live.revoked_at = now
        live.save(update_fields=["revoked_at"])
        events.record(Event.Type.BOOST_ENDED, post, _told(live, post), causation_id=causation_id)


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """Whose boosts do not count at this moment; None among the platforms: nobody's do."""

    platforms: frozenset[str | None]

    def holds_for(self, boost: Boost) -> bool:
        """Say whether a boost does not count."""
        if boost.campaign is not None and not boost.campaign.boosts_enabled:
            return True
        return None in self.platforms or boost.post.platform_id in self.platforms


def switched_off() -> SwitchedOff:
    """Return which switches are off."""
    off = BoostPolicy.objects.filter(is_enabled=False).values_list("platform", flat=True)
    return SwitchedOff(frozenset(off))


def switch(policy: BoostPolicy, *, on: bool) -> bool:
    """Let boosts count, or not, from the next ranking on; False when it was so already."""
    changed = BoostPolicy.objects.filter(pk=policy.pk, is_enabled=not on).update(is_enabled=on, updated_at=clock.now())
    return changed == 1


def _told(boost: Boost, post: Post) -> Mapping[str, Any]:
    ends_at = boost.ends_at if boost.revoked_at is None else min(boost.revoked_at, boost.ends_at)
    return {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "factor": boost.factor,
        "half_life_seconds": boost.half_life_seconds,
        "starts_at": events.written(boost.starts_at),
        "ends_at": events.written(ends_at),
    }
