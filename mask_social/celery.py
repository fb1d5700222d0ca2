"""The Celery application, and what each of its processes shows of its life."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from celery.signals import after_task_publish, beat_init, celeryd_after_setup, worker_ready

from mask_social.observability import work

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mask_social.settings")

logger = logging.getLogger(__name__)

app = Celery("mask_social")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

work.connect()

_BEAT_ECHO_SECONDS = 1.0


@celeryd_after_setup.connect
def watch_worker(instance: Any, **_: Any) -> None:
    """Let the worker take canaries beside its own queues, and watch it from when it takes any."""
    from django.conf import settings

    from mask_social import watchdog

    watchdog.hush_canaries()
    served = list(instance.app.amqp.queues.consume_from)
    instance.app.amqp.queues.select_add(watchdog.canary_queue(instance.hostname))
    limits = watchdog.Limits(
        settings.CANARY_SECONDS,
        settings.SILENCE_SECONDS,
        settings.ANALYSIS_WORKER_MIB if "analysis" in served else settings.WORKER_MIB,
    )
    guard = watchdog.Watchdog(instance, served, limits, broker_url=settings.REDIS_URL, on_life=show_life)

    @worker_ready.connect(weak=False)
    def start(**_: Any) -> None:
        if not guard.is_alive():
            guard.start()


def show_life() -> None:
    """Touch the file that says that this process does its work: a probe that costs nothing."""
    if path := os.environ.get("MASK_SOCIAL_WORKER_FILE"):
        Path(path).touch()


@beat_init.connect
def watch_beat(**_: Any) -> None:
    """Leave word whenever beat has sent something."""
    from mask_social import canary

    last = float("-inf")

    def leave_word(**_: Any) -> None:
        nonlocal last
        if time.monotonic() - last < _BEAT_ECHO_SECONDS:
            return
        last = time.monotonic()
        if path := os.environ.get("MASK_SOCIAL_BEAT_FILE"):
            with suppress(FileNotFoundError):
                os.utime(path)
        try:
            canary.leave_echo([canary.BEAT])
        except redis.RedisError as error:
            logger.warning("Beat could not leave word: %s.", type(error).__name__)

    after_task_publish.connect(leave_word, weak=False)
    leave_word()  # the first task is due only after its interval
