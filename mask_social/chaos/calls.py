"""Calls that are made until they are answered, as a good client makes them."""

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import urllib3

LONGEST_WAIT = 4.0
FIRST_WAIT = 0.25
READ_SECONDS = 20.0
IDLE_SECONDS = 0.02
# Answers to a second request while the first still runs.
IN_FLIGHT = "idempotency_in_flight"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; status 0: nothing was, and the body says why."""

    status: int
    body: Any
    retry_after: float = 0.0

    @property
    def is_final(self) -> bool:
        """Say whether another try would be answered the same."""
        if self.status == HTTPStatus.CONFLICT:
            return not (isinstance(self.body, dict) and self.body.get("code") == IN_FLIGHT)
        return self.status not in (0, HTTPStatus.TOO_MANY_REQUESTS) and self.status < 500


@dataclass(order=True, slots=True)
class Call:
    """One request; `done` hears of the answer that is final."""

    due: float
    number: int
    make: Callable[[], Answer] = field(compare=False)
    done: Callable[[Answer], None] = field(compare=False)
    tries: int = field(default=0, compare=False)


class Web:
    """The API at `url` with a key; never raises for what the other side does."""

    def __init__(self, url: str, key: str, threads: int) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        timeout = urllib3.Timeout(connect=3, read=READ_SECONDS)
        self._pool = urllib3.PoolManager(maxsize=threads, retries=False, timeout=timeout)

    def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, fields: Any = None, json: Any = None
    ) -> Answer:
        """Make one request."""
        body = {name: value for name, value in {"fields": fields, "json": json}.items() if value is not None}
        try:
            answer = self._pool.request(method, self._url + path, headers={**self._headers, **(headers or {})}, **body)
            said = answer.json() if answer.data else None
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return Answer(0, type(error).__name__)
        asked = answer.headers.get("Retry-After", "")
        return Answer(answer.status, said, float(asked) if asked.isdigit() else 0.0)


class Caller:
    """Make calls in threads of its own, each again and again until its answer is final."""

    def __init__(self, threads: int) -> None:
        self.answers: Counter[str] = Counter()
        self.retries = 0
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[Call] = []
        self._running = 0
        self._over = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def outstanding(self) -> int:
        """How many calls have no final answer yet."""
        with self._condition:
            return len(self._waiting) + self._running

    def call(self, make: Callable[[], Answer], done: Callable[[Answer], None]) -> None:
        """Make a call, soon."""
        with self._condition:
            heapq.heappush(self._waiting, Call(time.monotonic(), next(self._numbers), make, done))
            self._condition.notify()

    def end(self) -> None:
        """Make no more calls."""
        with self._condition:
            self._over = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(READ_SECONDS + 5)

    def _work(self) -> None:
        while (call := self._next()) is not None:
            answer = call.make()
            if answer.is_final:
                call.done(answer)
            with self._condition:
                self.answers[str(answer.status or answer.body)] += 1
                self._running -= 1
                if not answer.is_final:
                    self.retries += 1
                    call.tries += 1
                    wait = min(LONGEST_WAIT, FIRST_WAIT * 2**call.tries)
                    call.due = time.monotonic() + max(wait, min(answer.retry_after, LONGEST_WAIT))
                    heapq.heappush(self._waiting, call)

    def _next(self) -> Call | None:
        with self._condition:
            while not self._over:
                if self._waiting and self._waiting[0].due <= time.monotonic():
                    self._running += 1
                    return heapq.heappop(self._waiting)
                self._condition.wait(IDLE_SECONDS if self._waiting else 1.0)
        return None
