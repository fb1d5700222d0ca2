"""The order of a feed: the platform's own scores, each multiplied by named and bounded factors.

`mask_boost` lifts a masked post, from 1 up to the cap of its boost. `author_diversity` lowers every further post of an
author in one ranking, from 1 down to the policy's floor. Their product is so never below the floor nor above the cap.

Ten thousand candidates pass through here in one call. So rows are structs of msgspec, which are made in a tenth of the
time of a frozen dataclass, are left alone by garbage collections, and are read from JSON and written to it as they are.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from django.db import connection
from msgspec import Meta, Struct

from incentives.boosts import faded
from incentives.models import BoostPolicy
from moderation.models import Post

# Far above any real score, far below where a float overflows when multiplied.
MAX_SCORE = 1e12
MAX_AGE_SECONDS = 10 * 365 * 24 * 3600
LONGEST_POST_ID = 64
LONGEST_AUTHOR_ID = 128

_OURS = re.compile(r"post_[0-9a-z]{26}")


class Reason(StrEnum):
    """Why a candidate has its mask boost."""

    BOOSTED = "boosted"
    FADED = "boost_over"
    OFF = "boosts_off"
    NOT_BOOSTED = "not_boosted"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown_post"


class Candidate(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A post that the platform may show; what JSON says of it is judged by these bounds.

    `age_seconds` where it counts the post's age by itself; `author_id` tells whose a post is that we do not know.
    """

    post_id: Annotated[str, Meta(max_length=LONGEST_POST_ID, pattern=r"\A[!-~]+\Z")]
    base_score: Annotated[float, Meta(ge=0, le=MAX_SCORE)]
    age_seconds: Annotated[float, Meta(ge=0, le=MAX_AGE_SECONDS)] | None = None
    author_id: Annotated[str, Meta(max_length=LONGEST_AUTHOR_ID, pattern=r"\A[^\0]+\Z")] | None = None


class Known(Struct, frozen=True, gc=False):
    """What we know of a candidate; all from `factor` on say nothing where there is no boost."""

    post_id: str
    author_id: str
    is_withdrawn: bool
    is_off: bool = False
    factor: float | None = None
    cap: float = 1.0
    half_life_seconds: float = 1.0
    age_seconds: float = 0.0
    duration_seconds: float = 0.0


class Diversity(NamedTuple):
    """How much less each further post of an author counts, and the least that it counts."""

    step: float = 1.0
    floor: float = 1.0

    def factor(self, before: int) -> float:
        """Return what a post counts that has so many of its author before it."""
        return max(self.floor, self.step**before) if before else 1.0


class Factors(Struct, frozen=True, gc=False):
    """What a score was multiplied by."""

    mask_boost: float
    author_diversity: float


class Ranked(Struct, frozen=True, gc=False):
    """A candidate in its place; the first has rank 1. `factor` is the product of the named ones."""

    post_id: str
    rank: int
    score: float
    factor: float
    factors: Factors
    reason: Reason
    why: str | None


def rank(platform_id: str, candidates: Sequence[Candidate], now: datetime) -> list[Ranked]:
    """Order candidates by score times factors, in one query; equals stay in the order they came in."""
    known, diversity = look_up(platform_id, [candidate.post_id for candidate in candidates], now)
    return order(candidates, known, diversity)


def order(candidates: Sequence[Candidate], known: Mapping[str, Known], diversity: Diversity) -> list[Ranked]:
    """Order candidates by what is known of them.

    The posts of an author are counted from the one that stands highest with its boost. As the further ones only lose by
    it, they keep their order among themselves.
    """
    posts = [known.get(candidate.post_id) for candidate in candidates]
    boosts, reasons = [], []
    for candidate, post in zip(candidates, posts, strict=True):
        boost, reason = mask_boost(candidate, post)
        boosts.append(boost)
        reasons.append(reason)
    scores = [candidate.base_score * boost for candidate, boost in zip(candidates, boosts, strict=True)]
    authors = [
        candidate.author_id if post is None else post.author_id
        for candidate, post in zip(candidates, posts, strict=True)
    ]
    spread = _spread(authors, scores, diversity)
    scores = [score * factor for score, factor in zip(scores, spread, strict=True)]
    ranking = []
    for place, index in enumerate(_falling(scores), start=1):
        boost, lowered, post = boosts[index], spread[index], posts[index]
        # Of the one at least 1, of the other at most: equal, both are 1.
        why = None if boost == lowered else explain(boost, lowered, post.duration_seconds if post else 0.0)
        factor = boost * lowered
        factors = Factors(boost, lowered)
        ranking.append(Ranked(candidates[index].post_id, place, scores[index], factor, factors, reasons[index], why))
    return ranking


