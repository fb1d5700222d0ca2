"""What a scrape reads from the database: how long the queues are, what the budgets are, which models speak.

Every web process on every host tells the same, so that it does not matter which one is asked; a query over several
takes the greatest. An app adds a reader in its ready(). What readers ask must come from an index and be bounded, for it
is asked for ever; it is kept for a few seconds, ends after two, and where it fails the rest of a scrape stands.
"""

import logging
import math
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import django
import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from mask_social import __version__, canary

logger = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
#: More than so many rows of a queue are not counted.
COUNTED_AT_MOST = 10_000
_STATEMENT_MILLISECONDS = 2000
_BROKER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits to be done."""

    depth: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one part of the service says of itself."""

    queues: dict[str, Queue] = field(default_factory=dict)
    others: Sequence[Metric] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """How one part of the service is asked, inside a read-only transaction."""

    part: str
    read: Callable[[], Reading]


_readers: list[Reader] = []


def register(reader: Reader) -> None:
    """Add a reader; called once, from an app's ready()."""
    _readers.append(reader)


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    """Begin a gauge of ours."""
    return GaugeMetricFamily(f"mask_social_{name}", meaning, labels=labels)


class StateCollector:
    """Reads all parts, at most once in a few seconds however often it is asked."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self._kept_seconds = kept_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._kept: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return what the parts say; called by prometheus_client."""
        with self._lock:
            if time.monotonic() - self._read_at >= self._kept_seconds:
                self._kept = _read_all()
                self._read_at = time.monotonic()
            return self._kept


def _read_all() -> list[Metric]:
    up = gauge("state_up", "Whether a part of the state could be read.", ["part"])
    depth = gauge("queue_depth", f"What waits to be done; of more than {COUNTED_AT_MOST} so many.", ["queue"])
    oldest = gauge("queue_oldest_age_seconds", "How long the oldest in a queue has waited.", ["queue"])
    metrics: list[Metric] = [up, depth, oldest, _build()]
    for part, read in [*((reader.part, _in_transaction(reader)) for reader in _readers), ("broker", _broker)]:
        try:
            reading = read()
        except (DatabaseError, redis.RedisError, OSError) as error:
            logger.warning("The state of %s could not be read: %s", part, type(error).__name__)
            up.add_metric([part], 0)
            continue
        up.add_metric([part], 1)
        for name, queue in reading.queues.items():
            depth.add_metric([name], queue.depth)
            oldest.add_metric([name], queue.oldest_seconds)
        metrics.extend(reading.others)
    return metrics


def _in_transaction(reader: Reader) -> Callable[[], Reading]:
    def read() -> Reading:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_MILLISECONDS}")
            return reader.read()

    return read


def _broker() -> Reading:
    # A Redis list for each queue, by its name: what no worker has taken yet.
    names = canary.queues()
    with redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_BROKER_SECONDS, socket_connect_timeout=_BROKER_SECONDS
    ) as client:
        lengths = [client.llen(name) for name in names]
    messages = gauge("broker_messages", "Messages in Redis that no worker has taken.", ["queue"])
    for name, length in zip(names, lengths, strict=True):
        messages.add_metric([name], float(length))
    heard = canary.ages()
    silence = gauge("canary_age_seconds", "Since a worker of a queue, or beat, was last heard of; +Inf: never.", ["of"])
    for name in [*names, canary.BEAT]:
        silence.add_metric([name], heard.get(name, math.inf))
    return Reading(others=[messages, silence])


def _build() -> Metric:
    build = gauge("build_info", "What runs here; always 1.", ["version", "python", "django"])
    build.add_metric([__version__, platform.python_version(), django.__version__], 1)
    return build
