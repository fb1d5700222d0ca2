"""Webhooks: signed by https://www.standardwebhooks.com, tried until they arrive or are given up.

An attempt is three steps: claim the delivery in a short transaction, post outside of any, and write what came of it in
another. A worker that is lost in between leaves a lease that runs out, and an attempt without an outcome.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from random import SystemRandom

from django.db import transaction
from django.db.models import QuerySet

from incentives import events, http, signing
from incentives.models import Attempt, Delivery, Event, WebhookEndpoint
from mask_social import clock

SHOWN_CHARACTERS = 1000  # of an answer
SWEEP_BATCH = 500
RELEASE_BATCH = 1000  # deliveries of one short transaction
JITTER = 0.2  # waits are lengthened by up to this share, so that endpoints that failed together come back apart
LONGEST_RETRY_AFTER = timedelta(days=1)

_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class Terms:
    """How deliveries are tried: read from the settings by the caller."""

    allow_private: bool
    timeout_seconds: float
    # The waits before the second and later attempts.
    retry_seconds: Sequence[int]

    @property
    def lease(self) -> timedelta:
        """Longer than any attempt takes, so that no live worker loses its claim."""
        return timedelta(seconds=self.timeout_seconds * 2 + 30)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    status_code: int | None = None
    error: str = ""
    text: str = ""
    retry_after: timedelta | None = None
    is_permanent: bool = False

    @property
    def is_delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint wants no more of them."""
        return self.status_code == HTTPStatus.GONE


@dataclass(frozen=True, slots=True)
class _Claim:
    delivery: Delivery
    attempt: Attempt
    lease: datetime


def body_of(event: Event) -> bytes:
    """Return the payload, the same bytes at every attempt."""
    return json.dumps(events.representation(event), ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(endpoint: WebhookEndpoint, event: Event, body: bytes, now: datetime) -> Mapping[str, str]:
    """Return the headers of one attempt; the id is the event's, so that a receiver knows a second one."""
    timestamp = int(now.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": "mask_social",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature(signing.valid_keys(endpoint, now), event.id, timestamp, body),
    }


def deliver(delivery_id: str, terms: Terms) -> bool:
    """Make one attempt if the delivery is due and nobody else makes it; return whether it was delivered."""
    claim = _claim(delivery_id, terms, clock.now())
    if claim is None:
        return False
    outcome = _attempt(claim.delivery, terms)
    _finish(claim, outcome, terms, clock.now())
    return outcome.is_delivered


def _claim(delivery_id: str, terms: Terms, now: datetime) -> _Claim | None:
    lease = now + terms.lease
    due = Delivery.objects.filter(pk=delivery_id, due_at__lte=now)
    taken = {"status": Delivery.Status.SENDING, "due_at": lease, "requeue_at": lease}
    with transaction.atomic():
        is_fresh = due.filter(status=Delivery.Status.PENDING).update(**taken) == 1
        if not is_fresh and due.filter(status=Delivery.Status.SENDING).update(**taken) != 1:
            return None
        delivery = Delivery.objects.select_related("event", "endpoint").get(pk=delivery_id)
        number = delivery.attempts.count() + 1
        # A fresh one may have been asked for by hand, after all its attempts.
        is_exhausted = not is_fresh and number > len(terms.retry_seconds) + 1
        if is_exhausted or delivery.endpoint.status != WebhookEndpoint.Status.ACTIVE:
            Delivery.objects.filter(pk=delivery_id).update(status=Delivery.Status.FAILED)
            return None
        attempt = delivery.attempts.create(number=number, started_at=now)
    return _Claim(delivery, attempt, lease)


def _attempt(delivery: Delivery, terms: Terms) -> Outcome:
    body = body_of(delivery.event)
    now = clock.now()
    headers = signed_headers(delivery.endpoint, delivery.event, body, now)
    try:
        answer = http.post(
            delivery.endpoint.url, body, headers, allow_private=terms.allow_private, seconds=terms.timeout_seconds
        )
    except http.DeliveryError as error:
        return Outcome(error=str(error), is_permanent=error.permanent)
    return Outcome(
        status_code=answer.status,
        text=answer.text[:SHOWN_CHARACTERS],
        retry_after=retry_after(answer.headers.get("retry-after", ""), clock.now()),
        error="" if 200 <= answer.status < 300 else f"answered {answer.status}",
    )


def _finish(claim: _Claim, outcome: Outcome, terms: Terms, now: datetime) -> None:
    """Write what came of an attempt; the delivery only moves if it is still ours."""
    attempt = claim.attempt
    with transaction.atomic():
        if outcome.is_gone:
            disable(claim.delivery.endpoint, WebhookEndpoint.Reason.GONE)
        Attempt.objects.filter(pk=attempt.pk).update(
            duration_ms=(now - attempt.started_at).total_seconds() * 1000,
            status_code=outcome.status_code,
            error=outcome.error,
            response=outcome.text,
        )
        ours = Delivery.objects.filter(pk=claim.delivery.pk, status=Delivery.Status.SENDING, due_at=claim.lease)
        if outcome.is_delivered:
            ours.update(status=Delivery.Status.DELIVERED, delivered_at=now)
        elif outcome.is_gone or outcome.is_permanent or attempt.number > len(terms.retry_seconds):
            ours.update(status=Delivery.Status.FAILED)
        else:
            wait = timedelta(seconds=terms.retry_seconds[attempt.number - 1])
            due = now + next_wait(wait, outcome.retry_after, _random.random())
            ours.update(status=Delivery.Status.PENDING, due_at=due, requeue_at=due)


def next_wait(wait: timedelta, asked: timedelta | None, random: float) -> timedelta:
    """Return how long to wait: our own time with jitter, or longer where the endpoint asked for it."""
    return max(wait * (1 + JITTER * random), min(asked or timedelta(), LONGEST_RETRY_AFTER))


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Read a `Retry-After` header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:10]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # OverflowError: a year of twenty digits
        return None
    return max(timedelta(), (when if when.tzinfo else when.replace(tzinfo=UTC)) - now)


