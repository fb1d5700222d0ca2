"""What each arm did, added up in the database: two queries, however many posts there are."""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from incentives.experiments.statistics import Pair, Sample
from incentives.models import Experiment, Exposure

_MEASURES = ("posts", "masked", "appeals", "reviews")

# What stands now decides: a masked post that was overturned is in the record, but not in counted_post.
_AUTHORS = """
    SELECT outcome.author_id,
           count(*) FILTER (WHERE outcome.kind = 'post') AS posts,
           count(counted.post_id) AS masked,
           count(*) FILTER (WHERE outcome.kind = 'appeal') AS appeals,
           count(*) FILTER (WHERE outcome.kind = 'review') AS reviews
    FROM incentives_outcome outcome
    LEFT JOIN incentives_countedpost counted ON counted.post_id = outcome.post_id AND outcome.kind = 'masked_post'
    WHERE outcome.experiment_id = %(experiment)s
    GROUP BY outcome.author_id
"""

# An author without any outcome is one of the arm all the same, with zeros.
_ARMS = f"""
    SELECT exposure.arm, count(*),
           {", ".join(f"coalesce(sum({name}), 0), coalesce(sum({name}::bigint * {name}), 0)" for name in _MEASURES)}
    FROM incentives_exposure exposure LEFT JOIN ({_AUTHORS}) did ON did.author_id = exposure.author_id
    WHERE exposure.experiment_id = %(experiment)s
    GROUP BY exposure.arm
"""  # noqa: S608 - of constants

_MONEY = f"""
    WITH money AS (
        SELECT outcome.author_id, campaign.currency, sum(match.amount_minor) AS minor
        FROM incentives_outcome outcome
        JOIN incentives_match match ON match.post_id = outcome.post_id AND match.status IN ('reserved', 'settled')
        JOIN incentives_campaign campaign ON campaign.id = match.campaign_id
        WHERE outcome.experiment_id = %(experiment)s AND outcome.kind = 'post'
        GROUP BY outcome.author_id, campaign.currency
    )
    SELECT money.currency, exposure.arm,
           sum(minor), sum(minor::numeric * minor), coalesce(sum(minor::numeric * masked), 0)
    FROM money
    JOIN incentives_exposure exposure
      ON exposure.author_id = money.author_id AND exposure.experiment_id = %(experiment)s
    LEFT JOIN ({_AUTHORS}) did ON did.author_id = money.author_id
    GROUP BY money.currency, exposure.arm
    ORDER BY money.currency
"""  # noqa: S608 - of constants


@dataclass(frozen=True, slots=True)
class Tally:
    """What the authors of one arm did."""

    posts: Sample
    masked: Sample
    appeals: Sample
    reviews: Sample

    @property
    def authors(self) -> int:
        """How many there are."""
        return self.posts.n


@dataclass(frozen=True, slots=True)
class Money:
    """What was matched to the posts of each arm in one currency, beside the arm's masked posts."""

    currency: str
    treatment: Pair
    holdout: Pair


def count(experiment: Experiment) -> tuple[Tally, Tally]:
    """Return what the treatment and what the holdout did."""
    nobody = Tally(*[Sample(0, 0, 0)] * len(_MEASURES))
    arms = {arm: _tally(int(n), sums) for arm, n, *sums in _rows(_ARMS, experiment)}
    return arms.get(Exposure.Arm.TREATMENT, nobody), arms.get(Exposure.Arm.HOLDOUT, nobody)


def matched(experiment: Experiment, treatment: Tally, holdout: Tally) -> list[Money]:
    """Return the money that stands, promised or paid, by currency."""
    found: dict[str, dict[str, list[Any]]] = {}
    for currency, arm, *sums in _rows(_MONEY, experiment):
        found.setdefault(currency, {})[arm] = sums
    return [
        Money(
            currency,
            _pair(treatment, arms.get(Exposure.Arm.TREATMENT)),
            _pair(holdout, arms.get(Exposure.Arm.HOLDOUT)),
        )
        for currency, arms in found.items()
    ]


def _tally(n: int, sums: list[Any]) -> Tally:
    return Tally(*(Sample(n, int(total), int(squares)) for total, squares in zip(sums[::2], sums[1::2], strict=True)))


def _pair(arm: Tally, sums: list[Any] | None) -> Pair:
    total, squares, products = map(int, sums or (0, 0, 0))
    return Pair(gain=arm.masked, cost=Sample(arm.authors, total, squares), products=products)


def _rows(query: str, experiment: Experiment) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"experiment": experiment.pk})
        return list(cursor.fetchall())
