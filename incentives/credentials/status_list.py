"""Which awards must not be accepted now: Bitstring Status Lists (W3C), computed from the awards when asked.

An award's number is its place: `number // ENTRIES` names the list, the rest the bit. So nothing is stored, nothing can
disagree with the awards, and a list is one query however many there are.
"""

import gzip
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from incentives.credentials.addresses import Addresses
from incentives.models import BadgeAward

# The least that the standard allows, so that no list says much about one holder.
ENTRIES = 131_072
LIFE = timedelta(seconds=60)
# A copy that somebody kept is worthless after this.
_VALID = timedelta(days=1)


class Purpose(StrEnum):
    """What a set bit says. Open Badges 3.0 has room for one list in a credential: it names `REVOCATION`."""

    REVOCATION = "revocation"
    SUSPENSION = "suspension"


_KEPT = (BadgeAward.Status.ACTIVE, BadgeAward.Status.EXPIRED)
_TABLE = BadgeAward._meta.db_table
_LAST = f"SELECT greatest(max(id), pg_sequence_last_value(pg_get_serial_sequence('{_TABLE}', 'id'))) FROM {_TABLE}"  # noqa: S608 - ours alone


def place_of(award: BadgeAward) -> tuple[int, int]:
    """Return an award's list and its bit there."""
    return divmod(award.pk, ENTRIES)


def last_award() -> int:
    """Return the highest number that an award ever got, also where that one is gone."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST)
        (last,) = cursor.fetchone()
    return last or 0


def bits_of(purpose: Purpose, number: int) -> bytes:
    """Return one list: the first bit is the highest of the first byte."""
    first = number * ENTRIES
    awards = BadgeAward.objects.filter(pk__range=(first, first + ENTRIES - 1))
    match purpose:
        case Purpose.SUSPENSION:
            flags = bytearray(b"0" * ENTRIES)
            _mark(flags, first, awards.filter(status=BadgeAward.Status.SUSPENDED), b"1")
        case Purpose.REVOCATION:
            # Set for who is not there either: an author who was erased took the awards along, and copies may be about.
            # An award whose transaction is still open looks the same, until the next list.
            given = min(max(last_award() - first + 1, 0), ENTRIES)
            flags = bytearray(b"1" * given + b"0" * (ENTRIES - given))
            _mark(flags, first, awards.filter(status__in=_KEPT), b"0")
    return int(flags, 2).to_bytes(ENTRIES // 8)


def _mark(flags: bytearray, first: int, awards: QuerySet[BadgeAward], flag: bytes) -> None:
    for number in awards.order_by().values_list("pk", flat=True):
        flags[number - first] = flag[0]


def encoded(bits: bytes) -> str:
    """Return bits as a credential holds them: gzip, then base64url behind the multibase prefix `u`."""
    return "u" + urlsafe_b64encode(gzip.compress(bits, mtime=0)).rstrip(b"=").decode()


def claims_of(purpose: Purpose, number: int, at: Addresses, now: datetime) -> dict[str, Any]:
    """Return a list as the credential that is signed."""
    address = at.status_list(purpose, number)
    now = now.replace(microsecond=0)
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": address,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": at.issuer,
        "validFrom": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "validUntil": f"{now + _VALID:%Y-%m-%dT%H:%M:%SZ}",
        "credentialSubject": {
            "id": f"{address}#list",
            "type": "BitstringStatusList",
            "statusPurpose": purpose.value,
            "encodedList": encoded(bits_of(purpose, number)),
            "ttl": int(LIFE.total_seconds() * 1000),
        },
        "iss": at.issuer,
        "jti": address,
        "nbf": int(now.timestamp()),
        "exp": int((now + _VALID).timestamp()),
    }
