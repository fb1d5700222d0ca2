"""A clock that a test moves by hand."""

from datetime import UTC, datetime, timedelta


class Hands:
    """Stands still until it is moved, but for a microsecond at each look: no two moments are the same."""

    def __init__(self, at: datetime | None = None) -> None:
        self._now = at or datetime.now(UTC)

    def now(self) -> datetime:
        """Return the time."""
        self._now += timedelta(microseconds=1)
        return self._now

    def move(self, **by: float) -> datetime:
        """Go ahead by so many days, hours, minutes or seconds."""
        self._now += timedelta(**by)
        return self._now

    def move_to(self, when: datetime) -> None:
        """Go ahead to a moment."""
        self._now = max(self._now, when)
