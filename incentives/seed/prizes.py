"""The badges of the seed: every author measured by the rules that are on, as if each verdict had been applied."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from zlib import crc32

from psycopg.types.json import Jsonb

from incentives.badges.rules import CountedOn, Evidence, measure
from incentives.models import BadgeAward, BadgeRule
from incentives.models.ids import new_award_id

Status = BadgeAward.Status

#: The posts that were ever let through, by author and age.
HISTORY = """
SELECT claim.author_id, claim.id, claim.created_at, claim.day, post.region, claim.verdict_id, claim.earned_at,
    claim.lost_at, post.held_before, post.held_now
FROM seed_claim claim JOIN seed_post post ON post.n = claim.n
WHERE claim.ruling = 'counts' ORDER BY claim.author_id, claim.created_at, claim.id
"""


@dataclass(frozen=True, slots=True)
class Holdouts:
    """When the experiments withheld badges: one from `starts` to `ends`, one from `now_starts` on."""

    starts: datetime
    ends: datetime
    now_starts: datetime

    def awarded_at(self, tipped: datetime, posts: Sequence["Post"]) -> datetime | None:
        """Return when a badge that was earned at `tipped` was given: withheld, with the first post afterwards."""
        first = posts[0]
        if first.held_before and self.starts <= tipped < self.ends:
            tipped = min((post.earned_at for post in posts if post.earned_at >= self.ends), default=self.now_starts)
            if tipped == self.now_starts:
                return None
        return None if first.held_now and tipped >= self.now_starts else tipped


@dataclass(frozen=True, slots=True)
class Post:
    """A post that was let through."""

    counted: CountedOn
    earned_at: datetime
    lost_at: datetime | None
    held_before: bool
    held_now: bool


@dataclass(slots=True)
class Step:
    """A line of an award's history."""

    status: str
    reason: str
    at: datetime
    by_staff: bool = False
    cause: str = ""


@dataclass(slots=True)
class Prize:
    """An award and its history."""

    author_id: int
    rule: str
    evidence: Evidence
    steps: list[Step]
    public_id: str = field(default_factory=new_award_id)

    @property
    def status(self) -> str:
        """What it is now."""
        return self.steps[-1].status


AWARD_COLUMNS = (
    "public_id, author_id, rule_id, status, by_staff, verdict_id, evidence, awarded_at, changed_at, expires_at"
)
CHANGE_COLUMNS = "award_id, status, actor_id, reason, causation_id, created_at"


def prizes(rows: Iterable[Sequence[Any]], rules: Sequence[BadgeRule], holdouts: Holdouts) -> Iterator[Prize]:
    """Return what each author holds, or held until a post that it stood on no longer counted."""
    for author_id, found in groupby(rows, key=itemgetter(0)):
        posts = [_post(row) for row in found]
        standing = [post for post in posts if post.lost_at is None]
        for rule in rules:
            if prize := _prize(author_id, rule, standing, holdouts) or _lost(
                author_id, rule, posts, standing, holdouts
            ):
                yield prize


def _post(row: Sequence[Any]) -> Post:
    _, post_id, created_at, day, region, verdict_id, earned_at, lost_at, held_before, held_now = row
    return Post(CountedOn(post_id, created_at, day, region, verdict_id), earned_at, lost_at, held_before, held_now)


def _prize(author_id: int, rule: BadgeRule, posts: Sequence[Post], holdouts: Holdouts) -> Prize | None:
    evidence = measure(rule, [post.counted for post in posts])
    if not posts or not evidence.is_enough:
        return None
    tipping = {post.counted.id: post.earned_at for post in posts}[evidence.post_ids[-1]]
    at = holdouts.awarded_at(tipping, posts)
    if at is None:
        return None
    prize = Prize(author_id, rule.code, evidence, [_awarded(evidence, at)])
    # One in three hundred is under review.
    if crc32(f"{author_id} {rule.code}".encode()) % 300 == 0:
        later = at + timedelta(hours=5)
        prize.steps.append(Step(Status.SUSPENDED, "The photos look alike; under review.", later, by_staff=True))
    return prize


def _lost(
    author_id: int, rule: BadgeRule, posts: Sequence[Post], standing: Sequence[Post], holdouts: Holdouts
) -> Prize | None:
    """Return the badge that fell when a post of its ground was overturned or withdrawn."""
    if len(standing) == len(posts) or measure(rule, [post.counted for post in standing]).is_enough:
        return None
    for loss in (post.lost_at for post in reversed(posts) if post.lost_at is not None):
        before = [post for post in posts if post.earned_at < loss and (post.lost_at is None or post.lost_at >= loss)]
        if (prize := _prize(author_id, rule, before, holdouts)) and prize.steps[0].at < loss:
            fallen = Step(Status.REVOKED, "What it stood on no longer counts.", loss)
            return replace(prize, steps=[prize.steps[0], fallen])
    return None


def _awarded(evidence: Evidence, at: datetime) -> Step:
    return Step(Status.ACTIVE, "model: masked", at, cause=evidence.verdict_id or "")


def award_row(prize: Prize) -> tuple[Any, ...]:
    """Return the row of the award, in the order of AWARD_COLUMNS."""
    last = prize.steps[-1]
    return (
        *(prize.public_id, prize.author_id, prize.rule, prize.status, last.by_staff, prize.evidence.verdict_id),
        *(Jsonb(prize.evidence.written()), prize.steps[0].at, last.at, None),
    )


def change_rows(prize: Prize, award_id: int, user_id: int) -> Iterator[tuple[Any, ...]]:
    """Return the rows of its history, in the order of CHANGE_COLUMNS."""
    for step in prize.steps:
        yield award_id, step.status, user_id if step.by_staff else None, step.reason, step.cause, step.at
