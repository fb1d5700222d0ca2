"""Codes out of an app (RFC 6238), and recovery codes for the day it is lost.

The app's secret must be read again to check a code, so it is enciphered by a key made from Django's secret key; a
database alone opens no door. Recovery codes are kept as keyed hashes.
"""

import base64
import hashlib
import hmac
import secrets
import struct
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from cryptography.fernet import Fernet, InvalidToken
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.crypto import salted_hmac

from mask_social import clock
from moderation import audit
from moderation.audit import Deed
from moderation.models import RecoveryCode, SecondFactor

DIGITS, STEP_SECONDS = 6, 30
#: So many steps a clock may be wrong, either way.
TOLERATED = 1
RECOVERY_CODES = 10
_SECRET_BYTES = 20
_SALT = "moderation.second_factor"


def new_secret() -> bytes:
    """Return a secret for an app."""
    return secrets.token_bytes(_SECRET_BYTES)


def uri(secret: bytes, user: User, issuer: str) -> str:
    """Return what an app reads from the picture."""
    fields = {"secret": spelled(secret), "issuer": issuer, "digits": DIGITS, "period": STEP_SECONDS}
    return f"otpauth://totp/{quote(f'{issuer}:{user.get_username()}')}?{urlencode(fields, quote_via=quote)}"


def spelled(secret: bytes) -> str:
    """Return a secret as people type it."""
    return base64.b32encode(secret).decode()


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a step of time: RFC 4226 over the number of half minutes."""
    digest = hmac.digest(secret, struct.pack(">Q", step), hashlib.sha1)
    offset = digest[-1] & 0xF
    number: int = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_now() -> int:
    """Return the step of time that this is."""
    return int(clock.now().timestamp()) // STEP_SECONDS


def matching_step(secret: bytes, code: str) -> int | None:
    """Return the step whose code this is, about now."""
    now = step_now()
    steps = range(now - TOLERATED, now + TOLERATED + 1)
    return next((step for step in steps if hmac.compare_digest(code_at(secret, step), code)), None)


def is_set_up(user: User) -> bool:
    """Say whether a person has a second factor."""
    return SecondFactor.objects.filter(pk=user.pk).exists()


def set_up(user: User, secret: bytes, code: str) -> Sequence[str] | None:
    """Keep the secret of an app that has shown the right code; return recovery codes, None where it has not."""
    step = matching_step(secret, _typed(code))
    if step is None:
        return None
    with transaction.atomic():
        SecondFactor.objects.filter(pk=user.pk).delete()
        factor = SecondFactor.objects.create(user=user, secret_cipher=encipher(secret), last_step=step)
        codes = _new_codes(factor)
        audit.record(Deed.to(user, "second_factor_set_up"))
    return codes


def new_recovery_codes(user: User) -> Sequence[str]:
    """Put fresh recovery codes in the place of the old ones."""
    with transaction.atomic():
        factor = SecondFactor.objects.select_for_update().get(pk=user.pk)
        factor.recovery_codes.all().delete()
        codes = _new_codes(factor)
        audit.record(Deed.to(user, "recovery_codes_renewed"))
    return codes


def remove(user: User) -> bool:
    """Take a person's second factor away; False where there was none."""
    with transaction.atomic():
        deleted, _ = SecondFactor.objects.filter(pk=user.pk).delete()
        if deleted:
            audit.record(Deed.to(user, "second_factor_removed"))
    return bool(deleted)


def opens(user: User, code: str) -> bool:
    """Say whether a code of the app or a recovery code opens the door; each does so once."""
    factor = SecondFactor.objects.filter(pk=user.pk).first()
    if factor is None:
        return False
    typed = _typed(code)
    secret = decipher(factor.secret_cipher)
    step = None if secret is None else matching_step(secret, typed)
    if step is not None:
        # Of two who come with the same code at once, one finds it used.
        return SecondFactor.objects.filter(pk=factor.pk, last_step__lt=step).update(last_step=step) == 1
    unused = RecoveryCode.objects.filter(factor=factor, digest=_digest(user, typed), used_at=None)
    with transaction.atomic():
        used = unused.update(used_at=clock.now()) == 1
        if used:
            left = factor.recovery_codes.filter(used_at=None).count()
            audit.record(Deed.to(user, "recovery_code_used", {"left": left}))
    return used


def encipher(secret: bytes) -> str:
    """Return a secret as it may be kept."""
    return _cipher().encrypt(secret).decode()


def decipher(kept: str) -> bytes | None:
    """Return a secret that was kept; None where Django's secret key is another one by now."""
    try:
        return _cipher().decrypt(kept.encode())
    except InvalidToken:
        return None


def _cipher() -> Fernet:
    return Fernet(base64.urlsafe_b64encode(salted_hmac(_SALT, "cipher", algorithm="sha256").digest()))


def _new_codes(factor: SecondFactor) -> Sequence[str]:
    letters = [base64.b32encode(secrets.token_bytes(10)).decode().lower()[:12] for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(RecoveryCode(factor=factor, digest=_digest(factor.user, code)) for code in letters)
    return [f"{code[:4]}-{code[4:8]}-{code[8:]}" for code in letters]


def _digest(user: User, code: str) -> str:
    return salted_hmac(_SALT, f"{user.pk} {code}", algorithm="sha256").hexdigest()


def _typed(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()
