"""A digest of a platform's active boosts, by which a receiver of events learns that it has them all, and only them.

Each boost is a line, made of what `boost.started` told. A line belongs to a bucket, by the first hexadecimal digits of
the SHA-256 of the post's id. A bucket's digest is the SHA-256 of its lines in the order of their bytes.

The boosts are those that the events tell of up to a cursor, exactly. A transaction that has ended may have a higher
number than one that still runs, and its events are not yet given out (events.visible); so what it did is left out here
as well. All of it is one statement, for it must be of one snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from moderation.models import Platform

# How many buckets there can be, and how many digits then name one.
DIGITS = {1: 0, 16: 1, 256: 2}
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of no line

# Times as events write them: see events.written.
_WRITTEN = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

_BORDER = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_BOOSTS = f"""
WITH border AS MATERIALIZED (
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS transaction_id
), late AS MATERIALIZED (
    -- of each post the first event that is not yet given out: it tells how the post stood before
    SELECT DISTINCT ON (event.subject_id) event.subject_id AS post_id, event.type, event.data->>'starts_at' AS starts_at
    FROM incentives_event event, border
    WHERE event.platform_id = %(platform)s AND event.transaction_id >= border.transaction_id
        AND event.transaction_id >= %(floor)s
        AND event.type IN ('boost.started', 'boost.ended')
    ORDER BY event.subject_id, event.sequence
), told AS (
    SELECT boost.* FROM incentives_boost boost JOIN moderation_post post ON post.id = boost.post_id
    WHERE post.platform_id = %(platform)s AND boost.revoked_at IS NULL AND boost.ends_at > %(as_of)s
        AND NOT EXISTS (SELECT FROM late WHERE late.post_id = boost.post_id)
    UNION ALL
    SELECT boost.* FROM incentives_boost boost JOIN late ON late.post_id = boost.post_id
    WHERE late.type = 'boost.ended' AND late.starts_at = {_WRITTEN.format("boost.starts_at")}
        AND boost.ends_at > %(as_of)s
), lines AS (
    SELECT post_id, factor, half_life_seconds, starts_at, ends_at,
        left(encode(sha256(convert_to(post_id, 'UTF8')), 'hex'), %(digits)s::int) AS bucket,
        concat_ws(' ', post_id, round(factor::numeric, 6), half_life_seconds,
            {_WRITTEN.format("starts_at")}, {_WRITTEN.format("ends_at")}) AS line
    FROM told
)
"""  # noqa: S608 - texts of our own
_DIGEST = f"""{_BOOSTS}, buckets AS (
    SELECT bucket, count(*) AS count,
        encode(sha256(convert_to(string_agg(line || E'\\n', '' ORDER BY line COLLATE "C"), 'UTF8')), 'hex') AS digest
    FROM lines GROUP BY bucket
), cursor AS (
    SELECT event.transaction_id, event.position FROM incentives_event event, border
    WHERE event.platform_id = %(platform)s AND event.transaction_id < border.transaction_id
    ORDER BY event.transaction_id DESC, event.position DESC LIMIT 1
)
SELECT (SELECT array[transaction_id, position] FROM cursor), bucket, count, digest
FROM (SELECT) AS always LEFT JOIN buckets ON true
"""  # noqa: S608 - texts of our own
_LINES = f"""{_BOOSTS}
SELECT post_id, factor, half_life_seconds, starts_at, ends_at, line FROM lines
WHERE bucket = %(bucket)s AND (%(after)s::text IS NULL OR post_id COLLATE "C" > %(after)s::text)
ORDER BY post_id COLLATE "C" LIMIT %(limit)s
"""  # noqa: S608 - texts of our own


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some of the boosts: `name` is what the SHA-256 of their posts' ids begins with."""

    name: str
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class Digest:
    """All buckets; `cursor` is that of the last event they rest on, None where there is none."""

    as_of: datetime
    cursor: tuple[int, int] | None
    buckets: Sequence[Bucket]

    @property
    def count(self) -> int:
        """Return how many boosts there are."""
        return sum(bucket.count for bucket in self.buckets)


@dataclass(frozen=True, slots=True)
class ActiveBoost:
    """A boost as its event told of it, and the line that is digested."""

    post_id: str
    factor: float
    half_life_seconds: int
    starts_at: datetime
    ends_at: datetime
    line: str


def digest_of(platform: Platform, buckets: int, as_of: datetime) -> Digest:
    """Return the digest of the boosts that have not run out at a moment."""
    digits = DIGITS[buckets]
    rows = _rows(_DIGEST, platform=platform.pk, as_of=as_of, digits=digits)
    found = {name: Bucket(name, count, digest) for _, name, count, digest in rows if name is not None}
    names = [f"{number:0{digits}x}" if digits else "" for number in range(buckets)]
    cursor = rows[0][0]
    return Digest(as_of, cursor and (cursor[0], cursor[1]), [found.get(name, Bucket(name, 0, EMPTY)) for name in names])


def boosts_in(platform: Platform, bucket: str, as_of: datetime, *, after: str | None, limit: int) -> list[ActiveBoost]:
    """Return the boosts of a bucket, by the id of their post."""
    values = {"platform": platform.pk, "as_of": as_of, "digits": len(bucket), "bucket": bucket}
    return [ActiveBoost(*row) for row in _rows(_LINES, **values, after=after, limit=limit)]


def _rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        # The border only ever rises. One of a moment before changes nothing of what the statement finds, but it is a
        # number, by which PostgreSQL can tell that few events are above it.
        cursor.execute(_BORDER)
        (floor,) = cursor.fetchone()
        cursor.execute(statement, values | {"floor": floor})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
