"""Webhooks: signed, tried until they arrive, and never sent where they must not go."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from incentives import dispatch, events, http, signing, webhooks
from incentives.models import Attempt, Delivery, Event, SigningKey, WebhookEndpoint
from moderation.models import Post
from tests.cast import make_post
from tests.incentives.builders import at_once, make_endpoint, secret_of
from tests.incentives.receiver import Receiver, Reply

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

TERMS = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10, 100])
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_delivery(url: str, **endpoint: Any) -> Delivery:
    post = make_post(photos=())
    make_endpoint(post.platform, url, **endpoint)
    with transaction.atomic():
        event = events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk, "note": "Ünïcode ✓"})
    return event.deliveries.get()


def make_due(delivery: Delivery) -> None:
    """Let the time pass until the next attempt."""
    Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now())


def outcomes(delivery: Delivery) -> list[tuple[int | None, str]]:
    return list(delivery.attempts.order_by("number").values_list("status_code", "error"))


def test_what_arrives_is_the_event_signed_so_that_an_independent_library_believes_it() -> None:
    with Receiver() as receiver:
        delivery = make_delivery(receiver.url)
        assert webhooks.deliver(delivery.pk, TERMS)

    [request] = receiver.received
    event = delivery.event
    believed = Webhook(secret_of(delivery.endpoint)).verify(request.body, dict(request.headers))
    assert believed == {
        "id": event.id,
        "type": "post.failed",
        "timestamp": event.created_at.isoformat().replace("+00:00", "Z"),
        "subject": {"type": "post", "id": event.subject_id},
        "sequence": 1,
        "causation_id": event.id,
        "data": {"post_id": event.subject_id, "note": "Ünïcode ✓"},
    }
    assert request.headers["webhook-id"] == event.id
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == receiver.url.split("/")[2]
    delivery.refresh_from_db()
    assert (delivery.status, delivery.delivered_at is not None) == ("delivered", True)
    attempt = delivery.attempts.get()
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 204, "")
    assert attempt.duration_ms is not None and attempt.duration_ms > 0


def test_another_secret_or_another_body_is_not_believed() -> None:
    endpoint = make_endpoint()
    now = timezone.now()
    event = Event(id="evt_1", created_at=now, data={}, sequence=1)
    headers = dict(webhooks.signed_headers(endpoint, event, b"{}", now))

    Webhook(secret_of(endpoint)).verify(b"{}", headers)
    for secret, body in ((secret_of(make_endpoint()), b"{}"), (secret_of(endpoint), b"{ }")):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_signatures_agree_with_the_independent_library_on_any_bytes() -> None:
    endpoint = make_endpoint()
    secret, keys = secret_of(endpoint), signing.valid_keys(endpoint, NOW)
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    for body in ("", "{}", '{"a":"ü"}', "x" * 10_000):
        ours, _ = signing.signature(keys, "evt_1", int(NOW.timestamp()), body.encode()).split(" ")
        assert ours == Webhook(secret).sign("evt_1", NOW, body)


def test_every_attempt_sends_the_same_bytes_under_the_same_id() -> None:
    with Receiver(Reply(500), Reply()) as receiver:
        delivery = make_delivery(receiver.url)
        webhooks.deliver(delivery.pk, TERMS)
        make_due(delivery)
        webhooks.deliver(delivery.pk, TERMS)

    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert json.loads(first.body)["sequence"] == 1


def test_an_error_is_tried_again_later_and_then_it_arrives() -> None:
    with Receiver(Reply(500, body=b"oh\0 no"), Reply(200)) as receiver:
        delivery = make_delivery(receiver.url)
        assert webhooks.deliver(delivery.pk, TERMS) is False
        delivery.refresh_from_db()
        wait = delivery.due_at - timezone.now()
        assert (delivery.status, delivery.tries) == ("pending", 1)
        assert timedelta(seconds=8) < wait < timedelta(seconds=12.1)

        assert webhooks.deliver(delivery.pk, TERMS) is False, "it is not due"
        assert len(receiver.received) == 1
        make_due(delivery)
        assert webhooks.deliver(delivery.pk, TERMS)

    assert outcomes(delivery) == [(500, "answered 500"), (200, "")]
    assert delivery.attempts.get(number=1).response == "oh\N{REPLACEMENT CHARACTER} no"


def test_after_the_last_attempt_it_has_failed() -> None:
    with Receiver(Reply(503)) as receiver:
        delivery = make_delivery(receiver.url)
        for _ in range(5):
            make_due(delivery)
            webhooks.deliver(delivery.pk, TERMS)

    delivery.refresh_from_db()
    assert delivery.status == "failed"
    assert outcomes(delivery) == [(503, "answered 503")] * 3
    assert len(receiver.received) == 3


def test_an_endpoint_that_answers_410_is_disabled_and_gets_nothing_more() -> None:
    with Receiver(Reply(410)) as receiver:
        delivery = make_delivery(receiver.url)
        other = make_endpoint(delivery.endpoint.platform)
        with transaction.atomic():
            later = events.record(Event.Type.POST_FAILED, Post.objects.get(pk=delivery.event.subject_id), {})
        webhooks.deliver(delivery.pk, TERMS)

    delivery.refresh_from_db()
    assert delivery.status == "held"
    disabled = WebhookEndpoint.objects.get(pk=delivery.endpoint_id)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "gone")
    assert WebhookEndpoint.objects.get(pk=other.pk).status == "active"
    assert later.deliveries.get(endpoint=delivery.endpoint).status == "held"
    assert later.deliveries.get(endpoint=other).status == "pending"


def test_an_endpoint_that_hangs_is_left_and_tried_again() -> None:
    with Receiver(Reply(before=lambda: time.sleep(2))) as receiver:
        delivery = make_delivery(receiver.url)
        began = time.monotonic()
        webhooks.deliver(delivery.pk, webhooks.Terms(allow_private=True, timeout_seconds=0.3, retry_seconds=[10]))
        assert time.monotonic() - began < 1.5

    delivery.refresh_from_db()
    assert delivery.status == "pending"
    [(status, error)] = outcomes(delivery)
    assert status is None and error


def test_nobody_at_home_is_tried_again() -> None:
    with Receiver() as receiver:
        url = receiver.url
    delivery = make_delivery(url)
    webhooks.deliver(delivery.pk, TERMS)

    delivery.refresh_from_db()
    assert delivery.status == "pending"
    assert outcomes(delivery)[0][0] is None


def test_a_redirect_is_an_error_and_is_not_followed() -> None:
    with Receiver() as elsewhere, Receiver(Reply(307, {"Location": elsewhere.url})) as receiver:
        delivery = make_delivery(receiver.url)
        webhooks.deliver(delivery.pk, TERMS)

    assert elsewhere.received == []
    assert outcomes(delivery) == [(307, "answered 307")]


def test_a_private_address_is_never_called_and_the_delivery_fails_at_once() -> None:
    with Receiver() as receiver:
        delivery = make_delivery(receiver.url)
        webhooks.deliver(
            delivery.pk,
            webhooks.Terms(
                allow_private=False, timeout_seconds=5, retry_seconds=TERMS.retry_seconds, ports=range(1, 65536)
            ),
        )

    assert receiver.received == []
    delivery.refresh_from_db()
    assert delivery.status == "failed"
    assert outcomes(delivery)[0][0] is None


def test_of_a_long_answer_only_the_beginning_is_read_and_its_status_counts() -> None:
    with Receiver(Reply(200, body=b"x" * 10_000_000)) as receiver:
        delivery = make_delivery(receiver.url)
        webhooks.deliver(delivery.pk, TERMS)

    delivery.refresh_from_db()
    assert (delivery.status, outcomes(delivery)) == ("delivered", [(200, "")])
    assert delivery.attempts.get().response == "x" * webhooks.SHOWN_CHARACTERS


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("0", timedelta()),
        ("99999999999999", webhooks.LONGEST_RETRY_AFTER),
        (format_datetime(NOW + timedelta(hours=2), usegmt=True), timedelta(hours=2)),
        (format_datetime(NOW - timedelta(hours=2), usegmt=True), timedelta()),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("Sat, 21 Nov 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(header: str, wait: timedelta | None) -> None:
    assert webhooks.retry_after(header, NOW) == wait


def test_waits_are_lengthened_a_little_and_never_shortened() -> None:
    ten = timedelta(seconds=10)
    assert webhooks.next_wait(ten, None, 0.0) == ten
    assert webhooks.next_wait(ten, None, 1.0) == timedelta(seconds=12)
    assert webhooks.next_wait(ten, timedelta(seconds=1), 0.0) == ten
    assert webhooks.next_wait(ten, timedelta(days=30), 0.0) == webhooks.LONGEST_RETRY_AFTER


@pytest.mark.django_db(transaction=True)
def test_ten_workers_with_the_same_message_post_once_and_outside_of_any_transaction() -> None:
    with Receiver(Reply(before=lambda: time.sleep(0.3))) as receiver:
        delivery = make_delivery(receiver.url)
        results = at_once(lambda pk: webhooks.deliver(pk, TERMS), [delivery.pk] * 10, threads=10)

    assert sorted(map(bool, results)) == [False] * 9 + [True]
    assert len(receiver.received) == 1


@pytest.mark.django_db(transaction=True)
def test_nothing_is_posted_inside_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = http.post

    def watch(*args: Any, **kwargs: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return real(*args, **kwargs)

    monkeypatch.setattr(http, "post", watch)
    with Receiver() as receiver:
        assert webhooks.deliver(make_delivery(receiver.url).pk, TERMS)

    assert seen == [False]


def test_a_lost_worker_costs_an_attempt_and_its_lease_lets_another_try() -> None:
    with Receiver() as receiver:
        delivery = make_delivery(receiver.url)
        assert webhooks._claim(delivery.endpoint_id, TERMS, timezone.now()) is not None  # and then it is killed
        assert webhooks.deliver(delivery.pk, TERMS) is False
        assert dispatch.sweep(timezone.now()) == []
        later = timezone.now() + TERMS.lease
        assert dispatch.sweep(later) == [delivery.endpoint_id]
        make_due(delivery)

        assert webhooks.deliver(delivery.pk, TERMS)

    assert [attempt.duration_ms is None for attempt in delivery.attempts.order_by("number")] == [True, False]


def test_a_delivery_that_loses_every_worker_ends_as_failed() -> None:
    delivery = make_delivery("http://127.0.0.1:9/")
    for _ in range(3):
        make_due(delivery)
        assert webhooks._claim(delivery.endpoint_id, TERMS, timezone.now()) is not None
    make_due(delivery)

    assert webhooks._claim(delivery.endpoint_id, TERMS, timezone.now()) is None

    delivery.refresh_from_db()
    assert delivery.status == "failed"


def test_a_worker_that_lost_its_lease_does_not_speak_for_the_delivery() -> None:
    delivery = make_delivery("http://127.0.0.1:9/")
    Delivery.objects.filter(pk=delivery.pk).update(due_at=timezone.now() - timedelta(days=1))
    slow = webhooks._claim(delivery.endpoint_id, TERMS, timezone.now() - TERMS.lease)
    quick = webhooks._claim(delivery.endpoint_id, TERMS, timezone.now())
    assert slow and quick

    webhooks._finish(slow, webhooks.Outcome(status_code=500, error="answered 500"), TERMS, timezone.now())
    delivery.refresh_from_db()
    assert (delivery.status, delivery.due_at) == ("sending", quick.lease)

    webhooks._finish(quick, webhooks.Outcome(status_code=204), TERMS, timezone.now())
    delivery.refresh_from_db()
    assert delivery.status == "delivered"


def test_a_finished_delivery_can_be_sent_again() -> None:
    with Receiver(Reply(500), Reply(500), Reply(500), Reply(204)) as receiver:
        delivery = make_delivery(receiver.url)
        assert webhooks.redeliver(delivery, timezone.now()) is False, "it is still on its way"
        for _ in range(3):
            make_due(delivery)
            webhooks.deliver(delivery.pk, TERMS)

        assert webhooks.redeliver(delivery, timezone.now())
        assert webhooks.deliver(delivery.pk, TERMS)

    assert [number for number, _ in outcomes(delivery)] == [500, 500, 500, 204]


@pytest.mark.parametrize(
    ("constraint", "act"),
    [
        ("signing_key_can_sign", lambda delivery: SigningKey.objects.filter(scheme="v1").update(secret="whsec_short")),
        ("delivery_time_when_delivered", lambda delivery: Delivery.objects.update(status="delivered")),
        (
            "delivery_once_per_endpoint",
            lambda delivery: Delivery.objects.create(event=delivery.event, endpoint=delivery.endpoint),
        ),
        (
            "attempt_once_per_number",
            lambda delivery: [
                Attempt.objects.create(delivery=delivery, number=1, started_at=timezone.now()) for _ in range(2)
            ],
        ),
    ],
)
def test_the_database_refuses_what_must_not_be_sent(constraint: str, act: Any) -> None:
    delivery = make_delivery("http://127.0.0.1:9/")
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        act(delivery)
