"""Log lines: one JSON object each in a deployment, text in a checkout; both bear the id of the request they are about.

What follows a request is told by `correlation`; what else is known at the time, such as the post, by `bound`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from mask_social import correlation
from mask_social.observability import paths, tracing

FORMATS = ("json", "text")
# PostgreSQL quotes the whole row that it refuses, to the end of what it says: captions, addresses, secrets.
_QUOTED_ROW = re.compile(r"^\s*(DETAIL|CONTEXT|QUERY):.*", re.MULTILINE | re.DOTALL)

_known: ContextVar[Mapping[str, object] | None] = ContextVar("log_fields", default=None)


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to every line for a while."""
    token = _known.set({**(_known.get() or {}), **fields})
    try:
        yield
    finally:
        _known.reset(token)


class Bearer(logging.Filter):
    """Have each line say what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is known; let every line pass."""
        known = {"request_id": correlation.current(), "trace_id": tracing.trace_id(), **(_known.get() or {})}
        for name, value in known.items():
            if value and not hasattr(record, name):
                setattr(record, name, value)
        return True


_Excinfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Json(JsonFormatter):
    """A JSON object: time, level, logger, message, and whatever else is known."""

    def __init__(self) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "error"},
            timestamp="time",
            json_ensure_ascii=False,
        )

    def format(self, record: logging.LogRecord) -> str:
        """Shorten addresses that open something, wherever they stand: Django puts them in messages and in fields."""
        return paths.without_tokens(super().format(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Leave out what the database quotes of itself in an error's text."""
        return log_data | {"message": without_rows(str(log_data["message"]))}

    def formatException(self, ei: _Excinfo) -> str:  # noqa: N802 - logging's own name
        """Leave out what the database quotes."""
        return without_rows_of(ei[1], str(super().formatException(ei)))


class Text(logging.Formatter):
    """A line to read, with the request's id at its end."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        """Shorten addresses that open something."""
        return paths.without_tokens(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Add the id."""
        line, request_id = without_rows(super().formatMessage(record)), getattr(record, "request_id", "")
        return f"{line} [{request_id}]" if request_id else line

    def formatException(self, ei: _Excinfo) -> str:  # noqa: N802 - logging's own name
        """Leave out what the database quotes."""
        return without_rows_of(ei[1], super().formatException(ei))


def without_rows(text: str) -> str:
    """Take out of a message what PostgreSQL quotes of rows and statements."""
    return _QUOTED_ROW.sub(r"\1: (left out)", text)


def without_rows_of(error: BaseException | None, text: str) -> str:
    """Take the same out of a traceback, for the error and those behind it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told = str(error)
        text = text.replace(told, without_rows(told)) if told else text
        error = error.__cause__ or error.__context__
    return text


def configuration(form: str, level: str) -> dict[str, Any]:
    """Return what logging.config.dictConfig takes; the same for web, workers, beat and gunicorn's own lines."""
    formatter = {"json": Json, "text": Text}[form]
    quiet = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"bearer": {"()": Bearer}},
        "formatters": {"line": {"()": formatter}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["bearer"]}},
        "loggers": {
            # Each task has a line of ours when it ends; what goes wrong is still theirs to tell.
            "celery.worker.strategy": quiet | {"level": "WARNING"},
            "celery.app.trace": quiet | {"level": "WARNING"},
            "celery.beat": quiet | {"level": "WARNING"},
            # Each request has a line of ours; what raised is theirs.
            "django.request": quiet | {"level": "ERROR"},
            "gunicorn.error": quiet | {"level": level},
        },
        "root": {"handlers": ["console"], "level": level},
    }
