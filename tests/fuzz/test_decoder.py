"""The short form of the decoder's fuzz, and that the fuzz finds what it is there to find."""

import os
import signal
import time

import pytest

from tests.fuzz import decoder
from tests.fuzz.corpus import corpus
from tests.fuzz.mutations import mutated

INPUTS = 600


def test_spoilt_pictures_are_taken_or_refused_and_nothing_else() -> None:
    found = decoder.fuzz(decoder.read_upload, INPUTS)

    assert found.failures == []
    assert found.outcomes.total() == INPUTS
    assert {"taken", "truncated_image", "not_an_image"} <= found.outcomes.keys()
    assert found.megabytes < decoder.MOST_MEGABYTES


def test_a_picture_that_is_whole_is_taken() -> None:
    assert decoder.read_upload(corpus()[0]) == "taken"


def test_a_number_makes_the_same_input_again() -> None:
    files = corpus()
    assert [mutated(files, number) for number in range(50)] == [mutated(corpus(), number) for number in range(50)]
    assert len({mutated(files, number) for number in range(500)}) > 450


def _at(number: int, spoil: object) -> decoder.Judge:
    """Judge all inputs well, but one."""
    chosen, files = mutated(corpus(), number), corpus()
    assert chosen not in files

    def judge(data: bytes) -> str:
        if data == chosen:
            spoil()  # type: ignore[operator]
        return "taken"

    return judge


def _raise() -> None:
    raise ValueError("a decoder's own error")


def _run_in_circles() -> None:
    while True:
        pass


def _wait_for_ever() -> None:
    time.sleep(600)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_raise, "ValueError: a decoder's own error"),
        (_run_in_circles, "TooLongError"),
        (_wait_for_ever, "the process died: SIGKILL"),
        (_crash, "the process died: SIGSEGV"),
    ],
)
def test_what_must_not_be_is_found_with_its_number_and_the_others_are_judged(spoil: object, said: str) -> None:
    found = decoder.fuzz(_at(7, spoil), 20, seconds=0.5, processes=1)

    [(number, what)] = found.failures
    assert number == 7 and said in what
    # A process that died took the count of its first inputs with it.
    assert found.outcomes.total() in {19, 12}


def test_memory_that_no_photo_takes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MOST_MEGABYTES", 400)

    found = decoder.fuzz(_at(3, lambda: b"x" * 500_000_000), 10, processes=1, seconds=60)

    assert ["MB" in what for _, what in found.failures] == [True]
