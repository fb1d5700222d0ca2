"""Replay: what an endpoint missed is sent again, the same bytes under the same ids, and nothing else is."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pgtrigger
import pytest
from django.db import transaction
from django.utils import timezone

from incentives import endpoints, events, replay, webhooks
from incentives.models import Delivery, Event, WebhookEndpoint
from mask_social.errors import ApiError
from moderation.models import Post
from tests.cast import make_platform, make_post
from tests.incentives.builders import at_once, client_for, make_endpoint, pointers
from tests.incentives.receiver import Receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

TERMS = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10])
LONG_AGO = "2020-01-01T00:00:00Z"


def tell(post: Post, count: int = 1, type_: Event.Type = Event.Type.POST_FAILED) -> list[Event]:
    with transaction.atomic():
        return [events.record(type_, post, {"post_id": post.pk}) for _ in range(count)]


def at(event: Event, when: datetime) -> None:
    """Let an event have happened then; the trigger that guards it looks away."""
    with pgtrigger.ignore("incentives.Event:event_is_never_edited"):
        Event.objects.filter(pk=event.pk).update(created_at=when)


def give_up(found: Sequence[Event]) -> None:
    Delivery.objects.filter(event__in=found).update(status="failed", delivered_at=None)


def arrive(found: Sequence[Event]) -> None:
    Delivery.objects.filter(event__in=found).update(status="delivered", delivered_at=timezone.now())


def ask(endpoint: WebhookEndpoint, **body: Any) -> Any:
    path = f"/api/v1/webhook-endpoints/{endpoint.pk}/replay"
    return client_for(endpoint.platform).post(path, body, format="json")


def under_way(endpoint: WebhookEndpoint) -> list[int]:
    pending = Delivery.objects.filter(endpoint=endpoint, status="pending")
    return sorted(pending.values_list("event__sequence", flat=True))


def test_an_event_comes_again_in_the_same_bytes_under_the_same_id() -> None:
    post = make_post(photos=())
    with Receiver() as receiver:
        endpoint = make_endpoint(post.platform, receiver.url)
        [event] = tell(post)
        [delivery] = event.deliveries.all()
        webhooks.deliver(delivery.pk, TERMS)
        delivery.refresh_from_db()
        assert delivery.status == "delivered"

        answer = ask(endpoint, event_id=event.id)

        assert (answer.status_code, answer.json()) == (202, {"deliveries": 1, "next": None})
        webhooks.deliver(delivery.pk, TERMS)

    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == event.id


def test_an_event_that_was_never_addressed_to_the_endpoint_can_be_had() -> None:
    post = make_post(photos=())
    [event] = tell(post)
    endpoint = make_endpoint(post.platform)

    assert ask(endpoint, event_id=event.id).json()["deliveries"] == 1
    assert under_way(endpoint) == [1]
    assert ask(endpoint, event_id=event.id).json()["deliveries"] == 0, "it is under way"


def test_what_failed_since_then_comes_again_and_nothing_else() -> None:
    post = make_post(photos=())
    [never] = tell(post)
    endpoint = make_endpoint(post.platform)
    old, failed, later, delivered, pending = tell(post, 5)
    at(old, timezone.now() - timedelta(days=3))
    give_up([old, failed, later])
    arrive([delivered])

    answer = ask(endpoint, since=(timezone.now() - timedelta(days=1)).isoformat())

    assert answer.json() == {"deliveries": 2, "next": None}
    assert under_way(endpoint) == [failed.sequence, later.sequence, pending.sequence]
    assert not never.deliveries.exists()
    assert delivered.deliveries.get().status == "delivered" and old.deliveries.get().status == "failed"


@pytest.mark.parametrize(("only", "sent"), [("failed", [3]), ("missing", [1, 3]), ("all", [1, 3, 4])])
def test_a_range_is_as_wide_as_it_is_asked_for(only: str, sent: list[int]) -> None:
    post = make_post(photos=())
    tell(post)
    endpoint = make_endpoint(post.platform)
    sending, failed, delivered, after = tell(post, 4)
    Delivery.objects.filter(event=sending).update(status="sending")
    give_up([failed, after])
    arrive([delivered])
    at(after, timezone.now() + timedelta(hours=1))
    until = (timezone.now() + timedelta(minutes=1)).isoformat()

    answer = ask(endpoint, since=LONG_AGO, until=until, only=only)

    assert answer.json()["deliveries"] == len(sent)
    assert under_way(endpoint) == sent
    assert sending.deliveries.get().status == "sending"
    assert ask(endpoint, since=LONG_AGO, until=until, only=only).json()["deliveries"] == 0, "asked for twice"


def test_types_that_the_endpoint_does_not_listen_to_are_left_out_and_a_single_one_is_refused() -> None:
    post = make_post(photos=())
    endpoint = make_endpoint(post.platform, event_types=["post.failed"])
    tell(post)
    [other] = tell(post, type_=Event.Type.POST_WITHDRAWN)
    give_up(list(Event.objects.all()))

    assert ask(endpoint, since=LONG_AGO, only="all").json()["deliveries"] == 1
    refused = ask(endpoint, event_id=other.id)
    assert (refused.status_code, refused.json()["code"]) == (409, "event_type_not_wanted")


def test_the_events_of_others_and_the_tests_of_other_endpoints_are_out_of_reach() -> None:
    endpoint = make_endpoint()
    sibling = make_endpoint(endpoint.platform)
    [theirs] = tell(make_post(photos=()))
    test = webhooks.send_test(sibling)
    give_up([test])

    for hidden in (theirs.id, test.id, "evt_none"):
        answer = ask(endpoint, event_id=hidden)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ask(endpoint, since=LONG_AGO, only="all").json()["deliveries"] == 0
    assert ask(sibling, event_id=test.id).json()["deliveries"] == 1
    path = f"/api/v1/webhook-endpoints/{endpoint.pk}/replay"
    assert client_for(make_platform()).post(path, {"since": LONG_AGO}, format="json").status_code == 404


def test_a_long_range_is_sent_in_steps_and_none_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_AT_ONCE", 3)
    post = make_post(photos=())
    endpoint = make_endpoint(post.platform)
    give_up(tell(post, 7))

    sent: list[int] = []
    after: dict[str, str] = {}
    while True:
        answer = ask(endpoint, since=LONG_AGO, **after).json()
        sent.append(answer["deliveries"])
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}

    assert sent == [3, 3, 1]
    assert under_way(endpoint) == [1, 2, 3, 4, 5, 6, 7]


def test_a_disabled_endpoint_is_sent_nothing() -> None:
    endpoint = make_endpoint(status="disabled")
    for body in ({"since": LONG_AGO}, {"event_id": "evt_x"}):
        answer = ask(endpoint, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "endpoint_disabled")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, ("", "event_or_since")),
        ({"event_id": "evt_x", "since": LONG_AGO}, ("", "event_or_since")),
        ({"event_id": "evt_x", "only": "all"}, ("", "event_or_since")),
        ({"until": LONG_AGO}, ("", "event_or_since")),
        ({"since": "yesterday"}, ("/since", "invalid")),
        ({"since": LONG_AGO, "only": "some"}, ("/only", "invalid_choice")),
        ({"since": LONG_AGO, "after": "!"}, ("/after", "invalid_cursor")),
        ({"since": LONG_AGO, "from": LONG_AGO}, ("/from", "unknown_field")),
        ({"event_id": "\0"}, ("/event_id", "null_characters_not_allowed")),
    ],
)
def test_what_cannot_be_meant_is_refused(body: dict[str, str], problem: tuple[str, str]) -> None:
    assert pointers(ask(make_endpoint(), **body)) == [problem]


@pytest.mark.django_db(transaction=True)
def test_replays_at_the_same_moment_send_each_event_once() -> None:
    post = make_post(photos=())
    tell(post, 20)
    endpoint = make_endpoint(post.platform)

    def unguarded(_: int) -> int:
        missing = Event.objects.exclude(deliveries__endpoint=endpoint)
        made = Delivery.objects.bulk_create(
            [Delivery(event=event, endpoint=endpoint) for event in missing], ignore_conflicts=True
        )
        return len(made)

    assert sum(at_once(unguarded, range(4), threads=4)) > 20, "the control: each takes all rows for its own"
    Delivery.objects.all().delete()

    counts = at_once(lambda _: ask(endpoint, since=LONG_AGO, only="missing").json()["deliveries"], range(4), threads=4)

    assert sum(counts) == 20
    assert under_way(endpoint) == list(range(1, 21))


def test_an_endpoint_or_an_event_that_is_deleted_meanwhile_ends_in_no_error() -> None:
    post = make_post(photos=())
    gone, left = tell(post, 2)
    endpoint = make_endpoint(post.platform)
    positions = [gone.pk, left.pk]
    Event.objects.filter(pk=gone.pk).delete()

    assert replay._send(endpoint, positions) == 1
    assert under_way(endpoint) == [left.sequence]

    endpoints.delete(WebhookEndpoint.objects.get(pk=endpoint.pk))
    with pytest.raises(ApiError, match="no such endpoint"):
        replay._send(endpoint, positions)
