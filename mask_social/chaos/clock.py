"""The clock of the trial: the whole service goes by it, and so does its receiver."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Every process follows a change within a second; a message signed before it may still be on its way then.
LATE = 20.0
TOLERANCE = timedelta(minutes=5)  # of a webhook's timestamp, as the standard says


class TrialClock:
    """Go ahead of the machine's clock by what a file says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._ahead = timedelta()
        self._before: list[tuple[float, timedelta]] = []
        path.write_text("0")

    @property
    def ahead(self) -> timedelta:
        """How far it goes ahead."""
        return self._ahead

    def now(self) -> datetime:
        """Return the time of the trial."""
        return datetime.now(UTC) + self._ahead

    def advance(self, by: timedelta) -> None:
        """Move the whole service."""
        with self._lock:
            self._before.append((time.monotonic(), self._ahead))
            self._ahead += by
            draft = self.path.with_suffix(".new")
            draft.write_text(str(self._ahead.total_seconds()))
            draft.replace(self.path)

    def agrees(self, timestamp: datetime) -> bool:
        """Say whether a message signed at this time may come in now."""
        with self._lock:
            lately = time.monotonic() - LATE
            offsets = [self._ahead, *(ahead for until, ahead in self._before if until > lately)]
        machine = datetime.now(UTC)
        return any(abs(machine + offset - timestamp) <= TOLERANCE for offset in offsets)
