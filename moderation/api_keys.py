"""API keys: issued once in clear, kept as a digest, replaced by a successor, revoked for good."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet

from mask_social import clock
from mask_social.errors import ApiError
from moderation.models import ApiKey, Platform

_PREFIX = "msk_"
_RANDOM_BYTES = 32  # 43 characters of base64
_SHOWN_CHARACTERS = 12
DEFAULT_OVERLAP_HOURS, MAX_OVERLAP_HOURS = 24, 168
#: From when on staff are told that a key will expire.
EXPIRES_SOON = timedelta(days=14)


class IssuedKey(NamedTuple):
    """A fresh key; `plaintext` can be read here and never again."""

    api_key: ApiKey
    plaintext: str

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"IssuedKey({self.api_key})"


def issue_key(
    platform: Platform,
    *,
    name: str,
    scopes: Sequence[str],
    calls_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> IssuedKey:
    """Make a key for a platform."""
    unknown = set(scopes) - set(ApiKey.Scope.values)
    if unknown or not scopes:
        raise ValueError(f"unknown scopes {sorted(unknown)}" if unknown else "a key needs a scope")
    plaintext = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    api_key = ApiKey.objects.create(
        platform=platform,
        name=name,
        prefix=plaintext[:_SHOWN_CHARACTERS],
        digest=digest(plaintext),
        scopes=[str(scope) for scope in dict.fromkeys(scopes)],
        calls_per_minute=calls_per_minute,
        expires_at=expires_at,
    )
    return IssuedKey(api_key, plaintext)


def rotate(api_key: ApiKey, *, overlap: timedelta, expires_at: datetime | None = None) -> IssuedKey:
    """Make a key that takes the place of another, which goes on for the overlap; refuse where one already did.

    A key has one successor, and with the successor's own the first of the three ends: no holder of a key can make ever
    more of them. The successor lives no longer than the key would have, unless staff say so.
    """
    now = clock.now()
    with transaction.atomic():
        issued = issue_key(
            api_key.platform,
            name=api_key.name,
            scopes=api_key.scopes,
            calls_per_minute=api_key.calls_per_minute,
            expires_at=expires_at or api_key.expires_at,
        )
        ends = min(now + overlap, api_key.expires_at or now + overlap)
        claimed = _live(now).filter(pk=api_key.pk, successor=None).update(successor=issued.api_key, expires_at=ends)
        if not claimed:
            raise ApiError(HTTPStatus.CONFLICT, "already_rotated", "Another key has taken the place of this one.")
        _live(now).filter(successor=api_key.pk).update(expires_at=now)
    return issued


def revoke(api_key: ApiKey) -> bool:
    """Revoke a key; False when it already was."""
    return ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=clock.now()) == 1


def revoke_line(api_key: ApiKey) -> int:
    """Revoke a key and all that came of it by rotation, which a thief may have done; return how many."""
    revoked = 0
    heir: ApiKey | None = api_key
    while heir is not None:
        revoked += revoke(heir)
        # Read after it was revoked: a rotation that came before is seen, and none comes after.
        heir = ApiKey.objects.filter(predecessor=heir).first()
    return revoked


def _live(now: datetime) -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def digest(plaintext: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(plaintext.encode()).hexdigest()
