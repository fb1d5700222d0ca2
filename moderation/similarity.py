"""Near-duplicates: photos whose PDQ fingerprints differ in few of 256 bits, found among many without reading all.

A fingerprint is cut into 16 chunks of 16 bits. Two within 31 bits of each other have a chunk in which they differ in
one bit at most, so whoever is near shares one of 272 probes: the chunks, and each with one bit turned over.
"""

from typing import Any, TypeVar

from django.db.models import F, Func, IntegerField, Model, QuerySet, Value

MAX_DISTANCE = 31
MIN_QUALITY = 50
_CHUNKS = 16
_BITS = 16

M = TypeVar("M", bound=Model)


def keys_of(pdq: bytes) -> list[int]:
    """Return the 16 keys of a fingerprint: each chunk with its place."""
    return [place << _BITS | int.from_bytes(pdq[2 * place : 2 * place + 2]) for place in range(_CHUNKS)]


def probes_of(pdq: bytes) -> list[int]:
    """Return the 272 keys of which any near-duplicate has one."""
    return [key ^ turned for key in keys_of(pdq) for turned in (0, *(1 << bit for bit in range(_BITS)))]


def within(rows: QuerySet[M], pdq: bytes, distance: int = MAX_DISTANCE) -> QuerySet[M]:
    """Keep the rows whose `pdq` is near, found by their `keys`; annotated with `distance`, the nearest first."""
    differing: Any = Func(
        F("pdq"),
        Value(pdq),
        template="bit_count(('x' || encode(%(expressions)s, 'hex'))::bit(256))",
        arg_joiner=", 'hex'))::bit(256) # ('x' || encode(",
        output_field=IntegerField(),
    )
    near = rows.filter(keys__overlap=probes_of(pdq)).annotate(distance=differing)
    return near.filter(distance__lte=distance).order_by("distance", "pk")
