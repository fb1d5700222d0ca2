"""The id that a request and all that follows from it have in common: in logs, messages, rows and webhooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """Return the id of the request that is being followed; empty where there is none."""
    return _current.get()


@contextmanager
def bound(request_id: str) -> Iterator[None]:
    """Follow a request for a while."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)
