"""The work of looking at a photo: requested, claimed by compare-and-set, finished once, requeued when lost."""

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import F

from mask_social import broker, clock, correlation
from mask_social.observability import logs
from moderation import files, inference, observed, signals
from moderation.models import Analysis, Face, Photo, Post, Verdict
from moderation.verdicts import STATES, record_verdict

logger = logging.getLogger(__name__)

Status = Analysis.Status
_UNFINISHED = (Status.PENDING, Status.RUNNING)
_SWEEP_BATCH = 200
# But not so rarely that a flushed broker leaves a photo alone until posts are refused for its age.
_LONGEST_SILENCE = timedelta(minutes=5)
# A second try right away would meet the same trouble; the sweep takes it up after this long, doubled with each try.
_RETRY_DELAY = timedelta(seconds=2)
_STORAGE_PATIENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a claim lasts, and how often a photo is tried."""

    lease: timedelta
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A photo that this worker holds; without the token nothing can be finished."""

    photo_id: str
    token: uuid.UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a photo could not be looked at."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep did."""

    requeued: int
    given_up: int


def request(photos: Sequence[Photo], terms: Terms) -> None:
    """Ask for photos to be looked at, once the transaction is committed."""
    now = clock.now()
    Analysis.objects.bulk_create(Analysis(photo=photo, queued_at=now, requeue_at=now + terms.lease) for photo in photos)
    _enqueue(*(photo.pk for photo in photos))


def run(photo_id: str, terms: Terms) -> None:
    """Look at a photo, unless somebody else does or did."""
    held = claim(photo_id, terms)
    if held is None:
        return
    photo = Photo.objects.select_related("post").only("file", "post__request_id").get(pk=photo_id)
    # The message may be a sweep's, which knows of no request.
    with correlation.bound(photo.post.request_id), logs.bound(photo_id=photo_id, post_id=photo.post_id):
        _look(photo, held, terms)


def _look(photo: Photo, held: Claim, terms: Terms) -> None:
    try:
        content = files.read(str(photo.file.name))
        reading = inference.get().analyze(content)
    except inference.ImageError as error:
        fail(held, Failure(error.code, str(error)))
    except files.MissingError:
        fail(held, Failure("photo_missing", "The stored photo is gone."))
    except files.UnreadableError as error:
        logger.error("The storage cannot be read: %s.", error)
        postpone(held, terms)
    except SoftTimeLimitExceeded:
        release(held, Failure("analysis_too_slow", "The photo took too long."), terms)
    except Exception as error:  # the border to the models: whatever they raise, the photo is tried again and counted
        logger.exception("The analysis of %s failed (try %d).", photo.pk, held.attempt)
        release(held, Failure("analysis_error", f"{type(error).__name__} in the analyzer."), terms)
    else:
        finish(held, reading)


def claim(photo_id: str, terms: Terms) -> Claim | None:
    """Take a pending photo; None when it is not to be had."""
    now, token = clock.now(), uuid.uuid4()
    lease_ends = now + terms.lease
    free = Analysis.objects.filter(pk=photo_id, status=Status.PENDING, attempts__lt=terms.max_attempts)
    taken = free.update(
        status=Status.RUNNING,
        token=token,
        attempts=F("attempts") + 1,
        started_at=now,
        lease_expires_at=lease_ends,
        requeue_at=lease_ends,
    )
    if not taken:
        return None
    return Claim(photo_id, token, Analysis.objects.values_list("attempts", flat=True).get(pk=photo_id))


def finish(held: Claim, reading: inference.PhotoReading) -> bool:
    """Keep what was seen, and reach the verdict when this was the post's last photo; False when the claim is lost."""
    analyzer = inference.get()
    digests = (analyzer.detector_digest, analyzer.classifier_digest)
    with transaction.atomic():
        post = _lock_post(held.photo_id)
        done = _settle(
            held,
            status=Status.DONE,
            decode_ms=reading.timings.decode_ms,
            detect_ms=reading.timings.detect_ms,
            classify_ms=reading.timings.classify_ms,
            detector_digest=digests[0],
            classifier_digest=digests[1],
        )
        if not done:
            return False
        Face.objects.bulk_create(_faces(held.photo_id, reading))
        record_verdict(post.pk, source=Verdict.Source.MODEL, held=post)
    observed.photo_seen(reading)
    return True


def fail(held: Claim, failure: Failure) -> bool:
    """Give up on a photo, and with it on its post; False when the claim is lost."""
    return _give_up(held.photo_id, failure, lambda: _settle(held, **_failed(failure)))


def release(held: Claim, failure: Failure, terms: Terms) -> bool:
    """Leave a photo to another try, or give up after the last; False when the claim is lost."""
    if held.attempt >= terms.max_attempts:
        return fail(held, failure)
    observed.photo_failed(held.photo_id, failure.code, last=False)
    retry_at = clock.now() + _RETRY_DELAY * 2 ** (held.attempt - 1)
    return (
        Analysis.objects.filter(pk=held.photo_id, status=Status.RUNNING, token=held.token).update(
            status=Status.PENDING, token=None, lease_expires_at=None, requeue_at=retry_at
        )
        == 1
    )


