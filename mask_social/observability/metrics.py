"""What processes count and measure as they work; what can be read from the database is in `state`.

Every label has few values, all of them ours: an id of a post, an author, a platform or an endpoint is never one.
"""

import time
from enum import StrEnum

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MultiProcessValue

from mask_social import ids
from mask_social.observability import slots

disable_created_metrics()  # type: ignore[no-untyped-call]  # theirs is; files that are shared cannot hold them
if slots.folder() is not None:
    values.ValueClass = MultiProcessValue(slots.number)  # type: ignore[no-untyped-call]  # theirs is untyped

#: Of this process alone.
OWN = CollectorRegistry()

_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SLOW = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_STAGE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_MEASURE_SECONDS = 2.0


class Until(StrEnum):
    """How far a post has come since it was accepted."""

    VERDICT = "verdict"
    REWARDS = "rewards"
    WEBHOOK = "webhook"


HTTP_REQUESTS = Counter("mask_social_http_requests", "Requests answered.", ["route", "method", "status"], registry=OWN)
HTTP_SECONDS = Histogram(
    "mask_social_http_request_duration_seconds",
    "Time to answer a request.",
    ["route", "method"],
    buckets=_QUICK,
    registry=OWN,
)
TASKS = Counter("mask_social_tasks", "Tasks that ended.", ["task", "outcome"], registry=OWN)
TASK_SECONDS = Histogram(
    "mask_social_task_duration_seconds", "Time that a task took.", ["task"], buckets=_QUICK, registry=OWN
)
TASK_SUCCEEDED = Gauge(
    "mask_social_task_last_success_timestamp_seconds",
    "When a task last succeeded.",
    ["task"],
    registry=OWN,
    multiprocess_mode="max",
)
POST_SECONDS = Histogram(
    "mask_social_post_latency_seconds",
    "Time since a post was accepted until its first verdict, until its rewards, and until an endpoint heard of both.",
    ["until"],
    buckets=_SLOW,
    registry=OWN,
)
VERDICTS = Counter("mask_social_verdicts", "Verdicts reached.", ["outcome", "source"], registry=OWN)
PHOTOS = Counter("mask_social_photos_analyzed", "Photos whose faces were found.", registry=OWN)
STAGE_SECONDS = Histogram(
    "mask_social_analysis_stage_duration_seconds",
    "Time that a part of an analysis took.",
    ["stage"],
    buckets=_STAGE,
    registry=OWN,
)
FAILURES = Counter(
    "mask_social_analysis_failures",
    "Analyses that failed; the last try of a photo, or one that another follows.",
    ["code", "last"],
    registry=OWN,
)
ATTEMPTS = Counter("mask_social_webhook_attempts", "Attempts to deliver a webhook.", ["outcome"], registry=OWN)
ATTEMPT_SECONDS = Histogram(
    "mask_social_webhook_attempt_duration_seconds",
    "Time that an attempt to deliver a webhook took.",
    buckets=_QUICK,
    registry=OWN,
)
STARTS = Counter("mask_social_process_starts", "Starts of a process that does work.", ["process"], registry=OWN)
MEMORY = Gauge(
    "mask_social_process_resident_memory_bytes",
    "Memory of the living processes.",
    ["process"],
    registry=OWN,
    multiprocess_mode="liveall",
)

_process = psutil.Process()
_role = ""
_measured_at = float("-inf")


def registry() -> CollectorRegistry:
    """Return what this process tells of itself, and of those that share its folder."""
    shared = slots.folder()
    if shared is None:
        return OWN
    slots.forget_the_dead(shared)
    found = CollectorRegistry()
    MultiProcessCollector(found, str(shared))  # type: ignore[no-untyped-call]  # theirs is untyped
    return found


def begin(role: str) -> None:
    """Say what this process is for, once it is forked."""
    global _process, _role, _measured_at
    _process, _role, _measured_at = psutil.Process(), role, float("-inf")
    STARTS.labels(role).inc()
    measure_memory()


def measure_memory() -> None:
    """Note now and then how much memory this process uses; one that does no work for the service is left out."""
    global _measured_at
    now = time.monotonic()
    if _role and now - _measured_at >= _MEASURE_SECONDS:
        _measured_at = now
        MEMORY.labels(_role).set(_process.memory_info().rss)


def post_came(until: Until, post_id: str) -> float:
    """Note how long it took since the post with this id was accepted; return the seconds."""
    seconds = max(0.0, time.time() - ids.made_at(post_id))
    POST_SECONDS.labels(until).observe(seconds)
    return seconds
