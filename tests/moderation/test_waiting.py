"""Readers wait for news, and leave room for those who do not."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moderation import waiting

BASE = Path(__file__).resolve().parents[2]


def test_it_reads_once_when_that_is_enough() -> None:
    reads = iter(range(9))
    assert waiting.read_until(lambda found: found == 0, lambda: next(reads), 30) == 0
    assert next(reads) == 1


def test_it_reads_until_it_is_enough() -> None:
    reads = iter(range(9))
    assert waiting.read_until(lambda found: found == 3, lambda: next(reads), 30) == 3


def test_without_a_place_to_wait_the_answer_comes_at_once_and_places_are_given_back() -> None:
    is_over, arrived = threading.Event(), threading.Barrier(waiting.MAX_WAITING + 1)

    def wait() -> bool:
        arrived.wait(10)
        return waiting.read_until(bool, is_over.is_set, 30)

    with ThreadPoolExecutor(waiting.MAX_WAITING) as pool:
        waiters = [pool.submit(wait) for _ in range(waiting.MAX_WAITING)]
        arrived.wait(10)
        time.sleep(0.2)
        began = time.monotonic()
        one_too_many = waiting.read_until(bool, is_over.is_set, 30)
        took = time.monotonic() - began
        is_over.set()
        assert all(waiter.result(10) for waiter in waiters)

    assert (one_too_many, took < 5) == (False, True)
    assert waiting.read_until(lambda found: found > 1, iter((0, 1, 2)).__next__, 30) == 2


def test_wherever_it_is_served_more_threads_than_wait_are_there() -> None:
    for name in ("Dockerfile", "mask_social/stack/__init__.py"):
        threads = re.findall(r'--threads(?:=|", ")(\d+)"', (BASE / name).read_text())
        assert [int(count) >= waiting.MAX_WAITING + 4 for count in threads] == [True], name
