"""Near-duplicates: photos whose PDQ fingerprints differ in few of 256 bits, found among many without reading all.

A fingerprint is cut into ten keys of 24 bits and one of 16. Were two of them three bits apart in each of the ten and
two in the last, that would make 32. So of those within 31 bits one of the ten keys is at most two bits off, or the last
at most one: 3,027 values, each looked up in the index of its key, find whatever is near, and one random row in 2,000.
"""

from collections.abc import Iterator
from functools import reduce
from itertools import combinations
from operator import or_
from typing import Any, TypeVar

from django.db.models import BooleanField, F, Func, Index, IntegerField, Model, Q, QuerySet, Value

MAX_DISTANCE = 31
# Below this there is too little in a picture to tell it from others.
MIN_QUALITY = 50

#: How many keys a fingerprint has.
KEYS = 11

_KEY_BYTES = 3

M = TypeVar("M", bound=Model)


class _IsAnyOf(Func):
    """Compare with an array written as text: hundreds of parameters for an IN take longer than the search."""

    template = "%(expressions)s::integer[])"
    arg_joiner = " = ANY("
    arity = 2
    output_field = BooleanField()


class _Bits(Func):
    """Turn bytes into a bit string, which unlike bytes can be compared bit by bit."""

    template = "('x' || encode(%(expressions)s, 'hex'))::bit(256)"
    arity = 1


def keys_of(pdq: bytes) -> list[int]:
    """Return the eleven keys of a fingerprint."""
    return [int.from_bytes(part) for part in _parts(pdq)]


def probes_of(pdq: bytes) -> list[list[int]]:
    """Return for each of the eleven keys the values of which any near-duplicate has one, in one place or another."""
    return [[int.from_bytes(part) ^ turned for turned in _TURNED[len(part)]] for part in _parts(pdq)]


def indexes(name: str) -> list[Index]:
    """Return what a model with `keys` needs for `within` to be fast."""
    # Not a GIN index over them all: for so many values PostgreSQL expects most of the table and reads the whole of it.
    return [Index(F(f"keys__{place}"), name=f"{name}_{place}") for place in range(KEYS)]


def within(rows: QuerySet[M], pdq: bytes) -> QuerySet[M]:
    """Keep the rows whose `pdq` is near, found by their `keys`; annotated with `distance`, the nearest first."""
    shared = (
        Q(_IsAnyOf(F(f"keys__{place}"), Value(f"{{{','.join(map(str, values))}}}")))
        for place, values in enumerate(probes_of(pdq))
    )
    differing: Any = Func(
        _Bits(F("pdq")), _Bits(Value(pdq)), function="bit_count", arg_joiner=" # ", output_field=IntegerField()
    )
    near: Any = rows.filter(reduce(or_, shared)).annotate(distance=differing)
    nearest: QuerySet[M] = near.filter(distance__lte=MAX_DISTANCE).order_by("distance", "pk")
    return nearest


def _parts(pdq: bytes) -> Iterator[bytes]:
    return (pdq[place * _KEY_BYTES : (place + 1) * _KEY_BYTES] for place in range(KEYS))


def _masks(bits: int, most: int) -> list[int]:
    places = (places for turned in range(most + 1) for places in combinations(range(bits), turned))
    return [sum(1 << place for place in chosen) for chosen in places]


#: By the length of a key: what to turn over in it for each value up to two bits off, or one.
_TURNED = {3: _masks(24, 2), 2: _masks(16, 1)}
