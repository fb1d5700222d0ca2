"""What each worker runs beside its work: a thread that makes sure it still takes messages, and is not too large.

Celery with Redis has been seen to go on living, heartbeat and all, without taking any message after a reconnect (celery
issues 8091, 10205 and 10302). So the worker sends itself a canary, and where the broker answers but no canary comes
back for longer than any analysis may take, it ends at once and its supervisor starts another. What it had in hand
comes again: every piece of work is held by a lease.

It counts seconds that it has seen pass, so that a process that was stopped for an hour does not take itself for dead;
it counts none while Redis does not answer, and a tenth while every place of the pool is taken by a task, or the last
tasks end before a shutdown.
"""

import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import redis
from celery.worker import state
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from mask_social import canary, tasks

logger = logging.getLogger(__name__)

_TELL_OF_EACH_TASK = ("celery.worker.strategy", "celery.app.trace", "mask_social.task")
EXIT_STATUS = 70  # EX_SOFTWARE
# All places taken is work, but not for ever: tasks that hang are no work.
BUSY_FACTOR = 10
_MIB = 1024**2
_EXCHANGE = Exchange("canary", type="direct")
# A worker that is gone leaves a queue with a name nobody will bear again.
_QUEUE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may do before it is ended."""

    period: float
    silence: float
    mebibytes: float


@dataclass(slots=True)
class Silence:
    """For how long nothing was heard although something should have been."""

    patience: float
    idle: float = 0.0
    busy: float = 0.0

    def note(self, seconds: float, *, reachable: bool, heard: bool, busy: bool) -> None:
        """Add what passed since the last note."""
        if heard or not reachable:
            self.idle = self.busy = 0.0
        elif busy:
            self.busy += seconds
        else:
            self.idle += seconds

    @property
    def is_too_long(self) -> bool:
        return self.idle > self.patience or self.idle + self.busy > self.patience * BUSY_FACTOR


def hush_canaries() -> None:
    """Keep canaries out of the log of tasks."""
    for name in _TELL_OF_EACH_TASK:
        logging.getLogger(name).addFilter(
            lambda record: record.levelno > logging.INFO or tasks.fly_canary.name not in record.getMessage()
        )


def canary_queue(worker: str) -> Queue:
    """Return the queue to consume besides the others."""
    name = canary.queue_of(worker)
    return Queue(name, _EXCHANGE, routing_key=name, expires=_QUEUE_SECONDS)


class Watchdog(threading.Thread):
    """Watch the worker of this process until it ends."""

    def __init__(
        self,
        worker: Any,
        served: Sequence[str],
        limits: Limits,
        *,
        broker_url: str,
        on_life: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._worker = worker
        self._name: str = worker.hostname
        self._served = list(served)
        self._limits = limits
        self._on_life = on_life
        self._silence = Silence(limits.silence)
        self._numbers = itertools.count(1)
        self._asked_to_end = False
        # Its own client and connections: a child may be forked while this thread holds one of their locks.
        self._redis = redis.Redis.from_url(
            broker_url, socket_timeout=limits.period + 5, socket_connect_timeout=limits.period
        )

    def run(self) -> None:
        """Look again and again."""
        while True:
            began = time.monotonic()
            try:
                self._look(began)
            except Exception:  # a watchdog that dies watches nothing
                logger.exception("The watchdog of %s stumbled.", self._name)
            time.sleep(max(0.1, self._limits.period - (time.monotonic() - began)))

    def _look(self, began: float) -> None:
        reachable, heard = True, False
        try:
            heard = self._send_and_wait()
        except (redis.RedisError, OperationalError, OSError) as error:
            reachable = False
            logger.warning("The watchdog of %s cannot reach the broker: %s.", self._name, type(error).__name__)
        is_ending = state.should_stop is not None and state.should_stop is not False
        busy = is_ending or len(state.active_requests) >= self._worker.concurrency
        # A process that was stopped, or whose machine slept, saw nothing of the time: it counts as one look.
        passed = min(max(time.monotonic() - began, self._limits.period), 2 * self._limits.period)
        self._silence.note(passed, reachable=reachable, heard=heard, busy=busy)
        if self._silence.is_too_long:
            self._end()
        if reachable and (heard or busy):
            self._on_life()
        self._mind_memory()

    def _send_and_wait(self) -> bool:
        """Send a canary where none is on its way; say whether one came back."""
        queue, answers = canary.queue_of(self._name), canary.answers_to(self._name)
        if not self._redis.llen(queue):
            with self._worker.app.connection_for_write(connect_timeout=self._limits.period) as connection:
                told = (self._name, next(self._numbers), self._served)
                self._worker.app.send_task(tasks.fly_canary.name, told, queue=queue, connection=connection, retry=False)
        if self._redis.blpop([answers], timeout=self._limits.period) is None:
            return False
        self._redis.delete(answers)
        return True

    def _end(self) -> None:
        seen = self._silence
        logger.critical(
            "%s takes no messages: the broker answers, but no canary came back in %.0f s (%.0f s of them with every "
            "place taken; %d tasks run, %d are reserved). It ends, to be started again.",
            *(self._name, seen.idle + seen.busy, seen.busy, len(state.active_requests), len(state.reserved_requests)),
        )
        logging.shutdown()
        # Not the process group: under a shell or make it may hold others.
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(EXIT_STATUS)

    def _mind_memory(self) -> None:
        used = psutil.Process().memory_info().rss / _MIB
        if used > self._limits.mebibytes and not self._asked_to_end:
            self._asked_to_end = True
            logger.warning(
                "%s holds %.0f MiB, more than %.0f: it ends when its tasks are done, to be started again.",
                *(self._name, used, self._limits.mebibytes),
            )
            os.kill(os.getpid(), signal.SIGTERM)  # a warm shutdown
