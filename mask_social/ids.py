"""Public identifiers: a prefix that says what the thing is, then a ULID, so that ids sort by time."""

from ulid import ULID

ID_LENGTH = 32


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``post_01JD3Q…``; ids made later sort after earlier ones."""
    return f"{prefix}_{ULID()}".lower()
