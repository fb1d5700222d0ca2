"""What rules.measure says of one author, for every author at once, in SQL; a test holds the two to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from incentives.models import BadgeRule

_WORK_MEMORY = "64MB"

# The posts that count under a rule. Of a badge that ran out, only those made since count.
_MATCHING = """
    SELECT counted.author_id, counted.day
    FROM incentives_countedpost counted
    WHERE (%(starts_at)s::timestamptz IS NULL OR counted.created_at >= %(starts_at)s)
      AND (%(ends_at)s::timestamptz IS NULL OR counted.created_at < %(ends_at)s)
      AND (%(regions)s::text[] = '{}' OR counted.region = ANY(%(regions)s)
           OR split_part(counted.region, '-', 1) = ANY(%(regions)s))
      AND (%(after)s::bigint IS NULL OR counted.author_id > %(after)s)
      AND (%(up_to)s::bigint IS NULL OR counted.author_id <= %(up_to)s)
      AND NOT EXISTS (
          SELECT FROM incentives_badgeaward ran_out
          WHERE ran_out.rule_id = %(code)s AND ran_out.counts_since IS NOT NULL
            AND ran_out.author_id = counted.author_id AND ran_out.counts_since > counted.created_at)
"""
_MEASURED = {
    BadgeRule.Kind.MASKED_POSTS: "SELECT author_id, count(*) AS measured FROM matching GROUP BY author_id",
    BadgeRule.Kind.DISTINCT_DAYS: "SELECT author_id, count(DISTINCT day) AS measured FROM matching GROUP BY author_id",
    # Gaps and islands: the days of an author are numbered, and one too far from the day before begins a run. How long a
    # run is by a day, the numbers of the day and of the run's first day tell; no run need be put together.
    BadgeRule.Kind.STREAK: """
        SELECT author_id, max(number - coalesce(first_number, 1) + 1) AS measured FROM (
            SELECT author_id, number, max(number) FILTER (WHERE step > 1 + %(grace_days)s)
                       OVER (PARTITION BY author_id ORDER BY day ROWS UNBOUNDED PRECEDING) AS first_number
            FROM (
                SELECT author_id, day, day - lag(day) OVER days AS step, dense_rank() OVER days AS number
                FROM matching WINDOW days AS (PARTITION BY author_id ORDER BY day)
            ) AS steps
        ) AS runs GROUP BY author_id
    """,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and its parameters; as a whole or as a part of another."""

    sql: str
    parameters: dict[str, Any]


def measured_by_author(rule: BadgeRule, *, after: int | None = None, up_to: int | None = None) -> Query:
    """Return the query for (author_id, measured) of all who measure anything under a rule, saved or not.

    `after` and `up_to` narrow it to a range of authors.
    """
    sql = f"WITH matching AS ({_MATCHING}) {_MEASURED[BadgeRule.Kind(rule.kind)]}"
    parameters = {
        "code": rule.code,
        "grace_days": rule.grace_days,
        "regions": list(rule.regions),
        "starts_at": rule.starts_at,
        "ends_at": rule.ends_at,
        "after": after,
        "up_to": up_to,
    }
    return Query(sql, parameters)


def rows_of(query: Query) -> Sequence[tuple[Any, ...]]:
    """Run a query over everybody; in a transaction of its own where there is none."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")  # else it sorts on disk, three times as long
        cursor.execute(query.sql, query.parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
