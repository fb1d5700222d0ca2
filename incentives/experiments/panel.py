"""What the page of an experiment shows: words, and where lines and dots go. Values only; templates draw."""

from collections.abc import Sequence
from dataclasses import dataclass

from incentives.experiments.report import Guardrail, Judgement, Report
from incentives.experiments.statistics import SAMPLE_RATIO_ALARM, Interval, Sample, SampleRatio
from incentives.experiments.tally import Tally
from incentives.money import format_money

#: Of a drawing, in its own units.
WIDTH, HEIGHT = 320, 32
_MARGIN = 10
_VARIANTS = {Judgement.NO_WORSE: "success", Judgement.WORSE: "danger", Judgement.CANNOT_SAY: "warning"}


@dataclass(frozen=True, slots=True)
class Plot:
    """An interval on its axis; `margin` is where harm is no longer tolerated."""

    low: float
    value: float
    high: float
    zero: float
    margin: float | None
    says: str


@dataclass(frozen=True, slots=True)
class Means:
    """One arm in a row of the table."""

    name: str
    authors: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rail:
    """One guardrail in a row of the table."""

    name: str
    treatment: str
    holdout: str
    difference: str
    tolerated: str
    judgement: str
    variant: str
    plot: Plot | None


@dataclass(frozen=True, slots=True)
class Price:
    """What one currency's money brought."""

    price: str
    range: str
    treatment: str
    holdout: str


@dataclass(frozen=True, slots=True)
class Panel:
    """The whole page."""

    headline: str
    range: str
    relative: str
    plot: Plot | None
    sample_ratio: str
    sample_ratio_is_off: bool
    arms: Sequence[Means]
    guardrails: Sequence[Rail]
    prices: Sequence[Price]
    no_price: str


def panel(report: Report) -> Panel:
    """Return what the page shows of a report."""
    lift = report.lift
    return Panel(
        headline=f"{_signed(lift.value)} masked posts per author" if lift else report.lift_missing,
        range=f"95 % interval: {_range(lift)}" if lift else "",
        relative=relative_lift(report),
        plot=_plot(lift, None, "the lift in masked posts per author") if lift else None,
        sample_ratio=_says_ratio(report.sample_ratio),
        sample_ratio_is_off=report.sample_ratio.is_off,
        arms=[_means("with badges and boosts", report.treatment), _means("holdout", report.holdout)],
        guardrails=[_rail(rail) for rail in report.guardrails],
        prices=[
            Price(
                price=_money(cost.price.value, cost.currency),
                range=f"{_money(cost.price.low, cost.currency)} to {_money(cost.price.high, cost.currency)}",
                treatment=_money(cost.treatment.mean, cost.currency),
                holdout=_money(cost.holdout.mean, cost.currency),
            )
            for cost in report.costs
            if cost.price is not None
        ],
        no_price=report.costs_missing,
    )


def relative_lift(report: Report) -> str:
    """Return the relative lift with its interval; nothing where it cannot be told."""
    found = report.relative_lift
    if found is None:
        return ""
    return f"{_signed(100 * found.value, 1)} % ({_signed(100 * found.low, 1)} % to {_signed(100 * found.high, 1)} %)"


def _rail(rail: Guardrail) -> Rail:
    side = rail.margin * rail.holdout.mean * (1 if rail.more_is_worse else -1)
    plot = _plot(rail.difference, side, f"the difference in {rail.name}") if rail.difference else None
    return Rail(
        name=rail.name,
        treatment=_plain(rail.treatment.mean),
        holdout=_plain(rail.holdout.mean),
        difference=f"{_signed(rail.difference.value)} ({_range(rail.difference)})" if rail.difference else "–",
        tolerated=f"{100 * rail.margin:.0f} % {'more' if rail.more_is_worse else 'fewer'}",
        judgement=rail.judgement,
        variant=_VARIANTS[rail.judgement],
        plot=plot,
    )


def _plot(interval: Interval, margin: float | None, what: str) -> Plot:
    """Lay an interval out so that zero and the margin are in the picture too."""
    shown = [interval.low, interval.high, 0.0, *([] if margin is None else [margin])]
    first, span = min(shown), max(shown) - min(shown)

    def place(value: float) -> float:
        return round(_MARGIN + (value - first) / (span or 1.0) * (WIDTH - 2 * _MARGIN), 1)

    says = f"{what}: {_signed(interval.value)}, 95 % interval {_range(interval)}"
    return Plot(
        low=place(interval.low),
        value=place(interval.value),
        high=place(interval.high),
        zero=place(0.0),
        margin=None if margin is None else place(margin),
        says=says if margin is None else f"{says}; tolerated: {_signed(margin)}",
    )


def _means(name: str, arm: Tally) -> Means:
    return Means(name, f"{arm.authors:,}", [_mean(each) for each in (arm.posts, arm.masked, arm.appeals, arm.reviews)])


def _mean(sample: Sample) -> str:
    return f"{_plain(sample.mean)} ± {_plain(sample.deviation)}"


def _says_ratio(ratio: SampleRatio) -> str:
    held_out = f"{ratio.holdout:,} of {ratio.treatment + ratio.holdout:,} authors are held out"
    expected = f"{ratio.expected_holdout:,.0f} were to be expected"
    if ratio.p is None:
        return f"{held_out}, {expected}: too few to tell whether that is chance."
    if ratio.is_off:
        return f"{held_out}, {expected} (p = {ratio.p:.1g}, below {SAMPLE_RATIO_ALARM})."
    return f"{held_out}, {expected} (p = {ratio.p:.2f}): nothing speaks against chance."


def _range(interval: Interval) -> str:
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _plain(value: float) -> str:
    return f"{value:,.{_decimals(value)}f}"


def _signed(value: float, decimals: int | None = None) -> str:
    text = f"{value:+,.{_decimals(value) if decimals is None else decimals}f}"
    return text.replace("-", "−")


def _decimals(value: float) -> int:
    return 2 if abs(value) >= 1 or not value else 3 if abs(value) >= 0.1 else 4


def _money(minor: float, currency: str) -> str:
    return format_money(round(minor), currency)
