"""Small messages that go through broker and worker and back, so that readiness is seen and not supposed.

Every worker sends one to a queue of its own (mask_social.watchdog) and takes it between its other tasks, so it waits
for no backlog. What it then writes to Redis are echoes: one for the worker itself, one for each queue it works on. Beat
leaves an echo whenever it has published. A probe only reads. Redis's clock dates the echoes, and a reader that has seen
one before goes by its own monotonic clock: no change of anybody's time makes an old echo look new.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import redis
from django.conf import settings

BEAT = "beat"
_ECHOES = "canary.echoes"
_REDIS_SECONDS = 2
# Long enough for its reader, short enough that workers that are gone leave nothing.
_ANSWER_SECONDS = 600


def queues() -> list[str]:
    """Return the queues that a whole service works on."""
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    return sorted(routed | {settings.CELERY_TASK_DEFAULT_QUEUE})


def queue_of(worker: str) -> str:
    """Return the queue that one worker alone takes canaries from."""
    return f"canary.{worker}"


def answers_to(worker: str) -> str:
    """Return the list that tells a worker which of its canaries came back."""
    return f"canary.answers.{worker}"


def come_back(worker: str, number: int, served: Iterable[str]) -> None:
    """Tell the worker, and whoever asks for the queues that it serves."""
    answers = answers_to(worker)
    with _client().pipeline(transaction=False) as pipeline:
        pipeline.rpush(answers, number)
        pipeline.expire(answers, _ANSWER_SECONDS)
        pipeline.execute()
    leave_echo(served)


def leave_echo(names: Iterable[str]) -> None:
    """Write down that these were heard of now."""
    client = _client()
    seconds, microseconds = client.time()
    client.hset(_ECHOES, mapping=dict.fromkeys(names, f"{seconds}.{microseconds:06}"))


class Listener:
    """How long ago each name was last heard of, as one process finds out by looking now and then."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[str, float]] = {}
        self._looked_at: float | None = None

    def ages(self, echoes: Mapping[str, str], redis_now: float) -> dict[str, float]:
        """Return the seconds since each name was heard; one that never was is left out."""
        now = self._monotonic()
        with self._lock:
            since_last_look = None if self._looked_at is None else now - self._looked_at
            self._looked_at = now
            for name, echo in echoes.items():
                known = self._heard.get(name)
                if known and known[0] == echo:
                    continue
                age = redis_now - float(echo)
                if since_last_look is not None:
                    # It came after the last look, whatever Redis's clock did meanwhile.
                    age = min(max(0.0, age), since_last_look)
                # From the future at the first look: the clock went back, and nobody can say how old it is.
                if age >= 0:
                    self._heard[name] = (echo, now - age)
            return {name: now - at for name, (_, at) in self._heard.items()}


_listener = Listener()


def ages() -> dict[str, float]:
    """Return the seconds since each queue's worker and beat were last heard of; those never heard of are left out."""
    client = _client()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(_ECHOES)
        (seconds, microseconds), echoes = pipeline.execute()
    found = {name.decode(): echo.decode() for name, echo in echoes.items()}
    return _listener.ages(found, seconds + microseconds / 1e6)


@cache
def _client() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
