"""Who would gain and who would lose a badge if everybody were measured by a rule, which need not be saved."""

from collections.abc import Sequence
from dataclasses import dataclass

from incentives.badges.counting import Query, measured_by_author, rows_of
from incentives.models import BadgeRule

SHOWN = 50

# Who is in the holdout of an experiment that runs is given nothing; what staff did is left as it is.
_JUDGED = """
    SELECT author_id, coalesce(measured, 0) AS measured,
           CASE
               WHEN award.by_staff THEN 'by_staff'
               WHEN award.status IN ('active', 'suspended') AND coalesce(measured, 0) >= %(threshold)s THEN 'keeps'
               WHEN award.status IN ('active', 'suspended') THEN 'loses'
               WHEN NOT %(gives)s OR coalesce(measured, 0) < %(threshold)s THEN NULL
               WHEN EXISTS (
                   SELECT FROM incentives_exposure exposure
                   JOIN incentives_experiment experiment ON experiment.id = exposure.experiment_id
                   WHERE exposure.author_id = coalesce(measured.author_id, award.author_id)
                     AND exposure.arm = 'holdout' AND experiment.status = 'running'
               ) THEN 'withheld'
               ELSE 'gains'
           END AS side
    FROM measured FULL JOIN (
        SELECT author_id, status, by_staff FROM incentives_badgeaward WHERE rule_id = %(code)s
    ) AS award USING (author_id)
"""
_COUNTED = """
    SELECT side, author_id, external_id, platform.name, measured, how_many FROM (
        SELECT side, author_id, measured,
               count(*) OVER (PARTITION BY side) AS how_many,
               row_number() OVER (PARTITION BY side ORDER BY measured DESC, author_id) AS place
        FROM judged WHERE side IS NOT NULL
    ) AS sides
    JOIN moderation_author author ON author.id = author_id
    JOIN moderation_platform platform ON platform.id = author.platform_id
    WHERE place <= %(shown)s ORDER BY side, place
"""


@dataclass(frozen=True, slots=True)
class Person:
    """An author, and what they measure under the rule."""

    author_id: int
    external_id: str
    platform: str
    measured: int


@dataclass(frozen=True, slots=True)
class Side:
    """How many authors one thing happens to, and the first of them, who measure the most."""

    count: int = 0
    first: Sequence[Person] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would change."""

    threshold: int
    gains: Side
    loses: Side
    keeps: Side
    withheld: Side
    by_staff: Side


def preview(rule: BadgeRule) -> Preview:
    """Measure everybody by a rule and say what would come of it; nothing is written."""
    measured = measured_by_author(rule)
    query = Query(
        f"WITH measured AS ({measured.sql}), judged AS ({_JUDGED}) {_COUNTED}",
        measured.parameters | {"threshold": rule.threshold, "gives": rule.is_active, "shown": SHOWN},
    )
    sides: dict[str, Side] = {}
    for name, author_id, external_id, platform, amount, how_many in rows_of(query):
        first = sides.get(name, Side()).first
        sides[name] = Side(how_many, (*first, Person(author_id, external_id, platform, amount)))
    return Preview(rule.threshold, *(sides.get(name, Side()) for name in Preview.__slots__[1:]))
