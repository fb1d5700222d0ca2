"""The id that a request and all that follows from it have in common: in logs, messages, rows and webhooks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: What we take from others: it is written into logs, rows and headers.
FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """Return the id of the request that is being followed; empty where there is none."""
    return _current.get()


@contextmanager
def bound(request_id: str) -> Iterator[None]:
    """Follow a request for a while; with no id go on with what is followed, for rows of long ago have none."""
    token = _current.set(request_id or _current.get())
    try:
        yield
    finally:
        _current.reset(token)
