"""The experiment's arithmetic: intervals that hold the truth as often as they say, and alarms that go off.

The expected numbers are SciPy's.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from incentives.experiments import simulation, statistics
from incentives.experiments.assignment import BUCKETS, bucket_of, holdout_share, is_held_out
from incentives.experiments.report import Judgement, guard, judge
from incentives.experiments.simulation import Arms, Counts, People, World
from incentives.experiments.statistics import Interval, Pair, Sample
from incentives.experiments.tally import Money, Tallies, Tally

SOME = [i % 7 for i in range(40)]
OTHERS = [(i * i) % 5 for i in range(33)]
RUNS = 1_000
# Four standard errors of a share of 95 % in so many runs: the seeds are fixed, so this is no dice.
TOLERANCE = 4 * (0.95 * 0.05 / RUNS) ** 0.5
WORLD = World(authors=600, holdout_percent=20, lift=0.3)
ZERO = replace(WORLD, lift=0.0)


def sample(values: Sequence[int]) -> Sample:
    return simulation.sample(np.array(values, np.int64))


def test_an_author_is_held_out_by_salt_platform_and_id_alone() -> None:
    assert bucket_of("s", "plt_1", "ada") == bucket_of("s", "plt_1", "ada")
    # sha256 of "s:plt_1:ada"; another answer would move authors between the arms of experiments that run.
    assert bucket_of("s", "plt_1", "ada") == 3557
    assert (
        len({bucket_of(*names) for names in (("s", "plt_1", "ada"), ("t", "plt_1", "ada"), ("s", "plt_2", "ada"))}) == 3
    )


@pytest.mark.parametrize("percent", [0.07, 5.0, 50.0])
def test_the_share_held_out_is_the_percentage(percent: float) -> None:
    held_out = sum(is_held_out("salt", "plt_1", f"author {number}", percent) for number in range(40_000))
    assert holdout_share(percent) == pytest.approx(percent / 100)
    assert not statistics.sample_ratio(40_000 - held_out, held_out, percent / 100).is_off
    assert sum(bucket < round(percent * 100) for bucket in range(BUCKETS)) == BUCKETS * holdout_share(percent)


def test_another_salt_draws_other_authors() -> None:
    names = [f"author {number}" for number in range(10_000)]
    first, second = ({name for name in names if is_held_out(salt, "plt_1", name, 20)} for salt in ("one", "two"))
    assert len(first & second) / len(first) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(15, 2.131449545559776), (29, 2.045229642132703), (60, 2.0002978220142604), (1_000, 1.9623390808264083)],
)
def test_the_quantile_is_that_of_students_t(degrees: float, expected: float) -> None:
    assert statistics.t_quantile(degrees) == pytest.approx(expected, abs=2e-6)


def test_a_difference_has_the_interval_of_welch() -> None:
    assert (sample(SOME), sample(OTHERS)) == (Sample(40, 115, 485), Sample(33, 65, 221))
    found = statistics.contrast(sample(SOME), sample(OTHERS))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.9053030303030303, 0.043032839028885106, 1.7675732215771753), abs=1e-7
    )
    weighted = statistics.contrast(sample(SOME), sample(OTHERS), 1.1)
    assert weighted is not None
    assert (weighted.low, weighted.high) == pytest.approx((-0.19582286880384736, 1.6124895354705142), abs=1e-7)


def test_the_mean_and_the_deviation_are_those_of_the_values() -> None:
    found = sample(SOME)
    assert found.mean == np.mean(SOME)
    assert found.deviation == pytest.approx(np.std(SOME, ddof=1))
    assert Sample(0, 0, 0).mean == Sample(1, 5, 25).deviation == 0


def test_sums_larger_than_a_float_holds_lose_nothing() -> None:
    million = 10**12
    values = [million + value for value in SOME]
    huge = Sample(len(values), sum(values), sum(value**2 for value in values))
    assert huge.variance == pytest.approx(sample(SOME).variance)


@pytest.mark.parametrize(
    ("treatment", "holdout"),
    [(SOME, OTHERS[:29]), (SOME[:29], OTHERS), ([], []), ([0] * 50, [0] * 50), ([2] * 50, [1] * 50)],
)
def test_nothing_is_said_of_few_authors_or_of_authors_all_alike(treatment: list[int], holdout: list[int]) -> None:
    assert statistics.contrast(sample(treatment), sample(holdout)) is None
    assert statistics.relative(sample(treatment), sample(holdout)) is None


def test_nothing_is_divided_by_a_mean_that_may_be_zero() -> None:
    assert statistics.relative(sample(SOME), sample([1, 1, *[0] * 50])) is None
    assert statistics.relative(sample(SOME), sample([1] * 12 + [0] * 50)) is not None


def test_a_sample_ratio_has_the_p_of_chi_square() -> None:
    assert statistics.sample_ratio(8_100, 1_900, 0.2).p == pytest.approx(0.01241933065155227)
    assert statistics.sample_ratio(805, 195, 0.2).p == pytest.approx(0.6926327840419602)
    assert statistics.sample_ratio(80, 4, 0.04).p is None
    assert statistics.sample_ratio(0, 0, 0.04).p is None


def test_the_intervals_hold_a_known_lift_as_often_as_they_say() -> None:
    found = simulation.coverage(WORLD, RUNS)
    assert found.told == 1
    assert found.absolute == pytest.approx(0.95, abs=TOLERANCE)
    assert found.relative == pytest.approx(0.95, abs=TOLERANCE)
    assert found.zero < 0.7


def test_where_there_is_no_lift_zero_is_in_the_interval_as_often_as_it_says() -> None:
    assert simulation.coverage(ZERO, RUNS).zero == pytest.approx(0.95, abs=TOLERANCE)


def test_the_absolute_lift_is_the_difference_of_what_authors_would_do() -> None:
    people = simulation.meet(replace(WORLD, authors=200_000), 0)
    assert people.added.mean() == pytest.approx(WORLD.absolute_lift, rel=0.03)
    assert people.added.mean() / people.masked.mean() == pytest.approx(WORLD.relative_lift, rel=0.03)
    assert people.posts.mean() == pytest.approx(WORLD.posts_per_author, rel=0.03)


def test_the_interval_of_a_price_holds_the_true_one_as_often_as_it_says() -> None:
    world, held = replace(WORLD, authors=1_500, lift=1.0), []
    for run in range(RUNS):
        people = simulation.meet(world, run)
        rng = np.random.default_rng(RUNS + run)
        held_out = rng.random(world.authors) < world.holdout_percent / 100
        masked = simulation.live(people, held_out)[1]
        paid = 50 * rng.binomial(masked, 0.7)  # some are over a cap: 35 for each in the long run
        found = statistics.price(*(pair_of(masked[arm], paid[arm]) for arm in (~held_out, held_out)))
        held.append(found is not None and found.holds(35))

    assert np.mean(held) == pytest.approx(0.95, abs=TOLERANCE)


# Controls: the checks above and the sample ratio notice what is broken.


def of_the_masked(masked: Counts, held_out: Arms) -> tuple[Interval | None, Interval | None]:
    """Count only authors with a masked post, as if who never wore one had not taken part."""
    return simulation.compare(masked[masked > 0], held_out[masked > 0])


def of_lone_posts(masked: Counts, held_out: Arms) -> tuple[Interval | None, Interval | None]:
    """Take posts for independent of each other, as if their authors did not matter: the variance is the mean."""

    def alone(values: Counts) -> Sample:
        n, total = len(values), int(values.sum())
        return Sample(n, total, round(total**2 / n + total * (n - 1) / n))

    treatment, holdout = alone(masked[~held_out]), alone(masked[held_out])
    return statistics.contrast(treatment, holdout), statistics.relative(treatment, holdout)


def by_activity(world: World, people: People, run: int) -> Arms:
    """Hold out those who post much only half as often."""
    shares = np.where(people.posts > world.posts_per_author, 0.5, 1) * world.holdout_percent / 100
    return np.random.default_rng(run).random(len(shares)) < shares


def as_many_by_activity(world: World, people: People, run: int) -> Arms:
    """Hold out exactly as many as one should, but rather those who post little: the sample ratio cannot see it."""
    ranks = np.argsort(people.posts + np.random.default_rng(run).normal(0, 20, len(people.posts)))
    return np.isin(np.arange(len(ranks)), ranks[: round(len(ranks) * world.holdout_percent / 100)])


@pytest.mark.parametrize("broken", [of_the_masked, of_lone_posts])
def test_a_broken_estimate_holds_the_truth_less_often(broken: simulation.Estimate) -> None:
    large = replace(WORLD, authors=3_000, lift=1.0)
    assert simulation.coverage(large, 200).absolute > 0.9
    assert simulation.coverage(large, 200, estimate=broken).absolute < 0.85


@pytest.mark.parametrize("broken", [by_activity, as_many_by_activity])
def test_a_leaking_assignment_finds_a_lift_where_there_is_none(broken: simulation.Assign) -> None:
    assert simulation.coverage(ZERO, 300, assign=broken).zero < 0.85


def arms_of(held_out: Arms) -> statistics.SampleRatio:
    return statistics.sample_ratio(int((~held_out).sum()), int(held_out.sum()), WORLD.holdout_percent / 100)


def test_the_sample_ratio_tells_of_a_leak_and_is_quiet_otherwise() -> None:
    large = replace(WORLD, authors=5_000, lift=1.0)
    sound, leaky, masked_alone = 0, 0, 0
    for run in range(20):
        people = simulation.meet(large, run)
        held_out = simulation.by_salt(large, people, run)
        sound += arms_of(held_out).is_off
        leaky += arms_of(by_activity(large, people, run)).is_off
        masked_alone += arms_of(held_out[simulation.live(people, held_out)[1] > 0]).is_off
    assert (sound, leaky) == (0, 20)
    assert masked_alone > 5, "authors counted for what the treatment did to them are more in the treatment"


def test_the_same_salt_twice_would_hold_out_the_same_authors() -> None:
    people = simulation.meet(WORLD, 0)
    assert (simulation.by_salt(WORLD, people, 0) == simulation.by_salt(WORLD, people, 0)).all()


# Judging


@pytest.mark.parametrize(
    ("treatment", "holdout", "more_is_worse", "judgement"),
    [
        ([4, 6] * 500, [4, 6] * 500, False, Judgement.NO_WORSE),
        ([4, 6] * 500, [4, 6] * 500, True, Judgement.NO_WORSE),
        ([3, 5] * 500, [4, 6] * 500, False, Judgement.WORSE),
        ([3, 5] * 500, [4, 6] * 500, True, Judgement.NO_WORSE),
        ([5, 7] * 500, [4, 6] * 500, True, Judgement.WORSE),
        ([5, 7] * 500, [4, 6] * 500, False, Judgement.NO_WORSE),
        ([0, 10] * 30, [0, 10] * 30, True, Judgement.CANNOT_SAY),
        ([0] * 500, [0] * 500, True, Judgement.CANNOT_SAY),
        ([4, 6] * 10, [4, 6] * 10, True, Judgement.CANNOT_SAY),
    ],
)
def test_a_guardrail_says_no_worse_only_within_its_margin(
    treatment: list[int], holdout: list[int], more_is_worse: bool, judgement: Judgement
) -> None:
    found = guard("posts", sample(treatment), sample(holdout), margin=0.05, more_is_worse=more_is_worse)
    assert found.judgement is judgement
    if found.room is not None:
        assert (found.room.low > 0) == (judgement is Judgement.NO_WORSE)


def test_a_harm_that_is_shown_but_tolerated_is_no_worse() -> None:
    found = guard("posts", sample([49, 51] * 500), sample([50, 52] * 500), margin=0.05, more_is_worse=False)
    assert found.difference is not None and found.difference.high < 0
    assert found.judgement is Judgement.NO_WORSE


def pair_of(masked: Counts, paid: Counts) -> Pair:
    return Pair(simulation.sample(masked), simulation.sample(paid), int((masked * paid).sum()))


def tally(masked: Sequence[int]) -> Tally:
    rest = sample([1, 2] * (len(masked) // 2) + [1] * (len(masked) % 2))
    return Tally(posts=rest, masked=sample(masked), appeals=rest, reviews=rest)


def money(treatment: Sequence[int], holdout: Sequence[int], cents: int) -> Money:
    arms = (np.array(masked) for masked in (treatment, holdout))
    return Money("EUR", *(pair_of(masked, cents * masked) for masked in arms))


MORE, LESS = [2, 4] * 100, [1, 3] * 100


def test_where_each_masked_post_costs_the_same_an_additional_one_costs_that_for_sure() -> None:
    [cost] = judge(Tallies(tally(MORE), tally(LESS), [money(MORE, LESS, 50)]), 0.5).costs
    assert cost.price is not None
    assert (cost.price.low, cost.price.high) == pytest.approx((50, 50))
    assert (cost.treatment.mean, cost.holdout.mean) == (150, 100)


def test_where_money_varies_so_does_what_an_additional_post_costs() -> None:
    treatment = pair_of(np.array(MORE), np.array([0, 100, 200, 300] * 50))
    tallies = Tallies(tally(MORE), tally(LESS), [Money("EUR", treatment, money(MORE, LESS, 50).holdout)])
    [cost] = judge(tallies, 0.5).costs
    assert cost.price is not None
    assert cost.price.value == 50
    assert cost.price.low < 40 and cost.price.high > 60


@pytest.mark.parametrize(
    ("treatment", "holdout", "why"),
    [
        ([1, 3] * 100, [1, 3] * 100, "may be zero"),
        (LESS, MORE, "fewer masked posts"),
        ([1, 3] * 10, [1, 3] * 100, "cannot be told yet"),
    ],
)
def test_no_cost_is_given_without_a_lift(treatment: list[int], holdout: list[int], why: str) -> None:
    found = judge(Tallies(tally(treatment), tally(holdout), [money(treatment, holdout, 50)]), 0.5)
    assert found.costs == []
    assert why in found.costs_missing


def test_it_says_why_there_is_no_lift() -> None:
    assert "Too few" in judge(Tallies(tally([1, 2] * 10), tally(LESS), []), 0.5).lift_missing
    assert "the same" in judge(Tallies(tally([2] * 50), tally([2] * 50), []), 0.5).lift_missing
    told = judge(Tallies(tally(MORE), tally(LESS), []), 0.5)
    assert (told.lift_missing, told.costs_missing) == ("", "No money was matched.")
    assert told.lift is not None and told.lift.value == 1
    assert told.relative_lift is not None and told.relative_lift.value == 0.5
