"""The keys that sign credentials: RSA, for RS256 is the one algorithm that every Open Badges 3.0 verifier must know.

The ring is a PEM text. Its first block is the private key that signs; those behind it are retired, and published for as
long as what they signed may be shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from mask_social.env import local_secret

ALGORITHM = "RS256"
BITS = 3072
_LEAST_BITS = 2048
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class NoKeyError(Exception):
    """Nothing signs here: no key was set up."""


class BadKeyError(Exception):
    """The text that was set up is no ring of keys; says why."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The key that signs, and those that did."""

    signing: RSAKey
    retired: tuple[RSAKey, ...]

    @property
    def public(self) -> dict[str, dict[str, Any]]:
        """Return every public key by its thumbprint (RFC 7638), the one in use first."""
        return {key.thumbprint(): key.as_dict(private=False) for key in (self.signing, *self.retired)}


def ring() -> Ring:
    """Return this service's keys; a local checkout makes its own at the first call."""
    if settings.BADGE_KEY:
        return read(settings.BADGE_KEY)
    if settings.LOCAL:
        return read(local_secret(settings.LOCAL_BADGE_KEY, new_key))
    raise NoKeyError


@lru_cache(maxsize=4)
def read(text: str) -> Ring:
    """Read a ring."""
    found = [(match[1], match[0]) for match in _BLOCK.finditer(text)]
    if not found:
        raise BadKeyError("There is no PEM block in it.")
    keys = [_read_block(block) for _, block in found]
    if "PRIVATE" not in found[0][0]:
        raise BadKeyError("The first block is no private key, so nothing could be signed.")
    return Ring(keys[0], tuple(keys[1:]))


def _read_block(block: str) -> RSAKey:
    try:
        key = RSAKey.import_key(block)
    except (JoseError, ValueError, TypeError) as error:
        raise BadKeyError("A block is no RSA key in PEM without a password.") from error
    if key.public_key.key_size < _LEAST_BITS:
        raise BadKeyError(f"A key has {key.public_key.key_size} bits, fewer than {_LEAST_BITS}.")
    return key


def new_key() -> str:
    """Make a private key, as PEM."""
    return RSAKey.generate_key(BITS).as_pem(private=True).decode()


def rotated(current: Ring | None) -> str:
    """Return a ring with a fresh key in front, and the public halves of those before it."""
    retired = (current.signing, *current.retired) if current else ()
    return "".join([new_key(), *(key.as_pem(private=False).decode() for key in retired)])


def sign(claims: Mapping[str, Any], key_url: str, *, typ: str) -> str:
    """Return `claims` as a compact JWS; `key_url` is where the public key is found, its thumbprint last."""
    key = ring().signing
    header = {"alg": ALGORITHM, "kid": f"{key_url}{key.thumbprint()}", "typ": typ}
    return jwt.encode(header, dict(claims), key, algorithms=[ALGORITHM])
