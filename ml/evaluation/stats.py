"""Numbers with their intervals: every measure is a function of sums over photographs, which are drawn anew."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
States = NDArray[np.int64]
#: Sums [..., K] to values [...]; called once with the sums over all photographs and once with those of every draw.
Measure = Callable[[Values], Values]

_MIDDLE = (2.5, 97.5)  # percent: what lies between them is the 95 % interval
_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """Hold a value, the ends of its 95 % interval, and the number of faces or photographs it is about.

    The value is None where there is nothing to count; the ends are None where too little was drawn.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_json(self) -> dict[str, Any]:
        """Write it with four decimals."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {**{key: None if value is None else round(value, 4) for key, value in values.items()}, "n": self.n}


class Resampler:
    """Draw the photographs anew, with replacement, as often as asked: faces of one photograph stay together."""

    def __init__(self, photos: int, rounds: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._times = rng.multinomial(photos, np.full(photos, 1 / photos), size=rounds).astype(np.float64)

    def estimate(self, counts: ArrayLike, measure: Measure, n: int) -> Estimate:
        """Return a measure of counts float [photos, K] with the interval that 95 % of the draws fall into."""
        counts = np.asarray(counts, np.float64)
        value = float(measure(counts.sum(axis=0)))
        drawn = measure(np.asarray(self._times @ counts, np.float64))
        drawn = drawn[np.isfinite(drawn)]
        if not math.isfinite(value):
            return Estimate(None, None, None, n)
        low, high = np.percentile(drawn, _MIDDLE).tolist() if len(drawn) else (None, None)
        return Estimate(value, low, high, n)

    def share(self, hits: ArrayLike, total: ArrayLike) -> Estimate:
        """Return the share that `hits` [photos] are of `total` [photos].

        Where it is 0 or 1 every draw says the same, and the interval is Wilson's.
        """
        counts = np.stack([np.asarray(hits, np.float64), np.asarray(total, np.float64)], axis=1)
        n = round(counts[:, 1].sum())
        estimate = self.estimate(counts, ratio, n)
        if estimate.value in (0.0, 1.0):
            return Estimate(estimate.value, *wilson(round(counts[:, 0].sum()), n), n)
        return estimate


def ratio(sums: Values) -> Values:
    """Divide the first of two sums [..., 2] by the second; nan where that is zero."""
    return divided(sums[..., 0], sums[..., 1])


def divided(dividend: ArrayLike, divisor: ArrayLike) -> Values:
    """Divide; nan where the divisor is zero."""
    dividend, divisor = np.broadcast_arrays(np.asarray(dividend, np.float64), np.asarray(divisor, np.float64))
    quotient = np.full(divisor.shape, np.nan)
    np.divide(dividend, divisor, out=quotient, where=divisor != 0)
    return quotient


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson, 1927; it is of use where the share is 0 or 1."""
    if n < 1:
        return 0.0, 1.0
    z = _NORMAL_95**2
    share = hits / n
    middle = (share + z / (2 * n)) / (1 + z / n)
    half = math.sqrt(z * (share * (1 - share) / n + z / (4 * n * n))) / (1 + z / n)
    return (middle - half if hits else 0.0), (middle + half if hits < n else 1.0)


def macro_f1(confusion: ArrayLike, states: int = 3) -> Values:
    """Return the mean F1 of the first `states` from counts [..., states, states], the truth in rows.

    More states than these may be counted: being called one of them is a miss, being one of them does not matter.
    """
    counts = np.asarray(confusion, np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)[..., :states]
    said = counts[..., :states, :states].sum(axis=-2)
    there = counts.sum(axis=-1)[..., :states]
    return np.asarray((2 * hits / np.maximum(said + there, 1)).mean(axis=-1), np.float64)


def confusion_of(said: States, states: States, count: int) -> States:
    """Count int64 [count, count] how often each state, in rows, was called each, in columns."""
    return np.bincount(states * count + said, minlength=count * count).reshape(count, count).astype(np.int64)


def bins_of(sure: Values, bins: int) -> States:
    """Return the bin, of `bins` equally wide ones in 0..1, that each value lies in."""
    return np.asarray(np.minimum((np.asarray(sure) * bins).astype(np.int64), bins - 1), np.int64)


def calibration_error(chances: Values, states: States, bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between how sure a net is and how often it is right.

    chances: float [N, states]; states: int [N]. Weighted by faces over `bins` equally wide bins, after Guo et al.,
    "On Calibration of Modern Neural Networks", 2017; rounded to four decimals, 0 for no faces.
    """
    if not len(states):
        return 0.0
    sure, right = chances.max(axis=1), chances.argmax(axis=1) == states
    bin_of = bins_of(sure, bins)
    gaps = np.bincount(bin_of, weights=sure - right, minlength=bins)
    return round(float(np.abs(gaps).sum() / len(states)), 4)


def area_under(recall: Values, precision: Values) -> Values:
    """Return the average precision of points [..., T], strictest threshold first.

    Precision at a recall is the best one at that recall or a higher one, as is usual; beyond the last recall it is 0.
    """
    best = np.maximum.accumulate(np.nan_to_num(precision, nan=0.0)[..., ::-1], axis=-1)[..., ::-1]
    steps = np.diff(recall, axis=-1, prepend=0.0)
    return np.asarray((best * np.maximum(steps, 0)).sum(axis=-1), np.float64)
