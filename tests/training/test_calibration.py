"""Probabilities that mean what they say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.training.calibration import Calibration, calibrate, fit_temperature, fit_vector

Rows = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]


def drawn(count: int, temperature: float, bias: tuple[float, ...], seed: int = 0) -> Rows:
    """Return logits whose true probabilities are softmax((logits + bias) / temperature), states drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (count, len(bias)))
    chances = Calibration(temperature, bias).chances(logits)
    states = (chances.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits, states, np.full(count, 1 / count)


def test_the_temperature_cools_an_overconfident_net() -> None:
    states = np.array([0, 0, 0, 1] * 25)
    logits = np.tile(np.array([8.0, 0.0, 0.0, 0.0], np.float32), (100, 1))
    assert fit_temperature(logits, states, np.full(100, 0.01)).temperature > 2


def test_temperature_and_offsets_are_found_again() -> None:
    found = fit_vector(*drawn(4000, 2.0, (1.0, -1.0, 0.5, -0.5)))
    assert found.temperature == pytest.approx(2.0, rel=0.15)
    assert found.bias == pytest.approx((1.0, -1.0, 0.5, -0.5), abs=0.4)
    assert sum(found.bias) == pytest.approx(0, abs=1e-3)


def test_offsets_are_taken_where_they_help_on_other_faces_and_only_there() -> None:
    shifted = drawn(1500, 1.5, (2.0, 0.0, -2.0, 0.0))
    chosen = calibrate(*shifted, np.arange(1500))
    assert chosen.bias[0] > 1 > -1 > chosen.bias[2]
    assert chosen.log_loss["offsets"] < chosen.log_loss["temperature"] < chosen.log_loss["as trained"]
    straight = drawn(300, 1.5, (0.0,) * 4, seed=1)
    assert calibrate(*straight, np.arange(300)).bias == (0.0,) * 4


def test_a_state_without_a_face_keeps_finite_offsets() -> None:
    logits, states, weights = drawn(200, 1.0, (0.0,) * 4)
    found = fit_vector(logits[states < 2], states[states < 2], weights[states < 2])
    assert np.isfinite(found.bias).all()
    assert np.abs(found.bias).max() < 12


def test_faces_of_one_group_are_never_on_both_sides_of_a_fold() -> None:
    # Copies of a few faces with states of chance: only who sees a copy could fit offsets to them.
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(20), 30)
    logits, states = rng.normal(0, 1, (20, 4))[groups], rng.integers(0, 4, 20)[groups]
    together = calibrate(logits, states, np.full(600, 1 / 600), groups).log_loss["offsets"]
    apart = calibrate(logits, states, np.full(600, 1 / 600), np.arange(600)).log_loss["offsets"]
    assert together > apart + 0.02


def test_probabilities_follow_the_stated_formula() -> None:
    chances = Calibration(2.0, (1.0, 0.0)).chances(np.array([[1.0, 0.0]], np.float32))
    assert chances[0, 0] == pytest.approx(1 / (1 + np.exp(-1.0)))
