"""How often signing in may be tried: by account and by address, each failure past the limit doubling the wait.

A try is counted before it is looked at, so that a hundred at once are no more than one after the other. Who locks an
account locks out its owner too; so an address from which the account was signed in to lately is counted by itself.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils.crypto import salted_hmac

from mask_social import clock
from mask_social.addresses import neighbourhood
from moderation.models import AuditEntry, SignInTally

#: An office of many people has one address.
ACCOUNT_TRIES, ADDRESS_TRIES = 5, 20
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)
KNOWN_FOR = timedelta(days=30)

# Takes a row only while it is not locked.
_COUNT = """
INSERT INTO moderation_signintally AS tally (subject, tries, last_at, locked_until)
VALUES (%(subject)s, 1, %(now)s, NULL)
ON CONFLICT (subject) DO UPDATE SET
    tries = CASE WHEN tally.last_at < %(forgotten)s THEN 1 ELSE tally.tries + 1 END,
    last_at = %(now)s
WHERE tally.locked_until IS NULL OR tally.locked_until <= %(now)s
RETURNING tries
"""


class LockedError(Exception):
    """Too many tries; `seconds` says how long to wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"locked for {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try that was let through; `locks` where it is the last for a while, should it fail."""

    subjects: Sequence[tuple[str, int]]
    locks: bool


def begin(name: str, address: str) -> Attempt:
    """Count a try with a password. Raises LockedError."""
    name = unicodedata.normalize("NFKC", name)
    return _begin([(_account(name, address), ACCOUNT_TRIES), *_of_address(address)])


def begin_code(user: User, address: str) -> Attempt:
    """Count a try with a code. Raises LockedError."""
    return _begin([(_hashed("code", str(user.pk)), ACCOUNT_TRIES), *_of_address(address)])


def succeeded(attempt: Attempt) -> None:
    """Forget the failures of the account, and this try of the address: its other failures stay."""
    with transaction.atomic():
        for subject, _ in sorted(attempt.subjects):
            tally = SignInTally.objects.select_for_update().filter(subject=subject)
            if not subject.startswith("address:"):
                tally.delete()
                continue
            for row in tally:
                row.tries, row.locked_until = max(0, row.tries - 1), None if attempt.locks else row.locked_until
                row.save(update_fields=["tries", "locked_until"])


def unlock(user: User) -> bool:
    """Let somebody try again at once, from wherever; False where nothing was counted."""
    ours = [_hashed("account", user.get_username()), _hashed("code", str(user.pk))]
    found, _ = SignInTally.objects.filter(subject__in=ours).delete()
    return bool(found)


def forget_old() -> None:
    """Forget what was counted long ago."""
    SignInTally.objects.filter(last_at__lt=clock.now() - FORGOTTEN_AFTER).delete()


def _begin(subjects: Sequence[tuple[str, int]]) -> Attempt:
    now = clock.now()
    locks = False
    with transaction.atomic():
        for subject, allowed in sorted(subjects):  # in one order, so that two tries never wait for each other
            tries = _count(subject, now)
            if tries >= allowed:
                locks = True
                wait = min(FIRST_WAIT * 2 ** min(tries - allowed, 10), LONGEST_WAIT)
                SignInTally.objects.filter(subject=subject).update(locked_until=now + wait)
    return Attempt(subjects, locks)


def _count(subject: str, now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"subject": subject, "now": now, "forgotten": now - FORGOTTEN_AFTER})
        counted = cursor.fetchone()
    if counted is None:  # what was counted before it is rolled back: tries at a locked door count nothing
        until = SignInTally.objects.values_list("locked_until", flat=True).get(subject=subject) or now
        raise LockedError(max(1, math.ceil((until - now).total_seconds())))
    return int(counted[0])


def _account(name: str, address: str) -> str:
    ways = AuditEntry.objects.filter(actor=name, action="sign_in", created_at__gte=clock.now() - KNOWN_FOR)
    if address and ways.filter(address=address).exists():
        return _hashed("known", f"{name} {address}")
    return _hashed("account", name)


def _of_address(address: str) -> list[tuple[str, int]]:
    return [(_hashed("address", neighbourhood(address)), ADDRESS_TRIES)] if address else []


def _hashed(kind: str, text: str) -> str:
    return f"{kind}:{salted_hmac('moderation.sign_in', text, algorithm='sha256').hexdigest()}"
