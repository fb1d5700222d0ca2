"""Public identifiers: a prefix that says what the thing is, then a ULID, so that ids sort by time."""

from datetime import datetime

from ulid import ULID

ID_LENGTH = 32


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``post_01JD3Q…``; ids made later sort after earlier ones."""
    return f"{prefix}_{ULID()}".lower()


def first_id(prefix: str, when: datetime) -> str:
    """Return the least id that one made at `when` can have: those made later are above it."""
    milliseconds = int(when.timestamp() * 1000)
    return f"{prefix}_{ULID.from_bytes(milliseconds.to_bytes(6) + bytes(10))}".lower()


def made_at(id_: str) -> float:
    """Return when an id was made, in seconds since 1970 by the clock of the machine that made it."""
    return ULID.from_str(id_.partition("_")[2].upper()).timestamp
