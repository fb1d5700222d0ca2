"""Who sends when: endpoints take turns, and the slow ones leave threads to the others.

A message to a worker only names an endpoint. The worker sends what is due to it, the oldest first, until nothing is or
its turn is over; then the endpoint goes to the end of the queue. So a backlog is one message, not one per delivery, and
nothing depends on it: the sweep looks at the rows.
"""

import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import OuterRef, Q, Subquery

from incentives import webhooks
from incentives.models import Delivery, WebhookEndpoint

TURN_SECONDS = 5.0
SLOW_SECONDS = 1.0
# A worker that was sent and has not come for so long is taken for lost, and the sweep sends another.
LOST_AFTER = timedelta(seconds=30)


class Places:
    """The threads of a process: only some of them may be at endpoints that are failing or slow, in turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._slow: set[str] = set()
        self._waiting: dict[str, None] = {}  # in the order they came

    def enter(self, endpoint_id: str, most_slow: int, *, is_failing: bool) -> bool | None:
        """Return whether a slow endpoint's place was taken; None: there is none, and it waits for one."""
        with self._lock:
            if not is_failing and endpoint_id not in self._slow:
                return False
            if self._taken >= most_slow:
                self._waiting[endpoint_id] = None
                return None
            self._taken += 1
            self._waiting.pop(endpoint_id, None)
            return True

    def leave(self, endpoint_id: str, *, is_slow_place: bool, has_more: bool) -> Sequence[str]:
        """Return whose turn is next for this place; one that has more to send lines up behind those that wait."""
        with self._lock:
            if is_slow_place:
                self._taken -= 1
                if self._waiting:
                    first = next(iter(self._waiting))
                    del self._waiting[first]
                    if has_more:
                        self._waiting[endpoint_id] = None
                    return [first]
        return [endpoint_id] if has_more else []

    def note(self, endpoint_id: str, seconds: float) -> bool:
        """Remember how long an endpoint took; return whether it is slow."""
        is_slow = seconds >= SLOW_SECONDS
        with self._lock:
            (self._slow.add if is_slow else self._slow.discard)(endpoint_id)
        return is_slow


_places = Places()


def take_turn(endpoint_id: str, terms: webhooks.Terms) -> Sequence[str]:
    """Send what is due to an endpoint for a while; return the endpoints that a worker is to be sent to next."""
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_id).first()
    if endpoint is None:
        return []
    if endpoint.woken_at is not None:
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(woken_at=None)
    is_slow_place = _places.enter(endpoint_id, terms.slow_places, is_failing=endpoint.failing_since is not None)
    if is_slow_place is None:
        return []
    has_more = False
    try:
        has_more = _send_for_a_while(endpoint_id, terms)
    finally:
        following = _places.leave(endpoint_id, is_slow_place=is_slow_place, has_more=has_more)
    return following


def _send_for_a_while(endpoint_id: str, terms: webhooks.Terms) -> bool:
    """Return whether there may be more to send."""
    ends = time.monotonic() + TURN_SECONDS
    while (began := time.monotonic()) < ends:
        if webhooks.deliver_next(endpoint_id, terms) is None:
            return False
        if _places.note(endpoint_id, time.monotonic() - began):
            return True  # a slow one makes one attempt a turn
    return True


def sweep(now: datetime) -> Sequence[str]:
    """Choose the endpoints that something is due to, and that no worker was sent to lately."""
    waiting = Delivery.objects.filter(endpoint=OuterRef("pk"), status__in=webhooks.WAITING)
    # The first of each endpoint, out of the index: an EXISTS would be answered by reading every delivery.
    first = Subquery(waiting.order_by("due_at").values("due_at")[:1])
    idle = WebhookEndpoint.objects.annotate(first_due=first).filter(
        Q(paused_until=None) | Q(paused_until__lte=now),
        Q(woken_at=None) | ~Q(woken_at__range=(now - LOST_AFTER, now)),  # in the future: the clock was put back
        first_due__lte=now,
        status=WebhookEndpoint.Status.ACTIVE,
    )
    with transaction.atomic():
        held = idle.order_by("pk").select_for_update(skip_locked=True, no_key=True)
        chosen = list(held.values_list("pk", flat=True))
        WebhookEndpoint.objects.filter(pk__in=chosen).update(woken_at=now)
    return chosen
