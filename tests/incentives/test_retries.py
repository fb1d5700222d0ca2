"""Three days of tries, pauses, and what becomes of an endpoint that does not answer; the clock is moved by hand."""

import itertools
import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from incentives import dispatch, endpoints, http, notices, retention, webhooks
from incentives.models import Delivery, Event, WebhookEndpoint
from incentives.tasks import delivery_terms
from mask_social import correlation
from moderation.models import Platform
from tests.cast import make_author, make_post
from tests.hands import Hands
from tests.incentives.builders import client_for, make_endpoint
from tests.incentives.receiver import Receiver, Reply
from tests.incentives.sending import make_backlog, note, pass_time, sweep_and_send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded", "fresh_places")]

SCHEDULE = [5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
TERMS = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=SCHEDULE)


@pytest.fixture
def fresh_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with a process that knows no endpoint."""
    monkeypatch.setattr(dispatch, "_places", dispatch.Places())


def attempts_at(delivery: Delivery) -> list[datetime]:
    return list(delivery.attempts.order_by("number").values_list("started_at", flat=True))


def waits(times: Sequence[datetime]) -> list[float]:
    return [(after - before).total_seconds() for before, after in itertools.pairwise(times)]


def test_the_waits_add_up_to_more_than_75_hours_and_jitter_only_lengthens_them() -> None:
    terms = delivery_terms()
    assert list(terms.retry_seconds) == SCHEDULE
    assert timedelta(hours=75) <= timedelta(seconds=sum(SCHEDULE)) < timedelta(hours=76)
    assert max(SCHEDULE) * (1 + webhooks.JITTER) < webhooks.LONGEST_SILENCE.total_seconds()
    assert timedelta(seconds=sum(SCHEDULE) * (1 + webhooks.JITTER)) < terms.failing_limit < settings.EVENT_RETENTION


def test_a_delivery_is_tried_eleven_times_in_75_hours_each_at_its_time_and_then_given_up(hands: Hands) -> None:
    with Receiver(Reply(500)) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(days=4.5), TERMS)

    delivery = endpoint.deliveries.get()
    times = attempts_at(delivery)
    assert (delivery.status, delivery.tries, len(times)) == ("failed", 11, 11)
    for wait, planned in zip(waits(times), SCHEDULE, strict=True):
        assert planned <= wait <= planned * 1.2 + 5, "jitter, and how long the attempt took"
    assert times[-1] - times[0] > timedelta(hours=75)
    assert len({request.body for request in receiver.received}) == 1
    assert {request.headers["webhook-id"] for request in receiver.received} == {delivery.event.id}


def test_two_that_failed_together_do_not_come_back_together(hands: Hands) -> None:
    with Receiver(Reply(500)) as receiver:
        endpoint = make_backlog(receiver.url, 8)
        pass_time(hands, hands.now() + timedelta(hours=12), TERMS)

    eighth = sorted(attempts_at(delivery)[6] for delivery in endpoint.deliveries.all())
    assert eighth[-1] - eighth[0] > timedelta(minutes=10)


def test_a_delivery_that_arrives_after_two_days_is_done(hands: Hands) -> None:
    with Receiver(*[Reply(503)] * 9, Reply(200)) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(days=4), TERMS)

    delivery = endpoint.deliveries.get()
    assert (delivery.status, delivery.tries, delivery.attempts.count()) == ("delivered", 10, 10)
    endpoint.refresh_from_db()
    assert (endpoint.failing_since, endpoint.failed_at) == (None, None)


def test_sending_again_begins_a_new_round_while_the_attempts_go_on_counting(hands: Hands) -> None:
    terms = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10, 100])
    with Receiver(Reply(500)) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(hours=1), terms)
        delivery = endpoint.deliveries.get()
        assert (delivery.status, delivery.tries) == ("failed", 3)

        assert webhooks.redeliver(delivery, hands.now())
        pass_time(hands, hands.now() + timedelta(hours=1), terms)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.tries) == ("failed", 3)
    assert list(delivery.attempts.order_by("number").values_list("number", flat=True)) == [1, 2, 3, 4, 5, 6]
    assert [10 <= wait < 200 for wait in waits(attempts_at(delivery))] == [True, True, False, True, True]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_respected(hands: Hands, status: int, form: str) -> None:
    asked = "3600" if form == "seconds" else format_datetime(hands.now() + timedelta(seconds=3601), usegmt=True)
    with Receiver(Reply(status, {"Retry-After": asked}), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(hours=2), TERMS)

    first, second = attempts_at(endpoint.deliveries.get())
    assert timedelta(minutes=59) < second - first < timedelta(minutes=61)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_respected_for_a_day_at_most(hands: Hands, status: int) -> None:
    with Receiver(Reply(status, {"Retry-After": "9999999"}), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(days=2), TERMS)

    first, second = attempts_at(endpoint.deliveries.get())
    assert timedelta(days=1) <= second - first < timedelta(days=1, minutes=1)


def test_429_pauses_that_endpoint_alone_with_all_that_waits_for_it_and_costs_no_try(hands: Hands) -> None:
    with Receiver(Reply(429, {"Retry-After": "600"}), Reply()) as receiver, Receiver() as other:
        paused = make_backlog(receiver.url, 3)
        make_endpoint(paused.platform, other.url)
        sweep_and_send(hands.now(), TERMS)
        note(make_post(make_author(paused.platform), photos=()))
        began = hands.now()
        pass_time(hands, began + timedelta(minutes=9), TERMS)
        assert (len(receiver.received), len(other.received)) == (1, 1)
        assert set(paused.deliveries.values_list("status", "tries")) == {("pending", 0)}
        paused.refresh_from_db()
        assert paused.paused_until is not None
        assert timedelta(minutes=9) < paused.paused_until - began <= timedelta(minutes=10)

        pass_time(hands, began + timedelta(minutes=11), TERMS)

    assert set(paused.deliveries.values_list("status", flat=True)) == {"delivered"}
    told = [json.loads(request.body)["id"] for request in receiver.received]
    assert told == [told[0], *Event.objects.filter(deliveries__endpoint=paused).values_list("id", flat=True)]


def test_429_that_says_no_time_pauses_for_longer_each_time(hands: Hands) -> None:
    with Receiver(*[Reply(429)] * 12, Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 2)
        pass_time(hands, hands.now() + timedelta(hours=12), TERMS)

    first, second = endpoint.deliveries.order_by("event")
    assert (first.status, first.tries, first.attempts.count()) == ("delivered", 1, 13)
    assert (second.status, second.attempts.count()) == ("delivered", 1)
    for number, wait in enumerate(waits(attempts_at(first))):
        planned = min(5 * 2**number, 3600)
        assert planned <= wait <= planned * 1.2 + 5


def test_429_that_says_a_second_for_ever_is_not_asked_every_second(hands: Hands) -> None:
    with Receiver(*[Reply(429, {"Retry-After": "1"})] * 40, Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(hours=8), TERMS)

    waited = waits(attempts_at(endpoint.deliveries.get()))
    assert max(waited[: webhooks.BELIEVED_IN_A_ROW - 1]) < 10
    assert min(waited[webhooks.BELIEVED_IN_A_ROW :]) >= 3600


def test_enabling_a_paused_endpoint_ends_the_pause(hands: Hands) -> None:
    with Receiver(Reply(429, {"Retry-After": "3600"}), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        sweep_and_send(hands.now(), TERMS)
        webhooks.enable(endpoint)
        hands.move(seconds=1)
        sweep_and_send(hands.now(), TERMS)

    assert endpoint.deliveries.get().status == "delivered"


def test_once_an_endpoint_answers_again_all_that_waited_is_sent_at_once_oldest_first(hands: Hands) -> None:
    with Receiver(*[Reply(500)] * 18, Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 3)
        pass_time(hands, hands.now() + timedelta(hours=6), TERMS)
        assert len(receiver.received) == 18, "three by six"
        assert set(endpoint.deliveries.values_list("status", flat=True)) == {"pending"}
        note(make_post(make_author(endpoint.platform), photos=()))
        pass_time(hands, hands.now() + timedelta(seconds=1), TERMS)

    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"delivered"}
    assert len(receiver.received) == 22


def test_single_failures_between_successes_keep_their_own_times(hands: Hands) -> None:
    with Receiver(Reply(500), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 5)
        sweep_and_send(hands.now(), TERMS)

    assert sorted(endpoint.deliveries.values_list("status", flat=True)) == ["delivered"] * 4 + ["pending"]
    assert endpoint.deliveries.get(status="pending").due_at > hands.now()


def test_failing_since_is_the_first_failure_after_a_success(hands: Hands) -> None:
    with Receiver(Reply(500), Reply(500), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        sweep_and_send(hands.now(), TERMS)
        endpoint.refresh_from_db()
        since = endpoint.failing_since
        assert since is not None
        pass_time(hands, hands.now() + timedelta(seconds=10), TERMS)
        endpoint.refresh_from_db()
        assert (endpoint.failing_since, len(receiver.received)) == (since, 2)
        pass_time(hands, hands.now() + timedelta(minutes=2), TERMS)

    endpoint.refresh_from_db()
    assert endpoint.failing_since is None


def fail_for_days(hands: Hands, endpoint: WebhookEndpoint, days: int) -> None:
    """Let an event happen each day."""
    for _ in range(days):
        note(make_post(make_author(endpoint.platform), photos=()))
        pass_time(hands, hands.now() + timedelta(days=1), TERMS)


def test_after_five_days_of_failures_the_endpoint_is_disabled_and_its_platform_is_written_to(hands: Hands) -> None:
    with Receiver(Reply(500)) as receiver, Receiver() as well:
        endpoint = make_backlog(receiver.url, 1)
        other = make_endpoint(endpoint.platform, well.url)
        Platform.objects.update(contact_email="feed@instapix.example")
        fail_for_days(hands, endpoint, 4)
        endpoint.refresh_from_db()
        assert endpoint.status == "active"
        assert mail.outbox == []
        fail_for_days(hands, endpoint, 2)
        tried = len(receiver.received)
        fail_for_days(hands, endpoint, 2)
        assert len(receiver.received) == tried, "nothing more is sent"

    endpoint.refresh_from_db()
    assert (endpoint.status, endpoint.disabled_reason) == ("disabled", "failing")
    assert endpoint.disabled_at is not None and endpoint.failing_since is not None
    assert timedelta(days=5) <= endpoint.disabled_at - endpoint.failing_since < timedelta(days=6)
    other.refresh_from_db()
    assert (other.status, len(well.received)) == ("active", 8)
    assert set(endpoint.deliveries.values_list("status", flat=True)) == {"failed", "held"}

    assert [notices.notify_due(hands.now()) for _ in range(3)] == [1, 0, 0]
    [sent] = mail.outbox
    assert (sent.to, sent.from_email) == (["feed@instapix.example"], settings.DEFAULT_FROM_EMAIL)
    assert endpoint.url in str(sent.body) and endpoint.pk in str(sent.body) and '{"status": "active"}' in str(sent.body)


def test_failures_with_days_of_silence_between_them_are_no_five_days_of_failures(hands: Hands) -> None:
    terms = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[])
    with Receiver(Reply(500)) as receiver:
        endpoint = make_backlog(receiver.url, 1)
        pass_time(hands, hands.now() + timedelta(days=20), terms)
        note(make_post(make_author(endpoint.platform), photos=()))
        pass_time(hands, hands.now() + timedelta(seconds=1), terms)

    endpoint.refresh_from_db()
    assert endpoint.status == "active"
    assert endpoint.failing_since is not None and hands.now() - endpoint.failing_since < timedelta(minutes=1)


def test_410_disables_at_once_and_is_told_by_mail(hands: Hands) -> None:
    with Receiver(Reply(410)) as receiver:
        endpoint = make_backlog(receiver.url, 2)
        Platform.objects.update(contact_email="feed@instapix.example")
        pass_time(hands, hands.now() + timedelta(hours=1), TERMS)
        assert len(receiver.received) == 1

    assert set(endpoint.deliveries.values_list("status", "tries")) == {("held", 0)}
    notices.notify_due(hands.now())
    assert "410" in str(mail.outbox[0].body)


def test_an_owner_who_disables_an_endpoint_gets_no_mail(hands: Hands) -> None:
    endpoint = make_endpoint()
    Platform.objects.update(contact_email="feed@instapix.example")
    webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
    assert notices.notify_due(hands.now()) == 0


def gone(contact: str) -> WebhookEndpoint:
    endpoint = make_endpoint()
    Platform.objects.update(contact_email=contact)
    webhooks.disable(endpoint, WebhookEndpoint.Reason.GONE)
    return endpoint


def test_a_mail_server_that_is_away_is_asked_again_until_it_takes_the_mail_once(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone("feed@instapix.example")
    asked = 0

    def away(_: EmailMessage) -> int:
        nonlocal asked
        asked += 1
        raise SMTPServerDisconnected("away") if asked % 2 else ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(EmailMessage, "send", away)
        for _ in range(40):
            assert notices.notify_due(hands.move(minutes=1)) == 0
    assert asked == 4, "every ten minutes"

    assert sum(notices.notify_due(hands.move(minutes=1)) for _ in range(40)) == 1
    assert len(mail.outbox) == 1


def test_a_worker_lost_while_it_sends_a_mail_loses_none(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    gone("feed@instapix.example")

    def killed(_: EmailMessage) -> int:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(EmailMessage, "send", killed)
        notices.notify_due(hands.now())

    assert notices.notify_due(hands.now()) == 0, "another may still be sending it"
    assert notices.notify_due(hands.move(minutes=11)) == 1


def test_where_nobody_is_named_it_is_logged_once(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = gone("")
    caplog.set_level(logging.ERROR, "incentives.notices")
    assert [notices.notify_due(hands.now()) for _ in range(2)] == [0, 0]
    assert [endpoint.pk in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(("is_local", "told"), [(True, [1, 0]), (False, [0, 0])])
def test_a_deployment_that_prints_its_mails_tells_nobody_and_says_so_once(
    hands: Hands, settings: Settings, caplog: pytest.LogCaptureFixture, is_local: bool, told: list[int]
) -> None:
    endpoint = gone("feed@instapix.example")
    settings.LOCAL, settings.EMAIL_BACKEND = is_local, "django.core.mail.backends.console.EmailBackend"
    caplog.set_level(logging.ERROR, "incentives.notices")
    assert [notices.notify_due(hands.now()) for _ in range(2)] == told
    said = [record.getMessage() for record in caplog.records]
    assert [endpoint.pk in line and "MASK_SOCIAL_EMAIL_URL" in line for line in said] == ([] if is_local else [True])


@pytest.mark.parametrize("reason", list(WebhookEndpoint.Reason))
def test_what_happens_while_an_endpoint_is_disabled_is_kept_and_sent_oldest_first(hands: Hands, reason: Any) -> None:
    with Receiver() as receiver:
        endpoint = make_backlog(receiver.url, 3)
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=hands.now(), failed_at=hands.now())
        webhooks.disable(endpoint, reason)
        hands.move(days=1)
        post = make_post(make_author(endpoint.platform), photos=())
        for _ in range(3):
            note(post)
        sweep_and_send(hands.now(), TERMS)
        assert receiver.received == []
        assert set(endpoint.deliveries.values_list("status", flat=True)) == {"held"}
        held = endpoint.deliveries.order_by("event")[0]
        assert webhooks.redeliver(held, hands.now()) is False

        hands.move(days=10)
        webhooks.enable(endpoint)
        note(post)
        sweep_and_send(hands.now(), TERMS)

    told = [json.loads(request.body) for request in receiver.received]
    assert [event["id"] for event in told] == list(Event.objects.order_by("position").values_list("id", flat=True))
    assert [event["sequence"] for event in told] == [1, 2, 3, 1, 2, 3, 4]


def test_enabling_costs_the_same_however_much_is_held(hands: Hands, django_assert_max_num_queries: Any) -> None:
    endpoint = make_backlog("http://127.0.0.1:9/", 30)
    webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
    with django_assert_max_num_queries(4):
        webhooks.enable(endpoint)
    assert dispatch.sweep(hands.now()) == [endpoint.pk]


def test_what_was_recorded_while_its_endpoint_was_being_switched_is_neither_stranded_nor_sent_too_soon(
    hands: Hands,
) -> None:
    with Receiver() as receiver:
        enabled = make_backlog(receiver.url, 2)
        enabled.deliveries.update(status="held")  # as a transaction wrote them that saw it disabled
        sweep_and_send(hands.now(), TERMS)
        assert set(enabled.deliveries.values_list("status", flat=True)) == {"delivered"}

        disabled = make_backlog(receiver.url, 1)
        webhooks.disable(disabled, WebhookEndpoint.Reason.OWNER)
        disabled.deliveries.update(status="pending")  # as one wrote it that saw it active
        sweep_and_send(hands.now(), TERMS)
        assert dispatch.take_turn(disabled.pk, TERMS) == []
        assert len(receiver.received) == 2
        webhooks.enable(disabled)
        sweep_and_send(hands.now(), TERMS)

    assert len(receiver.received) == 3


def test_a_deleted_endpoint_loses_what_was_held() -> None:
    endpoint = make_backlog("http://127.0.0.1:9/", 2)
    client = client_for(endpoint.platform)
    client.patch(f"/api/v1/webhook-endpoints/{endpoint.pk}", {"status": "disabled"}, format="json")
    assert client.delete(f"/api/v1/webhook-endpoints/{endpoint.pk}").status_code == 204

    assert (Delivery.objects.count(), Event.objects.count()) == (0, 2)


def test_deleting_an_endpoint_holds_up_nobody_however_much_was_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    endpoint = make_backlog("http://127.0.0.1:9/", 25)
    with CaptureQueriesContext(connection) as queries:
        endpoints.delete(endpoint)

    told = [query["sql"] for query in queries.captured_queries]
    held = next(at for at, sql in enumerate(told) if sql.endswith("FOR UPDATE") and "webhookendpoint" in sql)
    rows_gone = [at for at, sql in enumerate(told) if sql.startswith("DELETE") and '"incentives_delivery"' in sql]
    assert len([at for at in rows_gone if at < held]) >= 3
    assert not [at for at in rows_gone if at > held], "nothing is left for when it is held"
    assert (Delivery.objects.count(), WebhookEndpoint.objects.count()) == (0, 0)


def test_an_attempt_that_fails_after_its_endpoint_was_disabled_is_held_too(hands: Hands) -> None:
    endpoint = make_backlog("http://127.0.0.1:9/", 1)
    claim = webhooks._claim(endpoint.pk, TERMS, hands.now())
    assert claim is not None
    webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
    webhooks._finish(claim, webhooks.Outcome(error="no answer"), TERMS, hands.now())

    assert endpoint.deliveries.get().status == "held"


def test_an_event_keeps_its_id_number_and_bytes_whether_retried_held_or_sent_again(hands: Hands) -> None:
    with Receiver(Reply(500), Reply(500), Reply()) as receiver:
        endpoint = make_backlog(receiver.url, 0)
        post = make_post(make_author(endpoint.platform), photos=())
        for _ in range(2):
            note(post)
        sweep_and_send(hands.now(), TERMS)  # both fail
        webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
        note(post)
        webhooks.enable(endpoint)
        hands.move(seconds=1)
        sweep_and_send(hands.now(), TERMS)  # all arrive
        hands.move(seconds=1)
        webhooks.release(endpoint.deliveries.all(), hands.now())
        hands.move(seconds=1)
        sweep_and_send(hands.now(), TERMS)  # and again

    told = [json.loads(request.body) for request in receiver.received]
    assert [event["sequence"] for event in told] == [1, 2, 1, 2, 3, 1, 2, 3]
    assert len({request.body for request in receiver.received}) == 3
    for request, event in zip(receiver.received, told, strict=True):
        assert request.headers["webhook-id"] == event["id"]


def test_an_attempt_follows_the_request_that_its_event_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[str] = []
    real = http.post

    def watch(*args: Any, **kwargs: Any) -> Any:
        followed.append(correlation.current())
        return real(*args, **kwargs)

    monkeypatch.setattr(http, "post", watch)
    with Receiver() as receiver, correlation.bound("req_ada"):
        endpoint = make_backlog(receiver.url, 1)
        with correlation.bound("req_of_the_sweep"):
            dispatch.take_turn(endpoint.pk, TERMS)
            assert correlation.current() == "req_of_the_sweep"

    assert followed == ["req_ada"]
