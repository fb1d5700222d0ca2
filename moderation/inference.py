"""The one door into ml: this process's analyzer, and how a photo is decoded."""

import logging
import os
import threading
from pathlib import Path
from typing import Any, Protocol

from celery.signals import celeryd_after_setup, worker_process_init
from django.conf import settings
from django.utils.module_loading import import_string

from ml.images import Header, decode, inspect
from ml.types import FaceReading, ImageError, PhotoReading

__all__ = [
    "AnalyzerLike",
    "FaceReading",
    "Header",
    "ImageError",
    "PhotoReading",
    "decode",
    "get",
    "inspect",
    "reset",
    "warm",
]

logger = logging.getLogger(__name__)

ANALYSIS_QUEUE = "analysis"


class AnalyzerLike(Protocol):
    """What the class named by settings.ANALYZER does."""

    @property
    def detector_digest(self) -> str: ...

    @property
    def classifier_digest(self) -> str: ...

    def warm(self) -> None: ...

    def analyze(self, source: bytes | Path) -> PhotoReading: ...


_lock = threading.Lock()
_analyzer: AnalyzerLike | None = None
_consumes_analyses = False


def get() -> AnalyzerLike:
    """Return the analyzer of this process, made at the first call."""
    global _analyzer
    with _lock:
        if _analyzer is None:
            _analyzer = import_string(settings.ANALYZER)()
        return _analyzer


def warm() -> None:
    """Load the models now, so that the first photo does not wait for them."""
    get().warm()


def reset() -> None:
    """Forget the analyzer; the next call makes another."""
    global _analyzer, _lock
    _lock = threading.Lock()  # after a fork the old one may be held by a thread that did not come along
    _analyzer = None


# ONNX Runtime's threads do not survive a fork: a child must never use the sessions of its parent.
os.register_at_fork(after_in_child=reset)


@celeryd_after_setup.connect
def _note_queues(instance: Any, **kwargs: Any) -> None:
    global _consumes_analyses
    _consumes_analyses = ANALYSIS_QUEUE in instance.app.amqp.queues.consume_from


@worker_process_init.connect
def _warm_worker(**kwargs: Any) -> None:
    if not _consumes_analyses:
        return
    try:
        warm()
    except Exception:  # a worker that dies here would be restarted for ever; each analysis says it again, and counts
        logger.exception("The models could not be loaded.")
