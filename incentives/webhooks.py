"""Webhooks: signed by https://www.standardwebhooks.com, tried until they arrive or are given up.

An attempt is three steps: claim a delivery in a short transaction, post outside of any, and write what came of it in
another. A worker that is lost in between leaves a lease that runs out, and an attempt without an outcome. Every wait is
a time in a row. Who sends when is `dispatch`'s to say; how many go to one endpoint at once is checked at the claim.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from random import SystemRandom

from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Least

from incentives import events, http, observed, signing
from incentives.models import Attempt, Delivery, Event, WebhookEndpoint
from mask_social import clock, correlation, guarded_http

SHOWN_CHARACTERS = 1000  # of an answer
BATCH = 1000  # deliveries of one short transaction
JITTER = 0.2  # waits are lengthened by up to this share, so that endpoints that failed together come back apart
LONGEST_RETRY_AFTER = timedelta(days=1)
# Where a 429 does not say for how long: doubled at each one in a row.
SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)
# Where it says for how long, it is believed so often in a row: one that says a second for days would be asked, and each
# attempt be kept, a hundred thousand times a day.
BELIEVED_IN_A_ROW = 12
# Longer than the longest wait between two tries. Failures further apart are not of one run.
LONGEST_SILENCE = timedelta(days=2)
# After so long a run of failures whatever waits is sent as soon as something arrives. Where it is single ones that
# fail it is not, for each success between them would use up one of their tries.
OUTAGE = timedelta(minutes=10)

_random = SystemRandom()
# What is still to be sent. A held one of an endpoint that is active again is as due as any other.
WAITING = (Delivery.Status.PENDING, Delivery.Status.SENDING, Delivery.Status.HELD)


@dataclass(frozen=True, slots=True)
class Terms:
    """How deliveries are tried: read from the settings by the caller."""

    allow_private: bool
    timeout_seconds: float
    # The waits before the second and later tries.
    retry_seconds: Sequence[int]
    # So many are sent to one endpoint at once; one while it is failing.
    parallel: int = 4
    # So many threads of a process may be at endpoints that are failing or slow.
    slow_places: int = 8
    # After so long a run of failures an endpoint is disabled.
    failing_limit: timedelta = timedelta(days=5)
    ports: Collection[int] = guarded_http.ALLOWED_PORTS

    @property
    def longest_attempt(self) -> timedelta:
        """How long a live worker may be at one."""
        return timedelta(seconds=self.timeout_seconds + 5)

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

    @property
    def is_refused(self) -> bool:
        """Whether the endpoint wants quiet: that says nothing about the message, so it is no try."""
        return self.status_code == HTTPStatus.TOO_MANY_REQUESTS


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
    headers = {
        "content-type": "application/json",
        "user-agent": "mask_social",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.signature(signing.valid_keys(endpoint, now), event.id, timestamp, body),
    }
    # For logs on both sides. Not in the body, which is signed and tells what happened, not how we came to know.
    return headers | ({"x-request-id": event.request_id} if event.request_id else {})


def deliver(delivery_id: str, terms: Terms) -> bool:
    """Make one attempt at a delivery if it is due and nobody else makes it; return whether it was delivered."""
    endpoint_id = Delivery.objects.filter(pk=delivery_id).values_list("endpoint_id", flat=True).first()
    claim = None if endpoint_id is None else _claim(endpoint_id, terms, clock.now(), only=delivery_id)
    return claim is not None and _carry_out(claim, terms).is_delivered


def deliver_next(endpoint_id: str, terms: Terms) -> Outcome | None:
    """Make one attempt at the oldest delivery that is due to an endpoint; None where nothing may be sent now."""
    claim = _claim(endpoint_id, terms, clock.now())
    return None if claim is None else _carry_out(claim, terms)


def _claim(endpoint_id: str, terms: Terms, now: datetime, *, only: str | None = None) -> _Claim | None:
    with transaction.atomic():
        # Held, so that two claims do not both count themselves the last that may be sent at once.
        endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=endpoint_id).first()
        if endpoint is None or not _may_send(endpoint, terms, now):
            return None
        delivery = _next_due(endpoint, terms, now, only)
        if delivery is None:
            return None
        lease = now + terms.lease
        Delivery.objects.filter(pk=delivery.pk).update(
            status=Delivery.Status.SENDING, due_at=lease, tries=F("tries") + 1
        )
        delivery.tries += 1
        number = delivery.attempts.count() + 1
        attempt = delivery.attempts.create(number=number, started_at=now)
    delivery.endpoint = endpoint
    return _Claim(delivery, attempt, lease)


def _may_send(endpoint: WebhookEndpoint, terms: Terms, now: datetime) -> bool:
    if endpoint.status != WebhookEndpoint.Status.ACTIVE or (endpoint.paused_until and endpoint.paused_until > now):
        return False
    # Of a lost worker's, only its own delivery waits for the lease to run out.
    lively = now + terms.lease - terms.longest_attempt
    sending = Delivery.objects.filter(endpoint=endpoint, status=Delivery.Status.SENDING, due_at__gt=lively)
    return sending.count() < (1 if endpoint.failing_since else terms.parallel)


def _next_due(endpoint: WebhookEndpoint, terms: Terms, now: datetime, only: str | None) -> Delivery | None:
    """Hold the oldest delivery that is due, and give up those that lost the worker of every try."""
    due = Delivery.objects.filter(endpoint=endpoint, status__in=WAITING, due_at__lte=now).order_by("due_at", "event")
    if only is not None:
        due = due.filter(pk=only)
    while True:
        held = due.select_related("event").select_for_update(skip_locked=True, of=("self",))
        delivery = held.first()
        if delivery is None or delivery.tries <= len(terms.retry_seconds):
            return delivery
        Delivery.objects.filter(pk=delivery.pk).update(status=Delivery.Status.FAILED)


def _carry_out(claim: _Claim, terms: Terms) -> Outcome:
    with correlation.bound(claim.delivery.event.request_id):
        began = time.monotonic()
        outcome = _attempt(claim.delivery, terms)
        seconds = time.monotonic() - began
        _finish(claim, outcome, terms, clock.now())
        observed.attempted(claim.delivery, claim.attempt.number, outcome.status_code, seconds)
    return outcome


def _attempt(delivery: Delivery, terms: Terms) -> Outcome:
    body = body_of(delivery.event)
    now = clock.now()
    headers = signed_headers(delivery.endpoint, delivery.event, body, now)
    try:
        answer = http.post(
            delivery.endpoint.url,
            body,
            headers,
            allow_private=terms.allow_private,
            ports=terms.ports,
            seconds=terms.timeout_seconds,
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
    attempt, was_out = claim.attempt, False
    with transaction.atomic():
        # The endpoint first, as at the claim and where it is disabled or deleted.
        if outcome.is_delivered:
            was_out = _note_success(claim.delivery.endpoint_id, now)
            is_active = True
        else:
            is_active = _note_failure(claim.delivery, outcome, terms, now)
        Attempt.objects.filter(pk=attempt.pk).update(
            duration_ms=(now - attempt.started_at).total_seconds() * 1000,
            status_code=outcome.status_code,
            error=outcome.error,
            response=outcome.text,
        )
        ours = Delivery.objects.filter(pk=claim.delivery.pk, status=Delivery.Status.SENDING, due_at=claim.lease)
        tries = claim.delivery.tries
        if outcome.is_delivered:
            ours.update(status=Delivery.Status.DELIVERED, delivered_at=now)
        elif outcome.is_permanent:
            ours.update(status=Delivery.Status.FAILED)
        elif not is_active:
            _hold(ours)
        elif outcome.is_refused:  # it stays the oldest, and its endpoint is paused
            ours.update(status=Delivery.Status.PENDING, due_at=claim.delivery.due_at, tries=tries - 1)
        elif tries > len(terms.retry_seconds):
            ours.update(status=Delivery.Status.FAILED)
        else:
            wait = timedelta(seconds=terms.retry_seconds[tries - 1])
            due = now + next_wait(wait, outcome.retry_after, _random.random())
            ours.update(status=Delivery.Status.PENDING, due_at=due)
    if was_out:
        hasten(claim.delivery.endpoint_id, now)


def _note_success(endpoint_id: str, now: datetime) -> bool:
    """Note on an endpoint that something arrived; return whether it was out for a while."""
    failing = WebhookEndpoint.objects.filter(pk=endpoint_id, failing_since__isnull=False)
    since = failing.values_list("failing_since", flat=True).first()
    if since is None:
        return False
    return failing.update(failing_since=None, failed_at=None) == 1 and now - since >= OUTAGE


def _note_failure(delivery: Delivery, outcome: Outcome, terms: Terms, now: datetime) -> bool:
    """Note on an endpoint that nothing arrived; return whether more is to be sent to it."""
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=delivery.endpoint_id).first()
    if endpoint is None or endpoint.status != WebhookEndpoint.Status.ACTIVE:
        return False
    is_run = endpoint.failed_at is not None and now - endpoint.failed_at <= LONGEST_SILENCE
    endpoint.failing_since = (endpoint.failing_since if is_run else None) or now
    endpoint.failed_at = now
    if outcome.is_refused:
        until = now + pause(outcome.retry_after, _refusals(delivery) + 1, _random.random())
        endpoint.paused_until = max(until, endpoint.paused_until or until)
    endpoint.save(update_fields=["failing_since", "failed_at", "paused_until"])
    if outcome.is_gone:
        disable(endpoint, WebhookEndpoint.Reason.GONE)
    elif now - endpoint.failing_since >= terms.failing_limit:
        disable(endpoint, WebhookEndpoint.Reason.FAILING)
    else:
        return True
    return False


def _refusals(delivery: Delivery) -> int:
    """Return how many of the last attempts in a row were refused; the one that is being written has no answer yet."""
    finished = delivery.attempts.exclude(duration_ms=None)
    last_other = finished.exclude(status_code=HTTPStatus.TOO_MANY_REQUESTS).order_by("-number").values("number")[:1]
    number = last_other.values_list("number", flat=True).first() or 0
    return finished.filter(number__gt=number).count()


def next_wait(wait: timedelta, asked: timedelta | None, random: float) -> timedelta:
    """Return how long to wait: our own time with jitter, or longer where the endpoint asked for it."""
    return max(wait * (1 + JITTER * random), min(asked or timedelta(), LONGEST_RETRY_AFTER))


def pause(asked: timedelta | None, in_a_row: int, random: float) -> timedelta:
    """Return for how long an endpoint that answered 429 is left alone: as it asked, or longer each time in a row."""
    wanted = min(asked or timedelta(), LONGEST_RETRY_AFTER)
    if wanted and in_a_row <= BELIEVED_IN_A_ROW:
        return wanted
    doubled: timedelta = SHORTEST_PAUSE * 2 ** min(in_a_row - 1, 20)
    return max(wanted, min(doubled, LONGEST_PAUSE) * (1 + JITTER * random))


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Read a `Retry-After` header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:10]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # OverflowError: a year of twenty digits
        return None
    return max(timedelta(), (when if when.tzinfo else when.replace(tzinfo=UTC)) - now)


def release(deliveries: QuerySet[Delivery], now: datetime) -> int:
    """Send many finished or held deliveries on their way, a new round each; return how many that were.

    Those under way and those of disabled endpoints are left alone. They go in batches, each a short transaction of its
    own where the caller has none, and however many they are, the broker gets one message per endpoint and batch.
    """
    idle = (Delivery.Status.DELIVERED, Delivery.Status.FAILED, Delivery.Status.HELD)
    eligible = deliveries.filter(status__in=idle, endpoint__status=WebhookEndpoint.Status.ACTIVE).order_by("pk")
    released, last = 0, ""
    while True:
        with transaction.atomic():
            batch = eligible.filter(pk__gt=last).select_for_update(skip_locked=True, of=("self",))
            chosen = list(batch.values_list("pk", "endpoint_id")[:BATCH])
            Delivery.objects.filter(pk__in=[pk for pk, _ in chosen]).update(**_new_round(now))
            for endpoint_id in sorted({endpoint_id for _, endpoint_id in chosen}):
                events.wake_on_commit(endpoint_id)
        if not chosen:
            return released
        released, last = released + len(chosen), chosen[-1][0]


def hasten(endpoint_id: str, now: datetime) -> int:
    """Send at once what waits for its next try, for its endpoint answers again; return how many that were."""
    waiting = Delivery.objects.filter(endpoint=endpoint_id, status=Delivery.Status.PENDING, due_at__gt=now)
    hastened = 0
    while True:
        with transaction.atomic():
            batch = waiting.order_by("due_at", "event").select_for_update(skip_locked=True)
            chosen = list(batch.values_list("pk", flat=True)[:BATCH])
            # Due when they were written: the oldest first, and before all that is new.
            Delivery.objects.filter(pk__in=chosen).update(due_at=Least(F("created_at"), Value(now)))
        if not chosen:
            return hastened
        hastened += len(chosen)


def redeliver(delivery: Delivery, now: datetime) -> bool:
    """Send a finished delivery again; False when it is on its way, or its endpoint is disabled."""
    finished = Delivery.objects.filter(
        pk=delivery.pk,
        status__in=(Delivery.Status.DELIVERED, Delivery.Status.FAILED),
        endpoint__status=WebhookEndpoint.Status.ACTIVE,
    )
    with transaction.atomic():
        moved = finished.update(**_new_round(now))
        if moved:
            events.wake_on_commit(delivery.endpoint_id)
    return moved == 1


def _new_round(now: datetime) -> dict[str, object]:
    return {"status": Delivery.Status.PENDING, "delivered_at": None, "tries": 0, "due_at": now}


def send_test(endpoint: WebhookEndpoint) -> Event:
    """Send an endpoint, and it alone, an event that tells of nothing."""
    with transaction.atomic():
        return events.record(Event.Type.ENDPOINT_TEST, endpoint, {"endpoint_id": endpoint.pk})


def disable(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> None:
    """Send an endpoint nothing more, and keep what is not sent; its platform is written to unless it asked for that."""
    now = clock.now()
    with transaction.atomic():
        disabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, status=WebhookEndpoint.Status.ACTIVE).update(
            status=WebhookEndpoint.Status.DISABLED,
            disabled_at=now,
            disabled_reason=reason,
            paused_until=None,
            notify_at=None if reason == WebhookEndpoint.Reason.OWNER else now,
        )
        if disabled:
            _hold(Delivery.objects.filter(endpoint=endpoint, status=Delivery.Status.PENDING))


def _hold(deliveries: QuerySet[Delivery]) -> None:
    """Keep deliveries until their endpoint is enabled, for a new round."""
    deliveries.update(status=Delivery.Status.HELD, tries=0, due_at=F("created_at"))


def enable(endpoint: WebhookEndpoint) -> None:
    """Send an endpoint events again, at first what was held; where it is enabled already, end its pause."""
    with transaction.atomic():
        WebhookEndpoint.objects.filter(pk=endpoint.pk, status=WebhookEndpoint.Status.DISABLED).update(
            status=WebhookEndpoint.Status.ACTIVE,
            disabled_at=None,
            disabled_reason="",
            failing_since=None,
            failed_at=None,
            notify_at=None,
        )
        WebhookEndpoint.objects.filter(pk=endpoint.pk, paused_until__isnull=False).update(paused_until=None)
        events.wake_on_commit(endpoint.pk)
