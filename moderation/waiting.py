"""Long polling: a reader waits for news, but never do so many wait that nobody else is served."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from mask_social.errors import ApiError

T = TypeVar("T")

MAX_WAIT_SECONDS = 30
# Each reader who waits holds a thread, of which a web process has sixteen; a quarter of them stays free.
MAX_WAITING = 12
# Short polls of an indexed row: a listening connection per waiting reader would cost more.
_POLL_SECONDS = 0.1

_places = threading.BoundedSemaphore(MAX_WAITING)


def parameter(what: str) -> OpenApiParameter:
    """Describe ``wait``; `what` is what is waited for."""
    description = f"seconds to wait for {what}; where too many readers wait already, the answer comes at once"
    return OpenApiParameter(
        "wait", {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0}, description=description
    )


def read_wait(request: Request) -> float:
    """Return how many seconds the caller is willing to wait."""
    try:
        wait = float(request.query_params.get("wait", "0"))
    except ValueError:
        wait = -1
    if not 0 <= wait <= MAX_WAIT_SECONDS:
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            "invalid_wait",
            f"wait is a number of seconds from 0 to {MAX_WAIT_SECONDS}.",
            pointer="/wait",
        )
    return wait


def read_until(is_enough: Callable[[T], bool], read: Callable[[], T], seconds: float) -> T:
    """Read until it is enough, the time is up, or at once the only time when there is no place to wait."""
    ends = time.monotonic() + seconds
    found = read()
    if is_enough(found) or seconds <= 0 or not _places.acquire(blocking=False):
        return found
    try:
        while not is_enough(found) and (left := ends - time.monotonic()) > 0:
            time.sleep(min(_POLL_SECONDS, left))
            found = read()
        return found
    finally:
        _places.release()
