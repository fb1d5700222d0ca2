"""Which awards must not be accepted now: Bitstring Status Lists (W3C), computed from the awards when asked.

An award's number is its place: `number // ENTRIES` names the list, the rest the bit. So nothing is stored, nothing can
disagree with the awards, and a list is one query however many there are.
"""

import gzip
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection

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


# Revoked is who is not there either: an author who was erased took the awards along, and copies may be about.
_SET = {
    Purpose.REVOCATION: "NOT EXISTS (SELECT FROM {table} WHERE id = place AND status IN ('active', 'expired'))",
    Purpose.SUSPENSION: "EXISTS (SELECT FROM {table} WHERE id = place AND status = 'suspended')",
}
_TABLE = BadgeAward._meta.db_table
_LAST = "SELECT greatest(max(id), pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id'))) FROM {table}"


def place_of(award: BadgeAward) -> tuple[int, int]:
    """Return an award's list and its bit there."""
    return divmod(award.pk, ENTRIES)


def last_award() -> int:
    """Return the highest number an award ever got, as far as anybody can know it."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST.format(table=_TABLE))
        (last,) = cursor.fetchone()
    return last or 0


def bits_of(purpose: Purpose, number: int) -> bytes:
    """Return one list: the first bit is the highest of the first byte."""
    first = number * ENTRIES
    # The end is a plain number, for the planner to see how many rows come.
    last = min(first + ENTRIES - 1, last_award())
    query = f"SELECT place FROM generate_series(%s, %s) AS place WHERE {_SET[purpose]}"  # noqa: S608 - ours alone
    with connection.cursor() as cursor:
        cursor.execute(query.format(table=_TABLE), [max(first, 1), last])
        return _packed(place - first for (place,) in cursor)


def _packed(indices: Iterable[int]) -> bytes:
    bits = bytearray(ENTRIES // 8)
    for index in indices:
        bits[index >> 3] |= 0x80 >> (index & 7)
    return bytes(bits)


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
