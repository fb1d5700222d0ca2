"""The Celery application."""

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import heartbeat_sent, worker_ready

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mask_social.settings")

app = Celery("mask_social")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
@heartbeat_sent.connect
def show_life(**_: Any) -> None:
    """Touch a file, first when the worker takes tasks and then every few seconds: a probe that costs nothing."""
    if path := os.environ.get("MASK_SOCIAL_WORKER_FILE"):
        Path(path).touch()
