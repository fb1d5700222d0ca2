"""What workers do: each message bears the request's id, each task has a line and a place in the numbers."""

import logging
import logging.config
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from celery import Task, signals
from django.conf import settings

from mask_social import canary, correlation
from mask_social.observability import exposition, logs, metrics, tracing
from mask_social.observability.role import begin

logger = logging.getLogger("mask_social.task")

# Runs every few seconds, to see whether anything runs.
_OF_MACHINES = frozenset({"mask_social.tasks.fly_canary"})

HEADER = "mask_social_request_id"
_ID = re.compile(r"[a-z]{2,8}_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class _Running:
    began: float
    bonds: ExitStack


_running: dict[str, _Running] = {}
_role = ""


def connect() -> None:
    """Listen to Celery; called once, by the module that makes the application."""
    signals.setup_logging.connect(configure_logging)
    signals.before_task_publish.connect(send_along)
    signals.task_prerun.connect(begin_task)
    signals.task_postrun.connect(end_task)
    signals.celeryd_after_setup.connect(begin_worker)
    signals.worker_process_init.connect(begin_child)
    signals.worker_process_shutdown.connect(end_worker)
    signals.worker_shutdown.connect(end_worker)
    signals.beat_init.connect(begin_beat)
    signals.heartbeat_sent.connect(measure)


def configure_logging(**_: Any) -> None:
    """Log as the web does; Celery leaves logging alone where somebody listens here."""
    logging.config.dictConfig(settings.LOGGING)


def send_along(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Put the request's id into the message."""
    if headers is not None and (request_id := correlation.current()):
        headers[HEADER] = request_id


def begin_task(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    """Follow the request that a message bears."""
    bonds = ExitStack()
    bonds.enter_context(correlation.bound(getattr(task.request, HEADER, None) or ""))
    bonds.enter_context(logs.bound(task=task.name, task_id=task_id))
    _running[task_id] = _Running(time.perf_counter(), bonds)


def end_task(task_id: str, task: Task[Any, Any], args: Any = (), state: str | None = None, **_: Any) -> None:
    """Tell of a task that ended."""
    running = _running.pop(task_id, None)
    if running is None:
        return
    seconds, outcome = time.perf_counter() - running.began, (state or "unknown").lower()
    metrics.TASKS.labels(task.name, outcome).inc()
    metrics.TASK_SECONDS.labels(task.name).observe(seconds)
    if outcome == "success":
        metrics.TASK_SUCCEEDED.labels(task.name).set(time.time())
    metrics.measure_memory()
    about = str(args[0]) if args else ""
    logger.log(
        logging.DEBUG if task.name in _OF_MACHINES else logging.INFO,
        "%s ended: %s",
        task.name,
        outcome,
        extra={
            "outcome": outcome,
            "duration_ms": round(seconds * 1000, 1),
            **({"about": about} if _ID.fullmatch(about) else {}),
        },
    )
    running.bonds.close()


def begin_worker(instance: Any, **_: Any) -> None:
    """Say what this worker is for; in one that forks, each child does so too."""
    global _role
    _role = "+".join(name for name in canary.queues() if name in instance.app.amqp.queues.consume_from)
    if port := settings.WORKER_METRICS_PORT:
        try:
            exposition.serve(port, settings.METRICS_TOKEN)
        except OSError:  # it works as well unseen
            logger.exception("The numbers cannot be shown at port %d.", port)
    if _forks(instance):
        return
    begin(_role)


def begin_child(**_: Any) -> None:
    """Count this process, and send its traces from here: threads do not survive a fork."""
    begin(_role)


def end_worker(**_: Any) -> None:
    """Send what is still to be sent."""
    tracing.flush()


def begin_beat(**_: Any) -> None:
    """Count beat."""
    begin("beat")


def measure(**_: Any) -> None:
    """Note the memory, also of a worker with nothing to do."""
    metrics.measure_memory()


def _forks(instance: Any) -> bool:
    return str(instance.pool_cls.__module__).endswith("prefork")
