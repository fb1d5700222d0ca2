"""Who is held out: the same answer at any time, on any machine, for whoever knows the salt."""

import hashlib

BUCKETS = 10_000


def bucket_of(salt: str, platform_id: str, external_id: str) -> int:
    """Return the bucket, of 10,000 equally likely ones, that an author falls into."""
    # Only the last part is foreign, so no two authors spell the same text.
    digest = hashlib.sha256(f"{salt}:{platform_id}:{external_id}".encode()).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def is_held_out(salt: str, platform_id: str, external_id: str, percent: float) -> bool:
    """Say whether an author is among the `percent` that go without."""
    return bucket_of(salt, platform_id, external_id) < _buckets(percent)


def holdout_share(percent: float) -> float:
    """Return the share of authors that goes without: `percent` to two decimals."""
    return _buckets(percent) / BUCKETS


def _buckets(percent: float) -> int:
    return round(percent * (BUCKETS // 100))  # 7.000000000000001 of them would be eight
