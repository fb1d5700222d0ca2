"""Replay: an endpoint is sent again what it asks for, under the ids, the numbers and the bytes of the first time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable

from incentives import events, webhooks
from incentives.models import Delivery, Event, WebhookEndpoint
from mask_social import clock
from mask_social.errors import ApiError

# In one call, for it is one transaction; the answer's cursor leads on.
MOST_AT_ONCE = 10_000

_UNDER_WAY = (Delivery.Status.PENDING, Delivery.Status.SENDING, Delivery.Status.HELD)


class Only(models.TextChoices):
    """Which events of a range."""

    FAILED = "failed", "given up"
    MISSING = "missing", "given up, or never addressed to the endpoint"
    ALL = "all", "delivered as well"


@dataclass(frozen=True, slots=True)
class Range:
    """Events by when they happened; `after` is the position that an earlier call came to."""

    since: datetime
    until: datetime | None = None
    only: str = Only.FAILED
    after: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a call; `next` is the position to go on from, None when the range is through."""

    deliveries: int
    next: int | None = None


def replay_event(endpoint: WebhookEndpoint, event_id: str) -> Replayed:
    """Send one event, whether it was delivered, given up or never addressed to the endpoint."""
    _check_active(endpoint)
    event = _of_platform(endpoint).filter(id=event_id).first()
    if event is None:
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "There is no such event.")
    if not _wanted(endpoint).filter(pk=event.pk).exists():
        detail = f"The endpoint does not listen to {event.type}; change its event_types first."
        raise ApiError(HTTPStatus.CONFLICT, "event_type_not_wanted", detail)
    return Replayed(_send(endpoint, [event.pk]))


def replay_range(endpoint: WebhookEndpoint, wanted: Range) -> Replayed:
    """Send the events of a range, the oldest first, as many as one call may."""
    _check_active(endpoint)
    found = _wanted(endpoint).filter(_which(endpoint, wanted.only), created_at__gte=wanted.since)
    if wanted.until is not None:
        found = found.filter(created_at__lt=wanted.until)
    later = found.filter(position__gt=wanted.after).order_by("position").values_list("position", flat=True)
    positions = list(later[: MOST_AT_ONCE + 1])
    chosen = positions[:MOST_AT_ONCE]
    return Replayed(_send(endpoint, chosen), chosen[-1] if len(positions) > MOST_AT_ONCE else None)


def _check_active(endpoint: WebhookEndpoint) -> None:
    if endpoint.status != WebhookEndpoint.Status.ACTIVE:
        raise ApiError(HTTPStatus.CONFLICT, "endpoint_disabled", "The endpoint is disabled; enable it first.")


def _of_platform(endpoint: WebhookEndpoint) -> QuerySet[Event]:
    # The test of another endpoint concerns that one alone.
    others = Q(subject_type=Event.SubjectType.ENDPOINT) & ~Q(subject_id=endpoint.pk)
    return Event.objects.filter(platform=endpoint.platform_id).exclude(others)


def _wanted(endpoint: WebhookEndpoint) -> QuerySet[Event]:
    found = _of_platform(endpoint)
    if endpoint.event_types:
        found = found.filter(Q(type__in=endpoint.event_types) | Q(type=Event.Type.ENDPOINT_TEST))
    return found


def _which(endpoint: WebhookEndpoint, only: str) -> Combinable:
    here = Delivery.objects.filter(event=OuterRef("pk"), endpoint=endpoint)
    match only:
        case Only.FAILED:
            return Exists(here.filter(status=Delivery.Status.FAILED))
        case Only.MISSING:
            return ~Exists(here.exclude(status=Delivery.Status.FAILED))
    return ~Exists(here.filter(status__in=_UNDER_WAY))


def _send(endpoint: WebhookEndpoint, positions: Sequence[int]) -> int:
    """Send events on their way; those that are already are left alone."""
    if not positions:
        return 0
    there = Delivery.objects.filter(endpoint=endpoint, event__in=positions)
    with transaction.atomic():
        # Held, for a foreign key to what was deleted since would fail at the commit.
        if not events.hold(WebhookEndpoint.objects.filter(pk=endpoint.pk)):
            raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "There is no such endpoint.")
        held = events.hold(Event.objects.filter(pk__in=positions))
        missing = set(held) - set(there.values_list("event_id", flat=True))
        # As if given up, so that one way leads both on; where another replay was quicker, its rows serve.
        Delivery.objects.bulk_create(
            [Delivery(event_id=pk, endpoint=endpoint, status=Delivery.Status.FAILED) for pk in sorted(missing)],
            batch_size=1000,
            ignore_conflicts=True,
        )
    return webhooks.release(there.exclude(status__in=_UNDER_WAY), clock.now())
