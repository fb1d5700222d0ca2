"""Measures against values worked out by hand."""

import math

import numpy as np
import pytest

from ml.evaluation.stats import (
    Resampler,
    area_under,
    calibration_error,
    confusion_of,
    divided,
    macro_f1,
    wilson,
)


def test_a_share_is_that_of_all_faces_and_not_the_mean_of_the_photographs() -> None:
    estimate = Resampler(3, 200, seed=1).share([1, 9, 0], [2, 10, 0])
    assert estimate.value == pytest.approx(10 / 12)
    assert estimate.n == 12
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.5 <= estimate.low < 10 / 12 < estimate.high <= 0.9


def test_the_interval_is_that_of_photographs_drawn_and_not_of_faces() -> None:
    # A hundred faces on two photographs, one all right and one all wrong: nothing is known.
    together = Resampler(2, 500, seed=1).share([50, 0], [50, 50])
    apart = Resampler(100, 500, seed=1).share([1] * 50 + [0] * 50, [1] * 100)
    assert (together.low, together.high) == (0, 1)
    assert apart.low == pytest.approx(0.4, abs=0.03)
    assert apart.high == pytest.approx(0.6, abs=0.03)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    hits, faces = np.arange(40) % 3, np.full(40, 3)
    first, again, other = (Resampler(40, 300, seed).share(hits, faces) for seed in (5, 5, 6))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_a_share_of_all_or_none_has_the_interval_of_wilson() -> None:
    resampler = Resampler(10, 100, seed=0)
    everything, nothing = resampler.share([1] * 10, [1] * 10), resampler.share([0] * 10, [1] * 10)
    assert (everything.value, everything.high) == (1, 1)
    assert everything.low == pytest.approx(0.7225, abs=1e-4)
    assert nothing.high == pytest.approx(0.2775, abs=1e-4)


def test_wilson_agrees_with_the_textbook() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_nothing_to_count_has_no_value_and_is_no_error() -> None:
    estimate = Resampler(2, 50, seed=0).share([0, 0], [0, 0])
    assert estimate.as_json() == {"value": None, "low": None, "high": None, "n": 0}


def test_f1_of_three_states_by_hand() -> None:
    confusion = [[8, 1, 1, 0], [2, 6, 0, 2], [0, 1, 3, 0], [5, 0, 0, 4]]
    # mask: 10 there, 10 said by the first three rows, 8 right; no_mask: 10, 8, 6; incorrect: 4, 4, 3.
    assert macro_f1(confusion) == pytest.approx((16 / 20 + 12 / 18 + 6 / 8) / 3)


def test_a_confusion_has_the_truth_in_rows() -> None:
    counts = confusion_of(np.array([1, 1, 0]), np.array([0, 0, 2]), 3)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_calibration_error_is_the_gap_between_sure_and_right() -> None:
    chances = np.array([[0.95, 0.05]] * 10 + [[0.65, 0.35]] * 10)
    states = np.array([0] * 9 + [1] + [0] * 4 + [1] * 6)
    # Sure by 0.95 and right by 0.9; sure by 0.65 and right by 0.4.
    assert calibration_error(chances, states) == pytest.approx((0.05 + 0.25) / 2, abs=1e-4)
    assert calibration_error(np.full((40, 4), 0.25), np.ones(40, np.int64)) == pytest.approx(0.25)
    assert calibration_error(np.eye(4)[[0, 1, 2]], np.array([0, 1, 2])) == 0
    assert calibration_error(np.empty((0, 4)), np.empty(0, np.int64)) == 0


def test_average_precision_takes_the_best_precision_at_a_recall_or_beyond() -> None:
    recall, precision = np.array([0.25, 0.25, 0.5, 0.75]), np.array([1.0, 0.5, 2 / 3, 0.6])
    assert area_under(recall, precision) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.25 * 0.6)
    late = np.array([0.5, 0.9])
    assert area_under(np.array([0.5, 1.0]), late) == pytest.approx(0.9)


def test_dividing_by_nothing_is_not_a_number() -> None:
    quotient = divided([1.0, 0.0, 3.0], [2.0, 0.0, 0.0])
    assert quotient[0] == 0.5
    assert math.isnan(quotient[1])
    assert math.isnan(quotient[2])