def requeue(now: datetime) -> list[str]:
    """Choose deliveries that are due, or whose worker or message was lost, and leave them alone for a while."""
    unfinished = Delivery.objects.filter(status__in=(Delivery.Status.PENDING, Delivery.Status.SENDING))
    with transaction.atomic():
        due = unfinished.filter(requeue_at__lte=now).order_by("requeue_at").select_for_update(skip_locked=True)
        chosen = list(due.values_list("pk", flat=True)[:SWEEP_BATCH])
        Delivery.objects.filter(pk__in=chosen).update(requeue_at=now + events.LOST_AFTER)
    return chosen


def redeliver(delivery: Delivery, now: datetime) -> bool:
    """Send a finished delivery again; False when it is on its way, or its endpoint is disabled."""
    finished = Delivery.objects.filter(
        pk=delivery.pk,
        status__in=(Delivery.Status.DELIVERED, Delivery.Status.FAILED),
        endpoint__status=WebhookEndpoint.Status.ACTIVE,
    )
    with transaction.atomic():
        moved = finished.update(
            status=Delivery.Status.PENDING, delivered_at=None, due_at=now, requeue_at=now + events.LOST_AFTER
        )
        if moved:
            events.send_on_commit(delivery.pk)
    return moved == 1


def release(deliveries: QuerySet[Delivery], now: datetime) -> int:
    """Send many finished or held deliveries on their way, a new round each; return how many that were.

    It takes them in batches of their own transactions, skips those under way or of disabled endpoints, and wakes a worker
    once per endpoint: however many they are, the broker sees a handful of messages. Outside of any transaction, please.
    """
    idle = (Delivery.Status.DELIVERED, Delivery.Status.FAILED, Delivery.Status.HELD)
    eligible = deliveries.filter(status__in=idle, endpoint__status=WebhookEndpoint.Status.ACTIVE).order_by("pk")
    released, last = 0, ""
    while True:
        with transaction.atomic():
            batch = eligible.filter(pk__gt=last).select_for_update(skip_locked=True, of=("self",))
            chosen = list(batch.values_list("pk", flat=True)[:RELEASE_BATCH])
            if not chosen:
                return released
            Delivery.objects.filter(pk__in=chosen).update(
                status=Delivery.Status.PENDING, delivered_at=None, tries=0, due_at=now, requeue_at=now
            )
        released, last = released + len(chosen), chosen[-1]


def send_test(endpoint: WebhookEndpoint) -> Event:
    """Send an endpoint, and it alone, an event that tells of nothing."""
    with transaction.atomic():
        return events.record(Event.Type.ENDPOINT_TEST, endpoint, {"endpoint_id": endpoint.pk})


def disable(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> None:
    """Send an endpoint nothing more; what it misses it can read from the API."""
    with transaction.atomic():
        WebhookEndpoint.objects.filter(pk=endpoint.pk, status=WebhookEndpoint.Status.ACTIVE).update(
            status=WebhookEndpoint.Status.DISABLED, disabled_at=clock.now(), disabled_reason=reason
        )
        pending = Delivery.objects.filter(endpoint=endpoint, status=Delivery.Status.PENDING)
        pending.update(status=Delivery.Status.FAILED)


def enable(endpoint: WebhookEndpoint) -> None:
    """Send an endpoint events again."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        status=WebhookEndpoint.Status.ACTIVE, disabled_at=None, disabled_reason="", failing_since=None
    )
