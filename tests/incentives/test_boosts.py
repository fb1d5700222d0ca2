"""A boost fades by half every half-life."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from incentives.boosts import factor_at

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Plain:
    factor: float = 3.0
    cap: float = 4.0
    half_life_seconds: int = 3600
    starts_at: datetime = START
    ends_at: datetime = START + 10 * HOUR
    revoked_at: datetime | None = None


@pytest.mark.parametrize(
    ("hours", "factor"),
    [(-0.001, 1.0), (0, 3.0), (1, 2.0), (2, 1.5), (3, 1.25), (0.5, 1 + 2 * 0.5**0.5), (10, 1.0), (99, 1.0)],
)
def test_its_excess_over_one_halves_every_half_life_between_start_and_end(hours: float, factor: float) -> None:
    assert factor_at(Plain(), START + hours * HOUR) == pytest.approx(factor)


def test_it_never_grows_and_never_falls_below_one() -> None:
    factors = [factor_at(Plain(), START + minutes * timedelta(minutes=1)) for minutes in range(700)]
    assert factors == sorted(factors, reverse=True)
    assert min(factors) == 1.0


def test_the_cap_bounds_it() -> None:
    assert factor_at(Plain(factor=9.0, cap=2.5), START) == 2.5


def test_a_boost_that_was_taken_back_lifts_nothing() -> None:
    assert factor_at(Plain(revoked_at=START), START + HOUR) == 1.0


def test_the_age_that_the_platform_counts_takes_the_place_of_ours() -> None:
    assert factor_at(Plain(), START, age=HOUR) == pytest.approx(2.0)
    assert factor_at(Plain(), START, age=11 * HOUR) == 1.0
