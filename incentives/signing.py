"""Signatures of webhooks, to the letter of https://www.standardwebhooks.com: HMAC (`v1`) and Ed25519 (`v1a`).

Both sign ``id.timestamp.body``. While a key is being replaced, a message bears signatures of both the old and the new.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.db.models import Q

from incentives.models import SigningKey, WebhookEndpoint

HMAC_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = 32  # the specification wants 24 to 64
OVERLAP = timedelta(hours=24)  # so long a former key signs beside the one that took its place
# Of one scheme; each adds a signature to every message. More than one, so that a rotation that is asked for twice, its
# first answer lost, does not end the key that the receiver still has.
MOST_FORMER = 3

Scheme = SigningKey.Scheme


def new_key(endpoint: WebhookEndpoint, scheme: SigningKey.Scheme) -> SigningKey:
    """Make a key, without saving it."""
    if scheme == Scheme.HMAC:
        return SigningKey(
            endpoint=endpoint, scheme=scheme, secret=HMAC_PREFIX + _encode(secrets.token_bytes(SECRET_BYTES))
        )
    private = Ed25519PrivateKey.generate()
    return SigningKey(
        endpoint=endpoint,
        scheme=scheme,
        # The seed of RFC 8032 alone, as the reference implementation in Go reads it.
        secret=PRIVATE_PREFIX + _encode(private.private_bytes_raw()),
        public_key=PUBLIC_PREFIX + _encode(private.public_key().public_bytes_raw()),
    )


def valid_keys(endpoint: WebhookEndpoint, now: datetime) -> Sequence[SigningKey]:
    """Return the keys that sign, those in use before those that are being replaced."""
    valid = SigningKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), endpoint=endpoint)
    return sorted(valid, key=lambda key: (key.scheme, -key.pk))


def key_in_use(endpoint: WebhookEndpoint, scheme: SigningKey.Scheme) -> SigningKey:
    """Return the key of a scheme that no other replaces."""
    return SigningKey.objects.get(endpoint=endpoint, scheme=scheme, expires_at=None)


def rotate(
    endpoint: WebhookEndpoint, scheme: SigningKey.Scheme, now: datetime, *, expire_old_now: bool = False
) -> SigningKey:
    """Put a new key in use; those before it sign too for a day, or no more where one of them leaked."""
    with transaction.atomic():
        # One rotation after the other: only one key of a scheme can be in use.
        WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
        keys = SigningKey.objects.filter(endpoint=endpoint, scheme=scheme)
        if expire_old_now:
            keys.delete()
        keys.filter(expires_at=None).update(expires_at=now + OVERLAP)
        former = keys.order_by("-pk").values_list("pk", flat=True)
        keys.filter(pk__in=list(former[MOST_FORMER:])).delete()
        key = new_key(endpoint, scheme)
        key.save()
    return key


def forget_expired(now: datetime) -> int:
    """Delete the keys that no longer sign; return how many."""
    deleted, _ = SigningKey.objects.filter(expires_at__lte=now).delete()
    return deleted


def signature(keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a message: one signature for each key, with a space between."""
    if not keys:
        raise ValueError("Nothing is sent unsigned.")
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return " ".join(f"{key.scheme},{_encode(_sign(key, signed))}" for key in keys)


def _sign(key: SigningKey, message: bytes) -> bytes:
    if key.scheme == Scheme.HMAC:
        return hmac.digest(_decode(key.secret, HMAC_PREFIX), message, hashlib.sha256)
    return Ed25519PrivateKey.from_private_bytes(_decode(key.secret, PRIVATE_PREFIX)).sign(message)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(written: str, prefix: str) -> bytes:
    return base64.b64decode(written.removeprefix(prefix), validate=True)
