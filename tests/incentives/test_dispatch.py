"""Whose turn it is: a slow endpoint delays no other, and a lost message or worker nothing for long."""

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from incentives import dispatch, events, webhooks
from incentives.models import Delivery, Event, WebhookEndpoint
from incentives.tasks import send_webhooks, sweep_deliveries
from tests.cast import make_author, make_post
from tests.hands import Hands
from tests.incentives.builders import make_endpoint
from tests.incentives.conftest import Sent
from tests.incentives.receiver import Receiver, Reply
from tests.incentives.sending import Workers, make_backlog, note

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded", "fresh_places")]

TERMS = webhooks.Terms(allow_private=True, timeout_seconds=15, retry_seconds=[10, 100], parallel=4, slow_places=4)
UNLIMITED = webhooks.Terms(
    allow_private=True, timeout_seconds=15, retry_seconds=[10, 100], parallel=1000, slow_places=1000
)
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
def fresh_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with a process that knows no endpoint."""
    monkeypatch.setattr(dispatch, "_places", dispatch.Places())


def soon(is_so: Callable[[], bool], patience: float = 8) -> bool:
    """Wait until something is so, but not for ever."""
    deadline = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def seconds_until_another_hears(terms: webhooks.Terms, monkeypatch: pytest.MonkeyPatch, patience: float) -> float:
    """Keep eight threads at an endpoint that takes ten seconds and has hundreds waiting; then tell another."""
    may_answer = threading.Event()
    with (
        Receiver(Reply(before=lambda: may_answer.wait(10))) as slow,
        Receiver() as quick,
        Workers(8, terms) as workers,
    ):
        monkeypatch.setattr(send_webhooks, "delay", workers.messages.put)
        make_backlog(slow.url, 200)
        other = make_backlog(quick.url, 0)
        assert soon(lambda: len(slow.received) >= min(8, terms.parallel))
        began = time.monotonic()
        note(make_post(make_author(other.platform), photos=()))
        soon(lambda: bool(quick.received), patience)
        took = time.monotonic() - began
        at_the_slow_one = len(slow.received)
        may_answer.set()
    assert at_the_slow_one == min(8, terms.parallel)
    return took


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_takes_ten_seconds_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_until_another_hears(TERMS, monkeypatch, patience=8) < 2


@pytest.mark.django_db(transaction=True)
def test_control_without_the_limit_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_until_another_hears(UNLIMITED, monkeypatch, patience=3) >= 3


@pytest.mark.django_db(transaction=True)
def test_many_endpoints_that_hang_leave_half_the_threads_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    may_answer = threading.Event()
    with (
        Receiver(Reply(before=lambda: may_answer.wait(10))) as slow,
        Receiver() as quick,
        Workers(8, TERMS) as workers,
    ):
        monkeypatch.setattr(send_webhooks, "delay", workers.messages.put)
        hanging = [make_backlog(slow.url, 0) for _ in range(12)]
        other = make_backlog(quick.url, 0)
        WebhookEndpoint.objects.exclude(pk=other.pk).update(failing_since=timezone.now(), failed_at=timezone.now())
        for endpoint in hanging:
            for _ in range(3):
                note(make_post(make_author(endpoint.platform), photos=()))
        for endpoint_id in dispatch.sweep(timezone.now()):
            workers.messages.put(endpoint_id)
        assert soon(lambda: len(slow.received) >= TERMS.slow_places)
        began = time.monotonic()
        note(make_post(make_author(other.platform), photos=()))
        assert soon(lambda: bool(quick.received))
        took = time.monotonic() - began
        held = len(slow.received)
        may_answer.set()
        assert soon(lambda: not Delivery.objects.exclude(status="delivered").exists()), "each of them has its turn"

    assert held == TERMS.slow_places
    assert took < 2


def test_places_go_round_among_the_slow_in_the_order_they_came() -> None:
    places = dispatch.Places()
    assert places.enter("a", 1, is_failing=True) is True
    assert places.enter("b", 1, is_failing=True) is None
    assert places.enter("c", 1, is_failing=True) is None
    assert places.enter("quick", 1, is_failing=False) is False, "which needs no place"
    assert places.leave("a", is_slow_place=True, has_more=True) == ["b"]
    assert places.enter("b", 1, is_failing=True) is True
    assert places.leave("b", is_slow_place=True, has_more=False) == ["c"]
    assert places.enter("c", 1, is_failing=True) is True
    assert places.leave("c", is_slow_place=True, has_more=True) == ["a"]
    assert places.enter("a", 1, is_failing=True) is True
    assert places.leave("a", is_slow_place=True, has_more=False) == ["c"]
    assert places.enter("c", 1, is_failing=True) is True
    assert places.leave("c", is_slow_place=True, has_more=True) == ["c"]


def test_an_endpoint_is_slow_until_it_answers_quickly_again() -> None:
    places = dispatch.Places()
    assert places.note("a", dispatch.SLOW_SECONDS) is True
    assert places.enter("a", 1, is_failing=False) is True
    assert places.note("a", 0.1) is False
    assert places.leave("a", is_slow_place=True, has_more=True) == ["a"]
    assert places.enter("a", 1, is_failing=False) is False


@pytest.mark.django_db(transaction=True)
def test_a_backlog_goes_out_oldest_first_in_one_turn() -> None:
    with Receiver() as receiver:
        endpoint = make_backlog(receiver.url, 30)
        assert dispatch.take_turn(endpoint.pk, TERMS) == []

    told = [request.headers["webhook-id"] for request in receiver.received]
    assert told == list(Event.objects.order_by("position").values_list("id", flat=True))
    assert set(Delivery.objects.values_list("status", flat=True)) == {"delivered"}


def test_a_turn_ends_and_the_endpoint_goes_to_the_end_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "TURN_SECONDS", 0.2)
    with Receiver(Reply(before=lambda: time.sleep(0.09))) as receiver:
        endpoint = make_backlog(receiver.url, 10)
        assert dispatch.take_turn(endpoint.pk, TERMS) == [endpoint.pk]
        assert 1 <= len(receiver.received) <= 4


def test_a_failing_endpoint_is_tried_by_one_worker_at_a_time() -> None:
    endpoint = make_backlog(NOBODY, 3)
    now = timezone.now()
    assert webhooks._claim(endpoint.pk, TERMS, now) and webhooks._claim(endpoint.pk, TERMS, now)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=now, failed_at=now)

    assert webhooks._claim(endpoint.pk, TERMS, now) is None


@pytest.mark.django_db(transaction=True)
def test_no_more_are_sent_to_one_endpoint_at_once_than_agreed_however_many_workers_there_are() -> None:
    may_answer = threading.Event()
    with Receiver(Reply(before=lambda: may_answer.wait(10))) as receiver:
        endpoint = make_backlog(receiver.url, 24)
        with Workers(10, TERMS) as workers:
            for _ in range(24):
                workers.messages.put(endpoint.pk)
            assert soon(lambda: len(receiver.received) >= TERMS.parallel and workers.messages.empty())
            time.sleep(0.3)
            at_once = len(receiver.received)
            may_answer.set()
            assert soon(lambda: not Delivery.objects.exclude(status="delivered").exists())

    assert at_once == TERMS.parallel
    assert len({request.headers["webhook-id"] for request in receiver.received}) == len(receiver.received) == 24


def test_a_lost_worker_holds_up_its_own_delivery_and_the_others_only_for_as_long_as_an_attempt_takes() -> None:
    terms = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10], parallel=1)
    endpoint = make_backlog(NOBODY, 2)
    now = timezone.now()
    lost = webhooks._claim(endpoint.pk, terms, now)
    assert lost is not None
    assert webhooks._claim(endpoint.pk, terms, now + timedelta(seconds=9)) is None

    other = webhooks._claim(endpoint.pk, terms, now + timedelta(seconds=11))
    assert other is not None and other.delivery != lost.delivery

    again = webhooks._claim(endpoint.pk, terms, now + timedelta(seconds=41))
    assert again is not None and (again.delivery, again.attempt.number) == (lost.delivery, 2)


def test_the_sweep_sends_one_worker_per_endpoint_and_another_only_when_that_is_lost(sent: Sent, hands: Hands) -> None:
    busy, idle = make_backlog(NOBODY, 50), make_endpoint()
    disabled = make_endpoint(status="disabled")
    note(make_post(make_author(disabled.platform), photos=()))
    paused = make_backlog(NOBODY, 1)
    WebhookEndpoint.objects.filter(pk=paused.pk).update(paused_until=hands.now() + timedelta(minutes=1))
    sent.clear()

    sweep_deliveries()
    sweep_deliveries()
    assert sent.of("send_webhooks") == [busy.pk], f"neither {idle.pk} nor {disabled.pk} nor {paused.pk}"

    hands.move(seconds=31)
    sweep_deliveries()
    assert sent.of("send_webhooks") == [busy.pk] * 2
    hands.move(seconds=30)
    sweep_deliveries()
    assert sorted(sent.of("send_webhooks")[2:]) == sorted([busy.pk, paused.pk])


def test_a_clock_that_is_put_back_stops_no_endpoint(sent: Sent, hands: Hands) -> None:
    endpoint = make_backlog(NOBODY, 1)
    WebhookEndpoint.objects.update(woken_at=hands.now() + timedelta(hours=70))
    sweep_deliveries()
    assert sent.of("send_webhooks") == [endpoint.pk]


def test_a_worker_that_came_can_be_sent_again_at_once(sent: Sent, hands: Hands) -> None:
    with Receiver(Reply(500)) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        sweep_deliveries()
        dispatch.take_turn(endpoint.pk, TERMS)
        sent.clear()
        hands.move(seconds=13)
        sweep_deliveries()

    assert sent.of("send_webhooks") == [endpoint.pk]


@pytest.mark.django_db(transaction=True)
def test_one_transaction_sends_one_message_per_endpoint_however_many_events_it_records(sent: Sent) -> None:
    post = make_post(photos=())
    endpoint, other = make_endpoint(post.platform), make_endpoint(post.platform)
    with transaction.atomic():
        for _ in range(3):
            events.record(Event.Type.POST_FAILED, post, {})
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            events.record(Event.Type.POST_FAILED, post, {})
            raise ZeroDivisionError

    assert sent.of("send_webhooks") == [endpoint.pk, other.pk]
    assert Delivery.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_what_a_savepoint_undid_does_not_keep_the_message_from_being_sent(sent: Sent) -> None:
    post = make_post(photos=())
    endpoint = make_endpoint(post.platform)
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            events.record(Event.Type.POST_FAILED, post, {})
            raise ZeroDivisionError
        events.record(Event.Type.POST_FAILED, post, {})

    assert sent.of("send_webhooks") == [endpoint.pk]


@pytest.mark.django_db(transaction=True)
def test_events_for_a_failing_endpoint_send_no_message(sent: Sent) -> None:
    post = make_post(photos=())
    endpoint = make_endpoint(post.platform)
    WebhookEndpoint.objects.update(failing_since=timezone.now(), failed_at=timezone.now())
    for _ in range(20):
        note(post)

    assert sent == []
    assert dispatch.sweep(timezone.now()) == [endpoint.pk], "the sweep sends one for all"


@pytest.mark.django_db(transaction=True)
def test_many_are_released_in_batches_with_a_handful_of_messages(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "BATCH", 20)
    endpoint = make_backlog(NOBODY, 50)
    disabled = make_endpoint(endpoint.platform)
    note(make_post(make_author(endpoint.platform), photos=()))
    Delivery.objects.update(status="failed", tries=3)
    WebhookEndpoint.objects.filter(pk=disabled.pk).update(
        status="disabled", disabled_at=timezone.now(), disabled_reason="owner"
    )
    sent.clear()

    now = timezone.now()
    assert webhooks.release(Delivery.objects.all(), now) == 51

    assert sent.of("send_webhooks") == [endpoint.pk] * 3
    released = Delivery.objects.filter(endpoint=endpoint)
    assert set(released.values_list("status", "tries", "due_at")) == {("pending", 0, now)}
    assert disabled.deliveries.get().status == "failed"
    assert webhooks.release(Delivery.objects.all(), now) == 0, "they are on their way"


def test_no_wait_is_left_to_the_broker() -> None:
    root = Path(__file__).resolve().parents[2]
    found = [
        f"{path.name}: {line.strip()}"
        for app in ("mask_social", "moderation", "incentives")
        for path in (root / app).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\b(eta|countdown)\s*=|\.retry\(|autoretry_for", line)
    ]
    assert found == []
