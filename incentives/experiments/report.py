"""What an experiment found: the lift, whether to believe it, what it harmed, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from incentives.experiments import statistics
from incentives.experiments.assignment import holdout_share
from incentives.experiments.statistics import FEWEST_AUTHORS, Interval, Sample, SampleRatio
from incentives.experiments.tally import Money, Tallies, Tally
from incentives.models import Experiment


class Judgement(StrEnum):
    """Whether the treatment does harm."""

    NO_WORSE = "no worse"
    WORSE = "worse"
    CANNOT_SAY = "cannot say"


@dataclass(frozen=True, slots=True)
class Guardrail:
    """Something that the treatment must not harm.

    `margin` is the share of the holdout's mean by which it may be worse. `room` is how far the treatment keeps from
    that, `difference` how far from the holdout itself; both are None where they cannot be told.
    """

    name: str
    more_is_worse: bool
    margin: float
    treatment: Sample
    holdout: Sample
    difference: Interval | None
    room: Interval | None
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Cost:
    """The money matched, in minor units for each author, and what an additional masked post cost of it."""

    currency: str
    treatment: Sample
    holdout: Sample
    price: Interval | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that can be said; the texts say why a lift or a cost is missing."""

    treatment: Tally
    holdout: Tally
    sample_ratio: SampleRatio
    lift: Interval | None
    relative_lift: Interval | None
    lift_missing: str
    guardrails: Sequence[Guardrail]
    costs: Sequence[Cost]
    costs_missing: str


def report(experiment: Experiment, tallies: Tallies) -> Report:
    """Judge what the arms of an experiment did."""
    return judge(tallies, holdout_share(experiment.holdout_percent))


def judge(tallies: Tallies, expected_share: float) -> Report:
    """Compare the arms; `expected_share` of all authors should be in the holdout."""
    treatment, holdout = tallies.treatment, tallies.holdout
    lift = statistics.contrast(treatment.masked, holdout.masked)
    no_price = _why_no_price(lift)
    return Report(
        treatment=treatment,
        holdout=holdout,
        sample_ratio=statistics.sample_ratio(treatment.authors, holdout.authors, expected_share),
        lift=lift,
        relative_lift=statistics.relative(treatment.masked, holdout.masked),
        lift_missing=_why_no_lift(lift, treatment, holdout),
        guardrails=(
            guard("posts per author", treatment.posts, holdout.posts, margin=0.05, more_is_worse=False),
            guard("appeals per author", treatment.appeals, holdout.appeals, margin=0.1, more_is_worse=True),
            guard("reviews per author", treatment.reviews, holdout.reviews, margin=0.1, more_is_worse=True),
        ),
        costs=[] if no_price else [_cost(found) for found in tallies.money],
        costs_missing=no_price or ("" if tallies.money else "No money was matched."),
    )


def guard(name: str, treatment: Sample, holdout: Sample, *, margin: float, more_is_worse: bool) -> Guardrail:
    """Judge one guardrail: harm is shown, or shown to be within the margin, or neither."""
    difference = statistics.contrast(treatment, holdout)
    room = statistics.contrast(treatment, holdout, 1 + margin if more_is_worse else 1 - margin)
    better = difference
    if more_is_worse and difference is not None and room is not None:
        better, room = -difference, -room
    judgement = Judgement.CANNOT_SAY
    if room is not None and room.low > 0:
        judgement = Judgement.NO_WORSE
    elif better is not None and better.high < 0:
        judgement = Judgement.WORSE
    return Guardrail(name, more_is_worse, margin, treatment, holdout, difference, room, judgement)


def _why_no_lift(lift: Interval | None, treatment: Tally, holdout: Tally) -> str:
    if lift is not None:
        return ""
    if min(treatment.authors, holdout.authors) < FEWEST_AUTHORS:
        return f"Too few authors: an arm needs {FEWEST_AUTHORS} at least."
    return "Every author did the same: there is nothing to tell apart."


def _why_no_price(lift: Interval | None) -> str:
    if lift is None:
        return "The lift cannot be told yet."
    if lift.holds(0):
        return "The lift may be zero, so there may be no additional masked post to pay for."
    return "There are fewer masked posts with badges and boosts than without." if lift.high < 0 else ""


def _cost(money: Money) -> Cost:
    price = statistics.price(money.treatment, money.holdout)
    return Cost(money.currency, money.treatment.cost, money.holdout.cost, price)
