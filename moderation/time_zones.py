"""Time zones by their IANA names."""

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return every name that is known here."""
    return frozenset(available_timezones())


def validate_time_zone(name: str) -> None:
    """Refuse what is no IANA name."""
    if name not in names():
        raise ValidationError("Use an IANA time zone such as Europe/Berlin.", code="invalid_time_zone")


def day_in(when: datetime, time_zone: str) -> date:
    """Return the day that a moment falls on in a time zone."""
    return when.astimezone(ZoneInfo(time_zone)).date()
