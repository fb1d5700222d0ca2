"""The one clock: what the services take for now.

A trial of the whole service may move it, to see what three days of an endpoint's silence lead to without waiting for
them: MASK_SOCIAL_CLOCK_FILE names a file that holds the seconds to add. Every process follows a change within a second.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# So often the file is looked at, at most.
_LOOK_SECONDS = 0.5


class MovableClock:
    """A clock that goes ahead of the machine's by what a file says."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self.follow(path)

    def follow(self, path: Path | None) -> None:
        """Go by the file from here on; None: by the machine's time."""
        with self._lock:
            self._path = path
            self._ahead = timedelta()
            self._looked_at = float("-inf")

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC) + self._offset()

    def _offset(self) -> timedelta:
        if self._path is None:
            return timedelta()
        with self._lock:
            if self._path is not None and time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                self._looked_at = time.monotonic()
                self._ahead = _read(self._path)
            return self._ahead


def _read(path: Path) -> timedelta:
    try:
        return timedelta(seconds=float(path.read_text()))
    except (FileNotFoundError, ValueError):  # ValueError: it is being written
        return timedelta()


_clock = MovableClock()


def now() -> datetime:
    """Return the time in UTC, as this process takes it to be."""
    return _clock.now()


def follow(path: Path | None) -> None:
    """Let this process go by the clock of a trial."""
    _clock.follow(path)
