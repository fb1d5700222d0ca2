"""The daily figures: what became of the posts of a day, kept up with what happens.

Nothing is added to a sum: a platform's day on which anything may have changed is counted anew from the rows, so that
counting twice is as good as once. Which days those are is looked up by time since the mark. A row shows only when its
transaction ends, so the search begins a while before the mark; and the mark never passes a verdict or a withdrawal
whose rewards are still to come. What leaves no trace, an erased author above all, is found by the nightly `rebuild`.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import add
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Min

from incentives.models import DailyFigures, FiguresMark, PendingChange
from mask_social.ids import first_id
from moderation.models import Verdict

#: No transaction that writes what is counted lasts as long.
OVERLAP = timedelta(minutes=10)
#: Of pg_advisory_xact_lock; no other code takes this one.
_LOCK = 0x6669677572
#: A post is one of these, or nothing yet.
_STANDINGS = (*Verdict.Outcome.values, "failed", "withdrawn")


@dataclass(frozen=True, order=True, slots=True)
class Day:
    """A platform's day, in UTC."""

    platform_id: str
    day: date


def roll_up(now: datetime) -> int:
    """Bring the figures up to `now`; return how many days were counted, none where another worker is at it."""
    with transaction.atomic():
        if not _hold(wait=False):
            return 0
        mark, seen_until = FiguresMark.objects.first(), _seen_until(now)
        days = _all_days() if mark is None else _changed_since(mark.seen_until - OVERLAP) | _unresolved()
        _count(days, now)
        FiguresMark.objects.update_or_create(pk=1, defaults={"seen_until": seen_until})
        return len(days)


def rebuild(now: datetime) -> int:
    """Count every day anew; return how many there are."""
    with transaction.atomic():
        _hold(wait=True)
        seen_until, days = _seen_until(now), _all_days()
        _count(days, now)
        FiguresMark.objects.update_or_create(pk=1, defaults={"seen_until": seen_until})
        return len(days)


def _hold(*, wait: bool) -> bool:
    """Take the lock by which one worker counts at a time; it goes with the transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {'pg_advisory_xact_lock' if wait else 'pg_try_advisory_xact_lock'}(%s)", [_LOCK])
        return wait or bool(cursor.fetchone()[0])


def _seen_until(now: datetime) -> datetime:
    """Return how far what is counted next will reach; to be asked before it is counted."""
    to_come: datetime | None = PendingChange.objects.aggregate(oldest=Min("created_at"))["oldest"]
    return min(now, to_come or now)


def _all_days() -> set[Day]:
    known = DailyFigures.objects.values_list("platform_id", "day").distinct()
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT platform_id, (created_at AT TIME ZONE 'UTC')::date FROM moderation_post")
        return {Day(*row) for row in [*cursor.fetchall(), *known]}


def _unresolved() -> set[Day]:
    """Return the days with posts that still waited for a verdict; that one has failed leaves no trace by time."""
    resolved = reduce(add, [F(name) for name in _STANDINGS])
    rows = DailyFigures.objects.filter(posts__gt=resolved).values_list("platform_id", "day")
    return {Day(*row) for row in rows}


# A verdict or a withdrawal may also move a badge of its author's that rests on another post.
_CHANGED = """
    WITH changed AS (
        SELECT id FROM moderation_post WHERE id >= %(post)s
        UNION SELECT id FROM moderation_post WHERE withdrawn_at >= %(since)s
        UNION SELECT post_id FROM moderation_verdict WHERE created_at >= %(since)s
        UNION SELECT post_id FROM moderation_appeal WHERE id >= %(appeal)s
        UNION SELECT post_id FROM incentives_match WHERE id >= %(match)s AND post_id IS NOT NULL
    ), award AS (
        SELECT award.verdict_id FROM incentives_badgeaward award WHERE award.author_id IN (
            SELECT post.author_id FROM changed JOIN moderation_post post ON post.id = changed.id)
        UNION
        SELECT award.verdict_id FROM incentives_badgechange change
        JOIN incentives_badgeaward award ON award.id = change.award_id
        WHERE change.created_at >= %(since)s
    ), touched AS (
        SELECT id FROM changed
        UNION SELECT verdict.post_id FROM award JOIN moderation_verdict verdict ON verdict.id = award.verdict_id
    )
    SELECT DISTINCT post.platform_id, (post.created_at AT TIME ZONE 'UTC')::date
    FROM touched JOIN moderation_post post ON post.id = touched.id
