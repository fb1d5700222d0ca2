"""How long events are kept: a time after which they go, with their deliveries and attempts, sent or not."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from incentives.models import Attempt, Delivery, Event, EventHorizon, WebhookEndpoint

BATCH = 1000

_MOVE_HORIZON = f"""
    INSERT INTO {EventHorizon._meta.db_table} AS known (platform_id, transaction_id, position) VALUES (%s, %s, %s)
    ON CONFLICT (platform_id) DO UPDATE
    SET transaction_id = excluded.transaction_id, position = excluded.position
    WHERE (known.transaction_id, known.position) < (excluded.transaction_id, excluded.position)
"""  # noqa: S608 - a name of our own


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted, and how much of it had never been delivered."""

    events: int
    given_up: int


def forget(before: datetime, now: datetime, *, for_at_most: timedelta) -> Forgotten:
    """Delete the events of before a time, in short transactions, until none is left or the time for it is over."""
    ends = time.monotonic() + for_at_most.total_seconds()
    deleted = given_up = 0
    while time.monotonic() < ends:
        batch = _forget_some(before, now)
        deleted, given_up = deleted + batch.events, given_up + batch.given_up
        if not batch.events:
            break
    return Forgotten(deleted, given_up)


def _forget_some(before: datetime, now: datetime) -> Forgotten:
    # By position, whose index has the oldest first, and by keys written out: where one statement asks for what is old,
    # whole tables are read.
    oldest = Event.objects.order_by("position").values_list("position", "created_at")[:BATCH]
    old = [position for position, created_at in oldest if created_at < before]
    under_way = Delivery.objects.filter(event=OuterRef("pk"), status=Delivery.Status.SENDING, due_at__gt=now)
    with transaction.atomic():
        idle = Event.objects.filter(~Exists(under_way), pk__in=old)
        held = idle.select_for_update(skip_locked=True, of=("self",)).order_by("position")
        rows = list(held.values_list("position", "transaction_id", "platform_id"))
        positions = [position for position, *_ in rows]
        deliveries = list(Delivery.objects.filter(event__in=positions).values_list("pk", "status"))
        keys = [pk for pk, _ in deliveries]
        given_up = sum(status not in {Delivery.Status.DELIVERED, Delivery.Status.FAILED} for _, status in deliveries)
        # Raw: nothing else hangs on them, and no row need be read first. A delivery that staff send again at this very
        # moment makes the batch fail; the next run takes it.
        _delete(Attempt.objects.filter(delivery__in=keys))
        _delete(Delivery.objects.filter(pk__in=keys))
        _delete(Event.objects.filter(pk__in=positions))
        _move_horizons(rows)
    return Forgotten(len(rows), given_up)


def forget_deliveries(endpoint: WebhookEndpoint) -> None:
    """Delete all deliveries to an endpoint that is disabled, with their attempts, in short transactions."""
    while True:
        with transaction.atomic():
            keys = list(Delivery.objects.filter(endpoint=endpoint).order_by("pk").values_list("pk", flat=True)[:BATCH])
            # The attempts first, as where one is finished: the other way round the two could wait for each other.
            _delete(Attempt.objects.filter(delivery__in=keys))
            _delete(Delivery.objects.filter(pk__in=keys))
        if not keys:
            return


def _delete(rows: object) -> None:
    rows._raw_delete(rows.db)  # type: ignore[attr-defined]  # Django's own, for querysets without cascades


def _move_horizons(rows: Sequence[tuple[int, int, str]]) -> None:
    """Note per platform the last event that is gone."""
    last: dict[str, tuple[int, int]] = {}
    for position, transaction_id, platform_id in rows:
        last[platform_id] = max(last.get(platform_id, (0, 0)), (transaction_id, position))
    with connection.cursor() as cursor:
        for platform_id, (transaction_id, position) in sorted(last.items()):
            cursor.execute(_MOVE_HORIZON, [platform_id, transaction_id, position])
