"""Make probabilities mean what they say: a temperature, and an offset for each state where that helps.

After Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.classifier import softmax

FOLDS = 5
PULL = 1e-3  # towards no offset, per squared logit: a state with few faces must not move far
COOLEST, HOTTEST = 0.3, 3.0

Logits = NDArray[np.floating]
Weights = NDArray[np.float64]
States = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Say how logits become probabilities: softmax((logits + bias) / temperature), bias one offset per state."""

    temperature: float
    bias: tuple[float, ...]
    log_loss: dict[str, float] = field(default_factory=dict)  # of each way tried, on faces it was not fitted to

    def chances(self, logits: Logits) -> NDArray[np.float64]:
        """Return probabilities float64 (N,states)."""
        return softmax((np.asarray(logits, np.float64) + self.bias) / self.temperature)


def _losses(calibration: Calibration, logits: Logits, states: States) -> Weights:
    return np.asarray(-np.log(calibration.chances(logits)[np.arange(len(states)), states] + 1e-12), np.float64)


def fit_temperature(logits: Logits, states: States, weights: Weights) -> Calibration:
    """Return the temperature in 0.3..3 with the least weighted log loss, and no offsets."""
    none = (0.0,) * logits.shape[1]
    tried = [Calibration(float(t), none) for t in np.geomspace(COOLEST, HOTTEST, 93)]
    losses = [float(weights @ _losses(one, logits, states)) for one in tried]
    best = tried[int(np.argmin(losses))]
    return Calibration(round(best.temperature, 3), none)


def fit_vector(logits: Logits, states: States, weights: Weights, rounds: int = 40) -> Calibration:
    """Return the temperature and offsets with the least weighted log loss, by Newton's method on a convex problem.

    The offsets sum to zero: a common one changes nothing.
    """
    count = logits.shape[1]
    raw = np.asarray(logits, np.float64)
    share = weights / weights.sum()
    # Of each face's logit for state k: how much of it one unit of sharpness, and of each offset, adds.
    features = np.concatenate([raw[:, :, None], np.tile(np.eye(count), (len(raw), 1, 1))], axis=2)
    flat = features.reshape(-1, count + 1)
    at = np.concatenate([[1.0 / fit_temperature(logits, states, weights).temperature], np.zeros(count)])
    pull = np.diag([0.0, *([2 * PULL] * count)])
    wanted = np.eye(count)[states]
    for _ in range(rounds):
        chances = softmax(features @ at)
        slope = flat.T @ (share[:, None] * (chances - wanted)).reshape(-1) + pull @ at
        mean = (chances[:, None] @ features)[:, 0]
        curve = flat.T @ (flat * (share[:, None] * chances).reshape(-1, 1)) - mean.T @ (mean * share[:, None]) + pull
        move = np.linalg.lstsq(curve + 1e-9 * np.eye(count + 1), slope, rcond=None)[0]
        at = at - move * min(1.0, 1.0 / max(float(np.abs(move).max()), 1e-12))
        at[0] = np.clip(at[0], 1 / HOTTEST, 1 / COOLEST)
        if np.abs(move).max() < 1e-7:
            break
    temperature = round(float(1 / at[0]), 3)
    offsets = (at[1:] - at[1:].mean()) / at[0]
    return Calibration(temperature, tuple(round(float(value), 4) for value in offsets))


def calibrate(logits: Logits, states: States, weights: Weights, groups: NDArray, seed: int = 0) -> Calibration:
    """Choose a temperature, with offsets only if they lessen the log loss of faces they were not fitted to.

    groups (N,): faces of one group are in one fold. "Lessen" means by more than the standard error of the difference.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names))[group_of] % FOLDS
    plain, vector = np.zeros(len(states)), np.zeros(len(states))
    for number in range(min(FOLDS, len(names))):
        out, used = fold == number, fold != number
        if not used.any() or weights[used].sum() == 0:
            continue
        known = (logits[used], states[used], weights[used])
        plain[out] = _losses(fit_temperature(*known), logits[out], states[out])
        vector[out] = _losses(fit_vector(*known), logits[out], states[out])
    share = weights / weights.sum()
    gained = np.bincount(group_of, share * (plain - vector))
    error = float(np.sqrt(((gained - gained.mean()) ** 2).sum()))
    best = (fit_vector if gained.sum() > error else fit_temperature)(logits, states, weights)
    raw = Calibration(1.0, (0.0,) * logits.shape[1])
    said = {"as trained": share @ _losses(raw, logits, states), "temperature": share @ plain, "offsets": share @ vector}
    return Calibration(best.temperature, best.bias, {name: round(float(value), 5) for name, value in said.items()})
