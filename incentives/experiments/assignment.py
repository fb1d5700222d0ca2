"""Who is held out: the same answer at any time, on any machine, for whoever knows the salt."""

import hashlib
from decimal import Decimal

BUCKETS = 10_000


def bucket_of(salt: str, platform_id: str, external_id: str) -> int:
    """Return the bucket, of 10,000 equally likely ones, that an author falls into."""
    # Only the last part is foreign, so no two authors spell the same text.
    digest = hashlib.sha256(f"{salt}:{platform_id}:{external_id}".encode()).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def is_held_out(salt: str, platform_id: str, external_id: str, percent: Decimal | float) -> bool:
    """Say whether an author is among the `percent` that go without."""
    return bucket_of(salt, platform_id, external_id) < percent * (BUCKETS // 100)
