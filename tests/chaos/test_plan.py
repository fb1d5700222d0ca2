"""What a trial does hangs on its seed alone."""

from itertools import islice

import pytest

from mask_social.chaos import plan
from mask_social.chaos.faults import FAULTS
from mask_social.chaos.plan import Step


def first(count: int, seed: int) -> list[Step]:
    return [*islice(plan.steps(seed), count)]


def test_a_seed_gives_the_same_plan_again_and_another_one_another() -> None:
    assert first(100, seed=5) == first(100, seed=5)
    assert first(100, seed=5) != first(100, seed=6)


def test_every_fault_strikes_alone_before_one_strikes_again() -> None:
    steps = first(len(FAULTS), seed=5)

    assert {step.name for step in steps} == set(FAULTS)


def test_later_some_strike_two_at_once_but_never_two_of_one_receiver() -> None:
    pairs = [step for step in first(400, seed=5) if len(step.faults) > 1]

    assert pairs
    for step in pairs:
        assert sum(fault.name.startswith("receiver-") for fault in step.faults) < 2
        assert not {fault.name for fault in step.faults} & plan.ALONE


def test_chosen_faults_come_in_the_order_given_and_then_again() -> None:
    chosen = [plan.read("web+redis"), plan.read("clock")]

    assert [step.name for step in islice(plan.steps(5, chosen), 3)] == ["web + redis", "clock", "web + redis"]


def test_a_fault_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="meteorite"):
        plan.read("web+meteorite")
