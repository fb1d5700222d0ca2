"""Workers and beat in small, for the tests of webhooks."""

import queue
import threading
from datetime import datetime
from types import TracebackType
from typing import Self

from django.db import connection, transaction
from django.db.models import Min

from incentives import dispatch, events, webhooks
from incentives.models import Delivery, Event, WebhookEndpoint
from moderation.models import Platform, Post
from tests.cast import make_author, make_post
from tests.hands import Hands
from tests.incentives.builders import make_endpoint


def note(post: Post) -> Event:
    """Record an event of a post."""
    with transaction.atomic():
        return events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk, "note": "Ünïcode ✓"})


def make_backlog(url: str, count: int, platform: Platform | None = None) -> WebhookEndpoint:
    """Make an endpoint with so many deliveries to be sent."""
    post = make_post(make_author(platform), photos=())
    endpoint = make_endpoint(post.platform, url)
    for _ in range(count):
        note(post)
    return endpoint


def sweep_and_send(now: datetime, terms: webhooks.Terms) -> None:
    """Do what beat and a worker do of it once."""
    for endpoint_id in dispatch.sweep(now):
        following = [endpoint_id]
        while following:
            following = list(dispatch.take_turn(following[0], terms))


def pass_time(hands: Hands, until: datetime, terms: webhooks.Terms) -> None:
    """Let the time pass as beat and a worker live it, from one moment when something is due to the next."""
    while True:
        sweep_and_send(hands.now(), terms)
        waiting = Delivery.objects.filter(status="pending", due_at__gt=hands.now()).aggregate(at=Min("due_at"))["at"]
        paused = WebhookEndpoint.objects.filter(paused_until__gt=hands.now()).aggregate(at=Min("paused_until"))["at"]
        moments = [at for at in (waiting, paused) if at is not None and at <= until]
        if not moments:
            hands.move_to(until)
            return
        hands.move_to(min(moments))


class Workers:
    """Real threads that take up messages as a worker's do."""

    def __init__(self, threads: int, terms: webhooks.Terms) -> None:
        self._terms = terms
        self.messages: queue.Queue[str] = queue.Queue()  # a SimpleQueue of 3.11 forgets timeouts under load
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    endpoint_id = self.messages.get(timeout=0.05)
                except queue.Empty:
                    continue
                for following in dispatch.take_turn(endpoint_id, self._terms):
                    self.messages.put(following)
        finally:
            connection.close()