"""


def _changed_since(since: datetime) -> set[Day]:
    # Ids begin with their time, so the keys serve as indexes by age.
    ids = {"post": first_id("post", since), "appeal": first_id("apl", since), "match": first_id("mat", since)}
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"since": since, **ids})
        return {Day(*row) for row in cursor.fetchall()}


_SUMS = {
    "posts": "count(*)",
    "faces": "sum(faces)",
    **{
        name: f"count(*) FILTER (WHERE outcome = '{name}' AND status NOT IN ('withdrawn', 'failed'))"
        for name in Verdict.Outcome.values
    },
    "failed": "count(*) FILTER (WHERE status = 'failed')",
    "withdrawn": "count(*) FILTER (WHERE status = 'withdrawn')",
    "counted": "count(*) FILTER (WHERE counted)",
    "badges": "sum(badges)",
    "boosts": "count(*) FILTER (WHERE boosted)",
    "matches": "count(*) FILTER (WHERE matched)",
    "appeals": "sum(appeals)",
}

# Looked up post by post: the tables below are large, and a day's posts are few of them.
_COUNT = f"""
    INSERT INTO incentives_dailyfigures (platform_id, day, region, {", ".join(_SUMS)}, updated_at)
    SELECT %(platform)s, %(day)s, region, {", ".join(_SUMS.values())}, %(now)s
    FROM (
        SELECT post.region, post.status, post.outcome,
            (SELECT count(*) FROM moderation_photo photo JOIN moderation_face face ON face.analysis_id = photo.id
             WHERE photo.post_id = post.id) AS faces,
            (SELECT count(*) FROM moderation_verdict verdict
             JOIN incentives_badgeaward award ON award.verdict_id = verdict.id
             WHERE verdict.post_id = post.id AND award.status <> 'revoked') AS badges,
            (SELECT count(*) FROM moderation_appeal appeal WHERE appeal.post_id = post.id) AS appeals,
            EXISTS (SELECT FROM incentives_countedpost counted WHERE counted.post_id = post.id) AS counted,
            EXISTS (SELECT FROM incentives_boost boost
                    WHERE boost.post_id = post.id AND boost.revoked_at IS NULL) AS boosted,
            EXISTS (SELECT FROM incentives_match match
                    WHERE match.post_id = post.id AND match.status IN ('reserved', 'settled')) AS matched
        FROM moderation_post post
        WHERE post.platform_id = %(platform)s AND post.created_at >= %(starts)s AND post.created_at < %(ends)s
    ) seen
    GROUP BY region
    ON CONFLICT (platform_id, day, region)
    DO UPDATE SET updated_at = excluded.updated_at, {", ".join(f"{name} = excluded.{name}" for name in _SUMS)}
    RETURNING region
"""  # noqa: S608 - of constants


def _count(days: set[Day], now: datetime) -> None:
    for day in sorted(days):
        starts = datetime.combine(day.day, time(), UTC)
        values: dict[str, Any] = {
            "platform": day.platform_id,
            "day": day.day,
            "starts": starts,
            "ends": starts + timedelta(days=1),
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, values)
            regions = [region for (region,) in cursor.fetchall()]
        # Of a region whose last post is erased nothing is left to count.
        DailyFigures.objects.filter(platform=day.platform_id, day=day.day).exclude(region__in=regions).delete()