def mask_boost(candidate: Candidate, known: Known | None) -> tuple[float, Reason]:
    """Return what a candidate's boost comes to at this moment, and why."""
    if known is None:
        return 1.0, Reason.UNKNOWN
    if known.is_withdrawn:
        return 1.0, Reason.WITHDRAWN
    factor = known.factor
    if factor is None:
        return 1.0, Reason.NOT_BOOSTED
    lasts, age = known.duration_seconds, known.age_seconds
    given = age if candidate.age_seconds is None else candidate.age_seconds
    if not 0 <= age < lasts or given >= lasts:
        return 1.0, Reason.FADED
    if known.is_off:
        return 1.0, Reason.OFF
    return faded(factor, known.cap, known.half_life_seconds, given), Reason.BOOSTED


def _spread(authors: Sequence[str | None], scores: Sequence[float], diversity: Diversity) -> list[float]:
    """Return what each score is multiplied by so that no author fills the feed."""
    spread = [1.0] * len(scores)
    before: dict[str, int] = {}
    for index in _falling(scores):
        author = authors[index]
        if author is not None:
            count = before.get(author, 0)
            before[author] = count + 1
            if count:
                spread[index] = diversity.factor(count)
    return spread


def _falling(scores: Sequence[float]) -> list[int]:
    """Return the places of the scores, the highest first; reversed, the sort still keeps equals in their order."""
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


def explain(boost: float, lowered: float, lasts: float) -> str | None:
    """Say to a viewer why a post stands higher or lower; nothing where it does neither.

    Under some policies one mask among many faces is enough: it does not say that everyone wears one.
    """
    factor = boost * lowered
    if factor > 1:
        return _lifted(lasts, lowered < 1)
    if factor < 1:
        return _LOWERED_THOUGH_MASKED if boost > 1 else _LOWERED
    return None


_LOWERED = "Shown lower so that one author does not fill the feed."
_LOWERED_THOUGH_MASKED = "Shown lower so that one author does not fill the feed, though masks are worn in this post."


@lru_cache(maxsize=256)
def _lifted(lasts: float, is_lowered: bool) -> str:
    less = ", if less so, as one author should not fill the feed" if is_lowered else ""
    return f"Shown higher because masks are worn in this post{less}; this fades over {span(lasts)}."


def span(seconds: float) -> str:
    """Say how long a time is, as people would."""
    # The policy's shortest is a minute.
    lengths = ((86400, "a day", "days"), (3600, "an hour", "hours"), (60, "a minute", "minutes"))
    length, one, many = next((row for row in lengths if seconds >= row[0] and not seconds % row[0]), lengths[-1])
    count = round(seconds / length)
    return one if count == 1 else f"{count} {many}"


# The LIMITs keep the planner from joining by a pass over all authors or boosts, which takes longer from a hundred
# thousand of them on. Ages come as numbers: times would each go through Python code of the driver.
_LOOK_UP = """
SELECT post.id, author.external_id, post.status = %(withdrawn)s,
       NOT terms.is_enabled OR boost.campaign_id = ANY(terms.switched_off),
       boost.factor, boost.cap, boost.half_life_seconds,
       extract(epoch FROM %(now)s - boost.starts_at)::float8,
       extract(epoch FROM boost.ends_at - boost.starts_at)::float8,
       terms.is_enabled, terms.author_diversity, terms.diversity_floor
FROM (
    SELECT bool_and(is_enabled) AS is_enabled,
           (array_agg(author_diversity ORDER BY platform_id NULLS LAST))[1] AS author_diversity,
           (array_agg(diversity_floor ORDER BY platform_id NULLS LAST))[1] AS diversity_floor,
           ARRAY(SELECT id FROM incentives_campaign WHERE NOT boosts_enabled) AS switched_off
    FROM incentives_boostpolicy WHERE platform_id = %(platform)s OR platform_id IS NULL
) AS terms
LEFT JOIN (
    moderation_post AS post
    CROSS JOIN LATERAL (SELECT external_id FROM moderation_author WHERE id = post.author_id LIMIT 1) AS author
    LEFT JOIN LATERAL (
        SELECT * FROM incentives_boost WHERE post_id = post.id AND revoked_at IS NULL LIMIT 1
    ) AS boost ON true
) ON post.platform_id = %(platform)s AND post.id = ANY(%(posts)s)
"""


def look_up(platform_id: str, post_ids: Sequence[str], now: datetime) -> tuple[dict[str, Known], Diversity]:
    """Return what is known of the platform's posts among these, and how its authors are spread, in one query.

    The switches are read along, not kept: what is switched off is off for the next ranking.
    """
    # Ids of ours need no quotes in an array; the driver would take as long to look for them as for all else.
    posts = "{" + ",".join(filter(_OURS.fullmatch, post_ids)) + "}"
    asked: dict[str, Any] = {"platform": platform_id, "posts": posts, "now": now, "withdrawn": Post.Status.WITHDRAWN}
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, asked)
        rows = cursor.fetchall()
    is_enabled, step, floor = rows[0][-3:]
    if is_enabled is None:  # there is no policy, not even everybody's
        terms = BoostPolicy()
        step, floor = terms.author_diversity, terms.diversity_floor
    elif not is_enabled:
        step = floor = 1.0
    return {row[0]: Known(*row[:-3]) for row in rows if row[0] is not None}, Diversity(step, floor)
