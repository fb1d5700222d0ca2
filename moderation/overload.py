"""When no more posts are taken: photos wait for too long, or too many do.

Accepting a post costs the same however long the queue is, so nothing else would stop it from growing for ever. What is
refused now is sent again later by whoever sent it; what is taken is looked at within a time that can be promised.
"""

import math
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings

from mask_social import clock
from mask_social.errors import ApiError
from moderation.models import Analysis

_REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
_FRESH_SECONDS = 1.0
# What a caller is told who is refused before it was seen how fast photos are looked at.
_GUESS_SECONDS = 10
# Where nothing moves, and the most that is ever told: somebody will mend it, or start more workers.
_LONGEST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Backlog:
    """The photos that wait: how many, for how long the first has, and how many would have to go; `at` is monotonic."""

    waiting: int
    oldest_seconds: float
    excess: int
    at: float


class Gauge:
    """The backlog of a second ago, and how fast it has shrunk since no more posts are taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Backlog | None = None
        self._first_refusal: Backlog | None = None

    def read(self) -> Backlog:
        """Return the backlog; one thread counts, the others take what it counted before."""
        latest = self._latest
        if latest is not None and time.monotonic() - latest.at < _FRESH_SECONDS:
            return latest
        if not self._lock.acquire(blocking=latest is None):
            assert latest is not None  # noqa: S101 - else it would have waited
            return latest
        try:
            latest = self._latest  # those that waited for the first count need none of their own
            if latest is not None and time.monotonic() - latest.at < _FRESH_SECONDS:
                return latest
            self._latest = found = measure()
            if not found.excess:
                self._first_refusal = None
            elif self._first_refusal is None:
                self._first_refusal = found
            return found
        finally:
            self._lock.release()

    def seconds_to_wait(self, backlog: Backlog) -> int:
        """Return in how many seconds the excess will be gone, as fast as photos are looked at now."""
        first = self._first_refusal
        if first is None or backlog.at - first.at < _FRESH_SECONDS:
            return _GUESS_SECONDS
        gone = first.waiting - backlog.waiting
        if gone <= 0:
            return _LONGEST_SECONDS
        seconds = backlog.excess * (backlog.at - first.at) / gone
        return min(_LONGEST_SECONDS, max(1, math.ceil(seconds)))

    def forget(self) -> None:
        """Count anew when next asked."""
        self._latest = self._first_refusal = None


gauge = Gauge()


def refuse_when_overloaded() -> None:
    """Refuse a post where too much waits already."""
    backlog = gauge.read()
    if backlog.excess:
        raise ApiError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "overloaded",
            f"{backlog.waiting} photos wait, the first for {backlog.oldest_seconds:.0f} seconds: send the post later.",
            headers={"Retry-After": str(gauge.seconds_to_wait(backlog))},
            type_=_REDUCED_CAPACITY,
        )


def measure() -> Backlog:
    """Count what waits; no further than it matters, by an index that holds nothing else."""
    at, now = time.monotonic(), clock.now()
    pending = Analysis.objects.filter(status=Analysis.Status.PENDING).order_by("queued_at")
    oldest = pending.values_list("queued_at", flat=True).first()
    waiting = pending[: settings.MAX_QUEUED * 2].count()
    too_old = pending.filter(queued_at__lt=now - settings.MAX_QUEUE_AGE)[: settings.MAX_QUEUED].count()
    return Backlog(
        waiting=waiting,
        oldest_seconds=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
        excess=max(too_old, waiting - settings.MAX_QUEUED + 1, 0),
        at=at,
    )
