"""The log of what staff did: a chain in which each entry holds the hash of the one before.

docs/operations.md says how an entry is hashed, so that anybody can check an export without this code. Entries are
written in the transaction of what they tell of. One advisory lock makes the chain one: it is held from the first entry
of a transaction to its end, so an entry is written last.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import connection, transaction
from django.db.models import Model

from mask_social import clock, correlation
from mask_social.addresses import client_address
from mask_social.asking import current_request
from moderation.models import AuditEntry

#: Of pg_advisory_xact_lock; no other code takes this one.
_LOCK = 0x6175646974
#: No name of an account has brackets.
SERVICE, NOBODY = "(service)", "(nobody)"
_EXACT = 2**53  # beyond it not every reader of JSON keeps a number as it is
_LONGEST = 2000
_HASHED = (
    *("number", "created_at", "actor", "address", "action", "object_type", "object_id", "object_name", "details"),
    *("request_id", "previous_hash"),
)
_PROBLEMS_NAMED = 20
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did; `object_name` is how the thing was called then."""

    action: str
    object_type: str = ""
    object_id: str = ""
    object_name: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    actor: str = ""

    @classmethod
    def to(cls, thing: Model, action: str, details: Mapping[str, Any] | None = None) -> "Deed":
        """Return what was done to a row."""
        return cls(action, thing._meta.label_lower, str(thing.pk), str(thing), details or {})


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a chain: who keeps it elsewhere can tell whether anything before it is gone."""

    number: int = 0
    hash: str = ""

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def read(cls, text: str) -> "Head":
        """Read what was printed. Raises ValueError."""
        number, _, digest = text.partition(":")
        if len(digest) != hashlib.sha256().digest_size * 2:
            raise ValueError(f"{text!r} is no NUMBER:HASH")
        return cls(int(number), digest.lower())


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk along the chain found."""

    entries: int
    head: Head
    problems: Sequence[str]


_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Write nothing down, for work that takes long and is rolled back, or tells of itself at its end."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def record(*deeds: Deed) -> None:
    """Append entries to the chain, within the caller's transaction; nobody else appends until that has ended."""
    if not deeds or not _recording.get():
        return
    with transaction.atomic():
        _lock()
        head = current_head()
        entries = []
        for deed in deeds:
            entry = _entry(deed, head)
            head = Head(entry.number, entry.hash)
            entries.append(entry)
        AuditEntry.objects.bulk_create(entries)


def current_head() -> Head:
    """Return the newest entry's number and hash."""
    last = AuditEntry.objects.order_by("-number").values_list("number", "hash").first()
    return Head(*last) if last else Head()


def actor(user: AbstractBaseUser | AnonymousUser | None = None) -> str:
    """Name who acts: somebody who is signed in, a command, or the service by itself."""
    request = current_request()
    if user is None and request is not None:
        user = getattr(request, "user", None)
    if isinstance(user, User):
        return user.get_username()
    if request is not None:
        return NOBODY
    program, *arguments = sys.argv
    return f"(manage.py {arguments[0]})" if Path(program).name == "manage.py" and arguments else SERVICE


def plain(value: object) -> Any:
    """Return a value as JSON that comes back from the database just as it went there."""
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < _EXACT else str(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return {_text(str(key)): plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(inner) for inner in value]
    return _text(str(value))


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Return the bytes that are hashed."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def export() -> Iterator[str]:
    """Return each entry, the first one first, as a line of JSON."""
    for row, digest in _rows():
        yield json.dumps({**row, "hash": digest}, ensure_ascii=False)


def verify(expected: Sequence[Head] = ()) -> Verification:
    """Walk along the chain, comparing it with heads that were kept elsewhere."""
    problems: list[str] = []
    found = 0

    def tell(problem: str) -> None:
        nonlocal found
        found += 1
        if found <= _PROBLEMS_NAMED:
            problems.append(problem)

    known = {head.number: head.hash for head in expected}
    entries, head = 0, Head()
    for row, digest in _rows():
        number = row["number"]
        if number != head.number + 1:
            missing = (
                f"entry {head.number + 1} is"
                if number == head.number + 2
                else f"entries {head.number + 1} to {number - 1} are"
            )
            tell(f"{missing} missing")
        elif row["previous_hash"] != head.hash:
            tell(f"entry {number} does not follow from entry {head.number} as it stands")
        if hashlib.sha256(canonical(row)).hexdigest() != digest:
            tell(f"entry {number} was changed")
        if known.pop(number, digest) != digest:
            tell(f"entry {number} is not the one that was kept elsewhere")
        entries, head = entries + 1, Head(number, digest)
    for number in sorted(known):
        tell(f"entry {number}, which was kept elsewhere, is missing: the log ends with entry {head.number}")
    if found > len(problems):
        problems.append(f"and {found - len(problems)} more")
    return Verification(entries, head, problems)


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _entry(deed: Deed, head: Head) -> AuditEntry:
    request = current_request()
    entry = AuditEntry(
        number=head.number + 1,
        created_at=clock.now(),
        actor=_text(deed.actor or actor(), 150),
        address=(client_address(request) or None) if request else None,
        action=_text(deed.action, 40),
        object_type=_text(deed.object_type, 60),
        object_id=_text(deed.object_id, 128),
        object_name=_text(deed.object_name, 200),
        details=plain(deed.details),
        request_id=_text(correlation.current(), 64),
        previous_hash=head.hash,
    )
    written = {name: getattr(entry, name) for name in _HASHED}
    entry.hash = hashlib.sha256(canonical(written | {"created_at": _moment(entry.created_at)})).hexdigest()
    return entry


def _rows() -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what of each entry is hashed, and its hash; a cursor of the server's keeps memory flat."""
    with transaction.atomic():
        rows = AuditEntry.objects.order_by("number").values_list(*_HASHED, "hash").iterator(chunk_size=_ROWS_AT_ONCE)
        for *values, digest in rows:
            row = dict(zip(_HASHED, values, strict=True))
            row["created_at"] = _moment(row["created_at"])
            yield row, digest


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _text(text: str, longest: int = _LONGEST) -> str:
    # PostgreSQL keeps neither; half a surrogate pair could not even be encoded.
    return text.replace("\0", "").encode(errors="replace").decode()[:longest]
