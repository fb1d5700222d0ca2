"""Judge the classifier on the faces that were found: confusion, and whether its probabilities mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.cases import STATE_OF, Case, chances_of
from ml.evaluation.stats import Estimate, Resampler, States, Values, bins_of, confusion_of, divided, macro_f1
from ml.types import STATES

#: How many equally wide bins of 0..1 the calibration is counted in.
BINS = 10
# Predictions are stored with five decimals: a probability of 0 there means less than this.
_LEAST = 5e-6
_COUNT = len(STATES)
_MASK, _BARE, _WRONG = (STATE_OF[state] for state in ("mask", "no_mask", "incorrect"))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Hold, for each bin of a probability: how many faces, its mean, and how often what it says is true."""

    faces: tuple[int, ...]
    said: tuple[float | None, ...]
    true: tuple[float | None, ...]

    @classmethod
    def of(cls, chances: Values, true: NDArray[np.bool_]) -> "Reliability":
        """Count probabilities float [N] and what came true bool [N]."""
        bin_of = bins_of(chances, BINS)
        faces = np.bincount(bin_of, minlength=BINS)
        said = divided(np.bincount(bin_of, chances, BINS), faces)
        came = divided(np.bincount(bin_of, true, BINS), faces)
        return cls(tuple(faces.tolist()), tuple(map(_or_none, said)), tuple(map(_or_none, came)))

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {"faces": list(self.faces), "said": list(self.said), "true": list(self.true)}


@dataclass(frozen=True, slots=True)
class Classification:
    """Hold what was counted on found faces. `confusion` has the truth in rows and what was said in columns.

    `measures` has, each by its name: how often a mask is called one, how often a bare face is not, the mean of both,
    how often a wrongly worn one is called so and how often mask, the mean F1 of the three states, and of the
    probabilities the expected calibration error, log loss and Brier score.
    """

    faces: int
    confusion: States
    measures: dict[str, Estimate]
    top: Reliability
    mask: Reliability

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        rows = {
            state: {other: int(count) for other, count in zip(STATES, row, strict=True) if count}
            for state, row in zip(STATES, self.confusion, strict=True)
            if row.sum()
        }
        return {
            "faces": self.faces,
            "confusion": rows,
            **{name: estimate.as_json() for name, estimate in self.measures.items()},
            "calibration_bins": BINS,
            "reliability_of_the_label": self.top.as_json(),
            "reliability_of_mask": self.mask.as_json(),
        }


def classify(cases: Sequence[Case], photos: int, resampler: Resampler) -> Classification:
    """Judge what the found ones among the faces were called; photos: how many photographs the resampler draws from."""
    pairs = [(case, case.seen) for case in cases if case.seen is not None]
    of = np.array([case.photo for case, _ in pairs], np.int64)
    states = np.array([case.state for case, _ in pairs], np.int64)
    chances = np.array([chances_of(seen.face) for _, seen in pairs]).reshape(-1, _COUNT)
    said = np.asarray(chances.argmax(axis=1), np.int64)
    sure, right = chances.max(axis=1, initial=0), said == states

    def sums(values: Values) -> Values:
        """Add up values [N, K] by photograph: [photos, K]."""
        total = np.zeros((photos, values.shape[1]))
        np.add.at(total, of, values)
        return total

    pair_of = np.eye(_COUNT * _COUNT)[states * _COUNT + said]
    gap_of = np.eye(BINS)[bins_of(sure, BINS)] * (sure - right)[:, None]
    true = np.eye(_COUNT)[states]
    loss = -np.log(np.maximum((chances * true).sum(axis=1), _LEAST))
    brier = ((chances - true) ** 2).sum(axis=1)
    one = np.ones(len(pairs))
    confused = sums(pair_of)

    def share(state: int, other: int) -> Estimate:
        row = confused.reshape(-1, _COUNT, _COUNT)[:, state]
        return resampler.share(row[:, other], row.sum(axis=1))

    def mean(values: Values) -> Estimate:
        return resampler.estimate(
            sums(np.stack([values, one], axis=1)), lambda s: divided(s[..., 0], s[..., 1]), len(one)
        )

    bare_as_mask = share(_BARE, _MASK)
    measures = {
        "mask_called_mask": share(_MASK, _MASK),
        "no_mask_not_called_mask": _complement(bare_as_mask),
        "binary_balanced": resampler.estimate(confused, _balanced, int(((states == _MASK) | (states == _BARE)).sum())),
        "incorrect_called_incorrect": share(_WRONG, _WRONG),
        "incorrect_called_mask": share(_WRONG, _MASK),
        "macro_f1_of_three": resampler.estimate(confused, _f1, len(pairs)),
        "expected_calibration_error": resampler.estimate(
            sums(np.concatenate([gap_of, one[:, None]], axis=1)), _calibration, len(pairs)
        ),
        "log_loss": mean(loss),
        "brier": mean(brier),
    }
    mask = chances[:, _MASK]
    return Classification(
        len(pairs),
        confusion_of(said, states, _COUNT),
        measures,
        Reliability.of(sure, right),
        Reliability.of(mask, states == _MASK),
    )


def _balanced(sums: Values) -> Values:
    confusion = sums.reshape(*sums.shape[:-1], _COUNT, _COUNT)
    there = confusion.sum(axis=-1)
    masks = divided(confusion[..., _MASK, _MASK], there[..., _MASK])
    bare = divided(confusion[..., _BARE, _MASK], there[..., _BARE])
    return np.asarray((masks + 1 - bare) / 2, np.float64)


def _f1(sums: Values) -> Values:
    confusion = sums.reshape(*sums.shape[:-1], _COUNT, _COUNT)
    # Where one of the three states never occurs its F1 says nothing, and no mean of three can be given.
    complete = (confusion.sum(axis=-1)[..., :3] > 0).all(axis=-1)
    return np.asarray(np.where(complete, macro_f1(confusion), np.nan), np.float64)


def _calibration(sums: Values) -> Values:
    return divided(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1])


def _complement(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else 1 - end for end in (estimate.high, estimate.low))
    return Estimate(None if estimate.value is None else 1 - estimate.value, low, high, estimate.n)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