def postpone(held: Claim, terms: Terms) -> bool:
    """Leave a photo that could not even be read until a lease has passed; it is no try of the photo's.

    The storage may be away for hours. After a day it is one: a file that is damaged would come again for ever. Its
    waiting begins anew, for how long a photo waits says whether posts are taken in, and one file must shut nobody out.
    """
    now = clock.now()
    mine = Analysis.objects.filter(pk=held.photo_id, status=Status.RUNNING, token=held.token)
    if mine.filter(photo__post__received_at__lt=now - _STORAGE_PATIENCE).exists():
        return release(held, Failure("storage_unavailable", "The stored photo could not be read for a day."), terms)
    freed: dict[str, object] = {"status": Status.PENDING, "token": None, "lease_expires_at": None}
    return mine.update(attempts=F("attempts") - 1, queued_at=now, requeue_at=now + terms.lease, **freed) == 1


def sweep(terms: Terms) -> Sweep:
    """Send again what nobody works on: messages that were lost, and workers that were.

    A claim whose worker died is counted as a try, so a photo that kills its worker comes to an end.
    """
    now = clock.now()
    with transaction.atomic():
        overdue = list(
            Analysis.objects.filter(status__in=_UNFINISHED, requeue_at__lte=now)
            .select_related("photo__post")
            .order_by("requeue_at")
            .select_for_update(skip_locked=True, of=("self",))[:_SWEEP_BATCH]
        )
        hopeless = [row.pk for row in overdue if row.status == Status.RUNNING and row.attempts >= terms.max_attempts]
        requeued = [row for row in overdue if row.pk not in hopeless]
        for row in requeued:
            if row.status == Status.RUNNING:
                row.status, row.token, row.lease_expires_at = Status.PENDING, None, None
            # Behind a long queue the message is not lost but waiting: ask ever more rarely, or we would flood it.
            row.requeue_at = now + max(terms.lease, min(now - row.queued_at, _LONGEST_SILENCE))
            with correlation.bound(row.photo.post.request_id):
                _enqueue(row.pk)
        Analysis.objects.bulk_update(requeued, ["status", "token", "lease_expires_at", "requeue_at"])
    # One transaction each, and the post locked first as everywhere else: the other way round could deadlock.
    lost = Failure("worker_lost", f"The photo brought down its worker {terms.max_attempts} times.")
    given_up = [_give_up(photo_id, lost, partial(_settle_expired, photo_id, lost, now)) for photo_id in hopeless]
    return Sweep(len(requeued), sum(given_up))


def _enqueue(*photo_ids: str) -> None:
    from moderation.tasks import analyze_photo  # the task calls this module

    request_id = correlation.current()

    def send() -> None:
        with correlation.bound(request_id):
            for photo_id in photo_ids:
                analyze_photo.delay(photo_id)

    def tell() -> None:
        broker.tell(send)

    # Robust: without a broker the post stands all the same, and the sweep sends the message later. Django logs the
    # failure with the function's name, and a partial has none: it would raise after all.
    transaction.on_commit(tell, robust=True)


def _lock_post(photo_id: str) -> Post:
    # Photos of one post finish at the same time; whoever comes last must see what the others wrote.
    return Post.objects.select_for_update(of=("self",)).select_related("platform").get(photos=photo_id)


def _settle(held: Claim, **changes: object) -> bool:
    mine = Analysis.objects.filter(pk=held.photo_id, status=Status.RUNNING, token=held.token)
    return mine.update(token=None, lease_expires_at=None, finished_at=clock.now(), **changes) == 1


def _settle_expired(photo_id: str, failure: Failure, now: datetime) -> bool:
    expired = Analysis.objects.filter(pk=photo_id, status=Status.RUNNING, lease_expires_at__lte=now)
    return expired.update(token=None, lease_expires_at=None, finished_at=now, **_failed(failure)) == 1


def _failed(failure: Failure) -> dict[str, str]:
    return {"status": Status.FAILED, "failure_code": failure.code, "failure_detail": failure.detail}


def _give_up(photo_id: str, failure: Failure, settle: Callable[[], bool]) -> bool:
    with transaction.atomic():
        post = _lock_post(photo_id)
        if not settle():
            return False
        observed.photo_failed(photo_id, failure.code, last=True)
        pending = Post.objects.filter(pk=post.pk, status=Post.Status.PENDING)
        if pending.update(status=Post.Status.FAILED, completed_at=clock.now()) == 1:
            signals.post_failed.send(Post, post_id=post.pk)
    return True


def _faces(photo_id: str, reading: inference.PhotoReading) -> list[Face]:
    return [
        Face(
            analysis_id=photo_id,
            position=position,
            x1=face.box.x1,
            y1=face.box.y1,
            x2=face.box.x2,
            y2=face.box.y2,
            # Sums of float32 can end a hair above one.
            score=min(1.0, face.score),
            **{state: min(1.0, face.probabilities[state]) for state in STATES},
        )
        for position, face in enumerate(reading.faces)
    ]
