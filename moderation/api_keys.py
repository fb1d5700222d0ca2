"""API keys: issued once in clear, kept as a digest, revoked for good."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from mask_social import clock
from moderation.models import ApiKey, Platform

_PREFIX = "msk_"
_RANDOM_BYTES = 32  # 43 characters of base64
_SHOWN_CHARACTERS = 12


class IssuedKey(NamedTuple):
    """A fresh key; `plaintext` can be read here and never again."""

    api_key: ApiKey
    plaintext: str

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"IssuedKey({self.api_key})"


def issue_key(platform: Platform, *, name: str, scopes: Sequence[str]) -> IssuedKey:
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
    )
    return IssuedKey(api_key, plaintext)


def revoke(api_key: ApiKey) -> bool:
    """Revoke a key; False when it already was."""
    return ApiKey.objects.filter(pk=api_key.pk, revoked_at__isnull=True).update(revoked_at=clock.now()) == 1


def digest(plaintext: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(plaintext.encode()).hexdigest()
