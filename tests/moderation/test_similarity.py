"""Near-duplicates are found by their keys: none is missed, none is made up, and the indexes are used."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from incentives.models import Fingerprint
from moderation import similarity
from moderation.fingerprints import distance
from moderation.models import Photo, Platform, Post
from tests import cast

SEED = 20
hashes = st.binary(min_size=32, max_size=32)
places = st.sets(st.integers(0, 255), max_size=similarity.MAX_DISTANCE)


def turned(pdq: bytes, bits: Sequence[int] | set[int]) -> bytes:
    """Return a hash with these bits turned over, the first bit being 0."""
    return (int.from_bytes(pdq) ^ sum(1 << (255 - bit) for bit in bits)).to_bytes(32)


def meet(one: bytes, other: bytes) -> bool:
    """Say whether one of the keys of the other is among what is looked up for the one."""
    return any(key in probes for key, probes in zip(similarity.keys_of(other), similarity.probes_of(one), strict=True))


def spread(per_key: int, in_last: int) -> list[int]:
    """Return bits that are spread so that each key gets as many."""
    return [key * 24 + bit for key in range(10) for bit in range(per_key)] + [240 + bit for bit in range(in_last)]


def keep(platform: Platform, prints: Sequence[bytes]) -> None:
    """Have a post with a photo for each fingerprint; no file is needed."""
    author, now = cast.make_author(platform), timezone.now()
    posts = Post.objects.bulk_create(
        Post(platform=platform, author=author, received_at=now, created_at=now) for _ in prints
    )
    photos = Photo.objects.bulk_create(
        Photo(post=post, position=0, file="none", digest="0" * 64, width=1, height=1, size=1) for post in posts
    )
    Fingerprint.objects.bulk_create(
        Fingerprint(photo=photo, platform=platform, post=post, pdq=pdq, keys=similarity.keys_of(pdq))
        for photo, post, pdq in zip(photos, posts, prints, strict=True)
    )


def near(rows: QuerySet[Fingerprint], pdq: bytes) -> list[tuple[int, bytes]]:
    """Return how far what was found is, in the order found, and its hash."""
    found: Any = similarity.within(rows, pdq)
    return [(row.distance, bytes(row.pdq)) for row in found]


@given(pdq=hashes, bits=places)
def test_whatever_is_near_shares_a_key(pdq: bytes, bits: set[int]) -> None:
    assert meet(pdq, turned(pdq, bits))


@given(pdq=hashes)
def test_the_worst_spread_is_still_found_and_one_bit_more_is_not(pdq: bytes) -> None:
    assert len(spread(3, 1)) == similarity.MAX_DISTANCE
    assert meet(pdq, turned(pdq, spread(3, 1)))
    assert not meet(pdq, turned(pdq, spread(3, 2)))


def test_no_value_is_looked_up_twice() -> None:
    probes = similarity.probes_of(bytes(range(32)))

    assert [len(values) for values in probes] == [len(set(values)) for values in probes] == [301] * 10 + [17]


@pytest.mark.django_db
def test_it_finds_what_comparing_with_all_finds() -> None:
    draw, platform = random.Random(SEED), cast.make_platform()
    asked = [draw.randbytes(32) for _ in range(12)]
    around = [turned(pdq, draw.sample(range(256), bits)) for pdq in asked for bits in range(0, 45)]
    prints = [draw.randbytes(32) for _ in range(1500)] + around
    keep(platform, prints)

    for pdq in asked:
        found = near(Fingerprint.objects.all(), pdq)
        expected = sorted(d for d in (distance(pdq, other) for other in prints) if d <= similarity.MAX_DISTANCE)
        assert [bits for bits, _ in found] == expected == list(range(32))
        assert all(distance(pdq, other) == bits for bits, other in found)


@pytest.mark.django_db
def test_the_border_lies_at_31_bits() -> None:
    pdq, platform = bytes(range(32)), cast.make_platform()
    keep(platform, [turned(pdq, range(31)), turned(pdq, range(32)), turned(pdq, spread(3, 1))])

    assert [bits for bits, _ in near(Fingerprint.objects.all(), pdq)] == [31, 31]


@pytest.mark.django_db
def test_it_keeps_to_the_rows_it_was_given() -> None:
    pdq, here, there = bytes(range(32)), cast.make_platform(), cast.make_platform()
    keep(here, [pdq])
    keep(there, [pdq])

    assert similarity.within(Fingerprint.objects.filter(platform=here), pdq).get().platform == here


@pytest.mark.django_db
def test_every_key_is_looked_up_in_its_index() -> None:
    keep(cast.make_platform(), [bytes(range(32))])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    plan = similarity.within(Fingerprint.objects.all(), bytes(32)).explain()

    indexes = [index.name for index in Fingerprint._meta.indexes]
    assert len(indexes) == 11
    assert all(f"Bitmap Index Scan on {name} " in plan for name in indexes)
