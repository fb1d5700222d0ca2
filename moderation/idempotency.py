"""Requests that happen once, however often they are sent.

The answer is kept in the transaction that makes the post, so no crash comes between the two. The lock is a row that
expires: a request that died can be sent again.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from mask_social import clock
from mask_social.errors import ApiError
from moderation.models import IdempotencyKey, Platform

POINTER = "/headers/Idempotency-Key"
_FORM = re.compile(r"[\x21-\x7e]{1,255}")
_LOCK = timedelta(seconds=60)
_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that was given the first time."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Lock:
    """The right to answer a request; `until` tells this holder from a later one."""

    row_id: int
    until: datetime


def fingerprint(method: str, path: str, fields: Mapping[str, Any], files: Sequence[str]) -> str:
    """Return what two requests have in common only if they ask for the same; `files` are digests in order."""
    whole = json.dumps([method, path, fields, files], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def check_key(key: str | None) -> str | None:
    """Return a well-formed key, or None where there is none; refuse any other."""
    if key is not None and not _FORM.fullmatch(key):
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            "invalid_idempotency_key",
            "An Idempotency-Key has 1 to 255 visible ASCII characters.",
            pointer=POINTER,
        )
    return key


def begin(platform: Platform, key: str | None, fingerprint: str) -> Lock | Replay | None:
    """Take the lock on a key, or return the answer there already is; None for a request without a key."""
    if key is None:
        return None
    until = clock.now() + _LOCK
    row, is_new = IdempotencyKey.objects.get_or_create(
        platform=platform, key=key, defaults={"fingerprint": fingerprint, "locked_until": until}
    )
    if is_new:
        return Lock(row.pk, until)
    if row.fingerprint != fingerprint:
        raise ApiError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "This Idempotency-Key was used for another request.",
            pointer=POINTER,
        )
    if row.response_status is not None:
        return Replay(row.response_status, row.response_body)
    expired = IdempotencyKey.objects.filter(
        pk=row.pk, locked_until=row.locked_until, locked_until__lte=clock.now(), response_status=None
    )
    if expired.update(locked_until=until) == 1:
        return Lock(row.pk, until)
    raise _in_flight()


def complete(lock: Lock | None, status: int, body: Any) -> None:
    """Keep the answer; called in the transaction that makes it true."""
    if lock is None:
        return
    mine = IdempotencyKey.objects.filter(pk=lock.row_id, locked_until=lock.until, response_status=None)
    if mine.update(response_status=status, response_body=body) != 1:
        raise _in_flight()  # we were so slow that another took the lock: let ours be undone


@contextmanager
def held(lock: Lock | None) -> Iterator[None]:
    """Free the key when the request is refused, or fails."""
    try:
        yield
    except BaseException:
        if lock is not None:
            release(lock)
        raise


def release(lock: Lock) -> None:
    """Free the key of a request that was refused."""
    IdempotencyKey.objects.filter(pk=lock.row_id, locked_until=lock.until, response_status=None).delete()


def forget_old() -> int:
    """Delete keys after a day; a platform that retries later than that makes a new post."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lte=clock.now() - _KEPT).delete()
    return deleted


def _in_flight() -> ApiError:
    return ApiError(
        HTTPStatus.CONFLICT,
        "idempotency_in_flight",
        "The first request with this Idempotency-Key is still running.",
        pointer=POINTER,
        headers={"Retry-After": "1"},
    )
