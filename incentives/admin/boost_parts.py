"""What the pages of boosts show. Values only; templates draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from incentives.boosts import faded
from incentives.feed import Diversity, span
from incentives.models import Boost, BoostPolicy

STYLES = {"all": ["moderation/panel.css", "incentives/boosts.css"]}
WIDTH, HEIGHT = 360, 120
_POINTS = 72
_MOST_HALF_LIVES = 12
# As many as one author may have among the first of a feed that is worth a look.
_POSTS = 8


@dataclass(frozen=True, slots=True)
class Curve:
    """How a boost fades, in the units of a picture of WIDTH × HEIGHT; `now_x` where it is at this moment."""

    path: str
    says: str
    highest: str
    lasts: str
    half_lives: Sequence[str]
    now_x: str | None = None
    now_y: str | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """What the n-th post of an author is multiplied by."""

    number: int
    factor: str
    percent: str


def curve_of(boost: Boost, now: datetime) -> Curve:
    """Return the curve of a boost, and where it stands on it while it runs."""
    lasts = (boost.ends_at - boost.starts_at).total_seconds()
    age = (now - boost.starts_at).total_seconds()
    runs = boost.revoked_at is None and 0 <= age < lasts
    return _curve(boost.factor, boost.cap, boost.half_life_seconds, lasts, age if runs else None)


def curve_of_policy(policy: BoostPolicy) -> Curve:
    """Return the curve of a boost that is given on these terms."""
    return _curve(policy.factor, policy.cap, policy.half_life_seconds, policy.duration_seconds, None)


def bars_of(policy: BoostPolicy) -> list[Bar]:
    """Return what an author's first posts are multiplied by in one ranking."""
    diversity = Diversity(policy.author_diversity, policy.diversity_floor)
    factors = [diversity.factor(before) for before in range(_POSTS)]
    return [Bar(number, f"{factor:.2f}", f"{100 * factor:.1f}") for number, factor in enumerate(factors, start=1)]


def remaining(boost: Boost, now: datetime) -> str:
    """Say how long a boost still runs."""
    left = max(timedelta(0), boost.ends_at - now)
    hours, minutes = divmod(int(left.total_seconds()) // 60, 60)
    return f"{hours} h {minutes:02} min"


def _curve(factor: float, cap: float, half_life: float, lasts: float, age: float | None) -> Curve:
    highest = max(faded(factor, cap, half_life, 0), 1.0)

    def x(seconds: float) -> str:
        return f"{WIDTH * seconds / lasts:.1f}"

    def y(value: float) -> str:
        return f"{HEIGHT * (1 - (value - 1) / (highest - 1 or 1)):.1f}"

    times = [lasts * point / _POINTS for point in range(_POINTS + 1)]
    points = " ".join(f"{x(when)},{y(faded(factor, cap, half_life, when))}" for when in times)
    last = faded(factor, cap, half_life, lasts)
    return Curve(
        # It does not fade to nothing: at its end it is cut off.
        path=f"{points} {x(lasts)},{y(1)}",
        says=f"From ×{highest:.2f} to ×{last:.2f} in {span(lasts)}, with a half-life of {span(half_life)}; then ×1",
        highest=f"×{highest:.2f}",
        lasts=span(lasts),
        half_lives=[x(number * half_life) for number in range(1, _MOST_HALF_LIVES) if number * half_life < lasts],
        now_x=None if age is None else x(age),
        now_y=None if age is None else y(faded(factor, cap, half_life, age)),
    )
