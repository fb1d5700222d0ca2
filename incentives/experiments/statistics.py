"""Two arms compared: how far their means are apart, and how sure that is.

An author is one observation: authors were drawn for the arms, posts were not. docs/experiments.md has the formulas and
where they come from.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

#: With fewer authors in an arm, a mean of counts is too far from normal for these intervals.
FEWEST_AUTHORS = 30
#: With fewer authors expected in an arm, Pearson's sum is not distributed as chi-square.
FEWEST_EXPECTED = 5
#: So rare by chance that each alarm is worth a search (Fabijan et al., 2019).
SAMPLE_RATIO_ALARM = 0.001

_Z = NormalDist().inv_cdf(0.975)  # leaves 2.5 % on either side of an interval of 95 %


@dataclass(frozen=True, slots=True)
class Sample:
    """One arm's values of one measure, a value for each author, as sums."""

    n: int
    total: int
    squares: int

    @property
    def mean(self) -> float:
        """The mean of the authors; 0 where there are none."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """The variance among authors, over n - 1."""
        return _covariance(self.n, self.total, self.total, self.squares)

    @property
    def deviation(self) -> float:
        """The standard deviation among authors."""
        return math.sqrt(self.variance)


@dataclass(frozen=True, slots=True)
class Pair:
    """One arm's values of two measures of the same authors, and the sum of their products."""

    gain: Sample
    cost: Sample
    products: int

    @property
    def covariance(self) -> float:
        """How gain and cost vary together among authors, over n - 1."""
        return _covariance(self.gain.n, self.gain.total, self.cost.total, self.products)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Say whether a value is inside."""
        return self.low <= value <= self.high

    def __neg__(self) -> "Interval":
        """Return it seen from the other side."""
        return Interval(-self.value, -self.high, -self.low)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """How authors fell into the arms; `p` is None where they are too few to tell."""

    treatment: int
    holdout: int
    expected_holdout: float
    p: float | None

    @property
    def is_off(self) -> bool:
        """Whether chance is no likely reason."""
        return self.p is not None and self.p < SAMPLE_RATIO_ALARM


def contrast(treatment: Sample, holdout: Sample, weight: float = 1.0) -> Interval | None:
    """Return the treatment's mean less `weight` times the holdout's, after Welch; None where it cannot be told."""
    value = treatment.mean - weight * holdout.mean
    return _interval(value, treatment.n, treatment.variance, holdout.n, weight**2 * holdout.variance)


def relative(treatment: Sample, holdout: Sample) -> Interval | None:
    """Return by which share of the holdout's mean the treatment's is higher, by the delta method.

    None also where the holdout's mean may be zero for all we know: nothing can be divided by that.
    """
    if holdout.n < FEWEST_AUTHORS:
        return None
    if holdout.mean <= t_quantile(holdout.n - 1) * math.sqrt(holdout.variance / holdout.n):
        return None
    ratio = treatment.mean / holdout.mean
    scaled = (treatment.variance / holdout.mean**2, holdout.variance * (ratio / holdout.mean) ** 2)
    return _interval(ratio - 1, treatment.n, scaled[0], holdout.n, scaled[1])


def price(treatment: Pair, holdout: Pair) -> Interval | None:
    """Return what one more unit gained costs: the difference in cost over the difference in gain, after Fieller.

    None where the gain may be zero: then no price can be ruled out, however high. Just past that, the delta method
    would put the upper end too low (Polsky et al., 1997).
    """
    gain = contrast(treatment.gain, holdout.gain)
    if gain is None or gain.holds(0):
        return None
    cost = treatment.cost.mean - holdout.cost.mean
    gain_error, cost_error, shared = (
        treatment_value / treatment.gain.n + holdout_value / holdout.gain.n
        for treatment_value, holdout_value in (
            (treatment.gain.variance, holdout.gain.variance),
            (treatment.cost.variance, holdout.cost.variance),
            (treatment.covariance, holdout.covariance),
        )
    )
    # The prices p at which cost - p * gain may be zero lie between the roots of a p² - 2 b p + c.
    t_squared = (gain.high - gain.value) ** 2 / gain_error
    a = gain.value**2 - t_squared * gain_error
    b = gain.value * cost - t_squared * shared
    c = cost**2 - t_squared * cost_error
    root = math.sqrt(max(0.0, b**2 - a * c))  # 0 where every unit costs the same; rounding may pass it
    return Interval(cost / gain.value, (b - root) / a, (b + root) / a)


def sample_ratio(treatment: int, holdout: int, holdout_share: float) -> SampleRatio:
    """Compare the sizes of the arms with those that the assignment should give, by chi-square of one degree."""
    total = treatment + holdout
    expected = total * holdout_share
    p = None
    if min(expected, total - expected) >= FEWEST_EXPECTED:
        chi_square = (holdout - expected) ** 2 * (1 / expected + 1 / (total - expected))
        p = math.erfc(math.sqrt(chi_square / 2))
    return SampleRatio(treatment, holdout, expected, p)


def t_quantile(degrees: float) -> float:
    """Return the point below which 97.5 % of Student's t lies, by its expansion about the normal's.

    Abramowitz and Stegun, 26.7.5; off by less than a millionth from 15 degrees on, and no arm here has fewer than 29.
    """
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))


def _interval(value: float, n: int, variance: float, other_n: int, other_variance: float) -> Interval | None:
    """Return a difference of two independent means with its interval; None where authors are few or all alike."""
    if min(n, other_n) < FEWEST_AUTHORS or variance + other_variance == 0:
        return None
    errors = variance / n, other_variance / other_n
    # Welch and Satterthwaite: as many degrees as a single variance that is known as well as these two.
    degrees = sum(errors) ** 2 / (errors[0] ** 2 / (n - 1) + errors[1] ** 2 / (other_n - 1))
    half = t_quantile(degrees) * math.sqrt(sum(errors))
    return Interval(value, value - half, value + half)


def _covariance(n: int, total: int, other_total: int, products: int) -> float:
    # Whole numbers until the division: nothing is lost however large the sums.
    return (n * products - total * other_total) / (n * (n - 1)) if n > 1 else 0.0
