"""What each arm did, added up in the database: two queries, however many posts there are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

# Only a masked post was ever promised money; what stands of it is counted, whether or not the post still does.
_MONEY = """
    WITH masked AS (
        SELECT outcome.author_id, count(counted.post_id) AS masked
        FROM incentives_outcome outcome
        JOIN incentives_countedpost counted ON counted.post_id = outcome.post_id
        WHERE outcome.experiment_id = %(experiment)s AND outcome.kind = 'masked_post'
        GROUP BY outcome.author_id
    ), money AS (
        SELECT outcome.author_id, campaign.currency, sum(match.amount_minor) AS minor
        FROM incentives_outcome outcome
        JOIN incentives_match match ON match.post_id = outcome.post_id AND match.status IN ('reserved', 'settled')
        JOIN incentives_campaign campaign ON campaign.id = match.campaign_id
        WHERE outcome.experiment_id = %(experiment)s AND outcome.kind = 'masked_post'
        GROUP BY outcome.author_id, campaign.currency
    )
    SELECT money.currency, exposure.arm,
           sum(minor), sum(minor::numeric * minor), coalesce(sum(minor::numeric * masked), 0)
    FROM money
    JOIN incentives_exposure exposure
      ON exposure.author_id = money.author_id AND exposure.experiment_id = %(experiment)s
    LEFT JOIN masked ON masked.author_id = money.author_id
    GROUP BY money.currency, exposure.arm
    ORDER BY money.currency
"""


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


@dataclass(frozen=True, slots=True)
class Tallies:
    """What both arms did, and the money that stands of it, promised or paid."""

    treatment: Tally
    holdout: Tally
    money: Sequence[Money]

    def as_json(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)


def count(experiment: Experiment) -> Tallies:
    """Add up what both arms did so far."""
    nobody = Tally(*[Sample(0, 0, 0)] * len(_MEASURES))
    arms = {arm: _tally(int(n), sums) for arm, n, *sums in _rows(_ARMS, experiment)}
    treatment, holdout = (arms.get(arm, nobody) for arm in (Exposure.Arm.TREATMENT, Exposure.Arm.HOLDOUT))
    found: dict[str, dict[str, list[Any]]] = {}
    for currency, arm, *sums in _rows(_MONEY, experiment):
        found.setdefault(currency, {})[arm] = sums
    money = [
        Money(
            currency,
            _pair(treatment, sums.get(Exposure.Arm.TREATMENT)),
            _pair(holdout, sums.get(Exposure.Arm.HOLDOUT)),
        )
        for currency, sums in found.items()
    ]
    return Tallies(treatment, holdout, money)


def from_json(data: Mapping[str, Any]) -> Tallies:
    """Read what `as_json` wrote."""
    treatment, holdout = (
        Tally(**{name: Sample(**data[arm][name]) for name in _MEASURES}) for arm in ("treatment", "holdout")
    )
    return Tallies(treatment, holdout, [_money(found) for found in data["money"]])


def _money(data: Mapping[str, Any]) -> Money:
    treatment, holdout = (
        Pair(Sample(**data[arm]["gain"]), Sample(**data[arm]["cost"]), data[arm]["products"])
        for arm in ("treatment", "holdout")
    )
    return Money(data["currency"], treatment, holdout)


def _tally(n: int, sums: list[Any]) -> Tally:
    return Tally(*(Sample(n, int(total), int(squares)) for total, squares in zip(sums[::2], sums[1::2], strict=True)))


def _pair(arm: Tally, sums: list[Any] | None) -> Pair:
    total, squares, products = map(int, sums or (0, 0, 0))
    return Pair(gain=arm.masked, cost=Sample(arm.authors, total, squares), products=products)


def _rows(query: str, experiment: Experiment) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"experiment": experiment.pk})
        return list(cursor.fetchall())
