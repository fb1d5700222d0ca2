"""The service under trial, with all that surrounds it: its platform's traffic, its receivers, its staff, its clock."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import psycopg

from mask_social.chaos.calls import Answer, Web
from mask_social.chaos.clock import TrialClock
from mask_social.chaos.disk import Disk
from mask_social.chaos.receiver import Receiver
from mask_social.chaos.staff import Staff
from mask_social.chaos.tally import Tally
from mask_social.chaos.traffic import THREADS, Traffic
from mask_social.stack import Stack, StackError
from mask_social.stack.__main__ import watch

PLATFORM = "chaos"
ANALYSIS_SECONDS = 8
WEBHOOK_SECONDS = 3
# Short at first, so that a short outage is over soon; 76 hours in all.
RETRY_SECONDS = (1, 2, 3, 5, 10, 20, 40, 300, 1800, 7200, 14400, 36000, 72000, 144000)
WORKER_MIB = 500  # above it a process of the analysis pool is changed for a fresh one
CHOOSY_TYPES = ("boost.started", "boost.ended", "badge.awarded", "badge.revoked")
CONNECT_SECONDS = 3
REVIVAL_SECONDS = 45.0  # a part that dies again and again is started later each time


class Scene:
    """Everything, up and running; a context manager."""

    def __init__(
        self,
        var: Path,
        seed: int,
        *,
        per_second: float,
        analysis_workers: int,
        progress: Callable[[str], None],
    ) -> None:
        self.seed = seed
        # What was ended how often, and by which signal.
        self.killed: Counter[str] = Counter()
        # What faults check while they last.
        self.tallies: dict[str, Tally] = {}
        self.random = Random(f"faults {seed}")  # noqa: S311 - it is to be repeatable
        self.clock = TrialClock(var / "clock")
        self.disk = Disk(var / "photos")
        late = WEBHOOK_SECONDS + 1.5
        self.steady, self.moody, self.choosy = self.receivers = [
            Receiver(name, self.clock, late_seconds=late) for name in ("steady", "moody", "choosy")
        ]
        self._var = var
        self._per_second, self._analysis_workers, self._progress = per_second, analysis_workers, progress
        self._over = threading.Event()
        self._exit = ExitStack()
        self.stack: Stack
        self.web: Web
        self.staff: Staff
        self.traffic: Traffic

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._enter(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def database(self) -> "psycopg.Connection[Any]":
        """Connect to PostgreSQL. Raises OperationalError while it is away."""
        return psycopg.connect(self.stack.environment["DATABASE_URL"], autocommit=True, connect_timeout=CONNECT_SECONDS)

    def tally(self, promise: str) -> Tally:
        """Return the count of something that a fault checks by itself."""
        return self.tallies.setdefault(promise, Tally(promise))

    def move_clock(self, by: timedelta) -> None:
        """Move the clock of the whole service, when no request waits to be sent again: that would take days."""
        self.clock.advance(by)
        self.traffic.forget_keys()

    def pid(self, part: str) -> int:
        """Return the process, and process group, of a part of the stack; one that is dead is waited for."""
        deadline = time.monotonic() + REVIVAL_SECONDS
        while time.monotonic() < deadline:
            with suppress(StackError):  # it is between its death and its next life
                if (process := self.stack.process(part)).poll() is None:
                    return process.pid
            time.sleep(0.1)
        late = f"{part} was not started again within {REVIVAL_SECONDS:.0f} s"
        self.tally("the supervisor starts again what dies").expect(False, late)
        raise ProcessLookupError(late)

    def server(self, name: str) -> int:
        """Return the process of a server: postgres or redis."""
        home = (self._var / "stack" / name).resolve()
        return int(json.loads((home / "guard.json").read_text())["server"])

    def _enter(self, exits: ExitStack) -> None:
        exits.enter_context(self.disk)
        for receiver in self.receivers:
            exits.enter_context(receiver)
        for variable in ("DATABASE_URL", "REDIS_URL"):  # a trial never touches servers that serve somebody
            for name in (variable, f"{variable}_FILE"):
                os.environ.pop(name, None)
        environment = {
            "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",
            "MASK_SOCIAL_ANALYZER": "mask_social.chaos.analyzer.ChaosAnalyzer",
            "MASK_SOCIAL_ANALYSIS_SECONDS": str(ANALYSIS_SECONDS),
            "MASK_SOCIAL_ANALYSIS_WORKER_MIB": str(WORKER_MIB),
            "MASK_SOCIAL_CLOCK_FILE": str(self.clock.path),
            # Weeks go by in minutes, and a dozen authors post what thousands do in an hour.
            "MASK_SOCIAL_EVENT_DAYS": "3650",
            "MASK_SOCIAL_RATE_AUTHOR": "1000000",
            "MASK_SOCIAL_RATE_KEY": "1000000",
            "MASK_SOCIAL_SWEEP_SECONDS": "1",
            # A clock that jumps makes every photo that waits an old one.
            "MASK_SOCIAL_MAX_QUEUE_SECONDS": "1000000",
            "MASK_SOCIAL_WEBHOOK_SECONDS": str(WEBHOOK_SECONDS),
            "MASK_SOCIAL_WEBHOOK_RETRY_SECONDS": ",".join(map(str, RETRY_SECONDS)),
            "STORAGE_URL": self.disk.folder.as_uri(),
        }
        self.stack = exits.enter_context(
            Stack(
                self._var / "stack",
                env=environment,
                analysis_workers=self._analysis_workers,
                progress=self._progress,
            )
        )
        supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        supervisor.start()
        exits.callback(supervisor.join)
        exits.callback(self._over.set)
        self.staff = exits.enter_context(Staff(self.stack.environment))
        made = json.loads(_expect(self.staff.manage("bootstrap", "--json", "--platform", PLATFORM), 200))
        self.web = Web(self.stack.url, made["api_key"], THREADS + 2)
        _expect(self.staff.furnish(PLATFORM), 200)
        for receiver in self.receivers:
            types = {"event_types": CHOOSY_TYPES} if receiver is self.choosy else {}
            made_endpoint = self.web.ask("POST", "/api/v1/webhook-endpoints", json={"url": receiver.url, **types})
            receiver.trust(**_trusted(_expect(made_endpoint, 201)))
        self.traffic = Traffic(self.web, self.staff, self.seed, per_second=self._per_second)
        exits.callback(self.traffic.end)

    def _supervise(self) -> None:
        """Start again what dies, as `make run` does."""
        tally = self.tally("the supervisor starts again what dies")
        tally.checked += 1
        try:
            watch(self.stack, self._over)
        except StackError as error:
            tally.problems.append(str(error))


def _trusted(endpoint: dict[str, Any]) -> dict[str, str]:
    return {"endpoint_id": endpoint["id"], "secret": endpoint["secret"]}


def _expect(answer: Answer, status: int) -> Any:
    if answer.status != status:
        raise RuntimeError(f"The trial could not be set up: {answer.status} {answer.body}")
    return answer.body
