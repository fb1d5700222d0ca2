"""Events go after a while, with their deliveries; whoever reads them by cursor is told when some are gone."""

import re
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives import dispatch, endpoints, events, retention, rewards, webhooks
from incentives.models import Attempt, Delivery, Event, EventHorizon, WebhookEndpoint
from incentives.tasks import forget_events
from tests.cast import make_author, make_platform, make_post
from tests.hands import Hands
from tests.incentives.builders import client_for, make_endpoint
from tests.incentives.receiver import Receiver
from tests.incentives.sending import make_backlog, note

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

TERMS = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10, 100])
TURN = timedelta(seconds=20)


def test_events_go_after_thirty_days_with_their_deliveries_and_attempts(hands: Hands) -> None:
    with Receiver() as receiver:
        endpoint = make_backlog(receiver.url, 3)
        dispatch.take_turn(endpoint.pk, TERMS)
    hands.move(days=29)
    post = make_post(make_author(endpoint.platform), photos=())
    young = note(post)
    forget_events()
    assert (Event.objects.count(), Delivery.objects.count(), Attempt.objects.count()) == (4, 4, 3)

    hands.move(days=1, seconds=1)
    forget_events()

    assert list(Event.objects.all()) == [young]
    assert [delivery.event for delivery in Delivery.objects.all()] == [young]
    assert not Attempt.objects.exists()


def test_the_numbers_of_a_subject_go_on_where_they_were(hands: Hands) -> None:
    post = make_post(photos=())
    assert [note(post).sequence for _ in range(3)] == [1, 2, 3]
    hands.move(days=31)
    forget_events()
    assert not Event.objects.exists()
    post.refresh_from_db()

    assert note(post).sequence == 4


def test_what_was_never_sent_is_given_up_with_its_event_and_counted(hands: Hands) -> None:
    pending = make_backlog("http://127.0.0.1:9/", 2)
    held = make_endpoint(pending.platform, status="disabled")
    note(make_post(make_author(held.platform), photos=()))
    hands.move(days=31)

    assert retention.forget(hands.now() - timedelta(days=30), hands.now(), for_at_most=TURN) == retention.Forgotten(
        3, 4
    )

    assert not Delivery.objects.exists()
    assert WebhookEndpoint.objects.count() == 2


def test_what_is_being_sent_at_this_moment_is_left_for_the_next_time(hands: Hands) -> None:
    endpoint = make_backlog("http://127.0.0.1:9/", 1)
    hands.move(days=31)
    claim = webhooks._claim(endpoint.pk, TERMS, hands.now())
    assert claim is not None
    forget_events()
    assert Attempt.objects.count() == 1

    webhooks._finish(claim, webhooks.Outcome(status_code=204), TERMS, hands.now())
    forget_events()
    assert not Event.objects.exists()


def test_it_goes_on_in_small_transactions_until_all_are_gone(monkeypatch: pytest.MonkeyPatch, hands: Hands) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    make_backlog("http://127.0.0.1:9/", 10)
    hands.move(days=31)
    with CaptureQueriesContext(connection) as queries:
        forget_events()

    assert not Event.objects.exists()
    deleted = [query["sql"] for query in queries if query["sql"].startswith('DELETE FROM "incentives_event"')]
    assert len(deleted) == 3, "10 by 4"


def test_an_event_that_is_kept_is_still_never_edited(hands: Hands) -> None:
    event = note(make_post(photos=()))
    forget_events()
    assert Event.objects.get() == event


@pytest.mark.django_db(transaction=True)
def test_a_reader_whose_cursor_is_older_than_what_is_kept_is_told_so(hands: Hands) -> None:
    post = make_post(photos=())
    client = client_for(post.platform)
    note(post)
    note(post)
    first = client.get("/api/v1/events", {"limit": "1"}).json()["next"]
    second = client.get("/api/v1/events", {"limit": "1", "after": first}).json()["next"]
    hands.move(days=31)
    third = note(post)
    forget_events()

    late = client.get("/api/v1/events", {"after": first})
    assert (late.status_code, late.json()["code"]) == (410, "cursor_expired")
    assert late.json()["errors"][0]["pointer"] == "/after"
    assert "without `after`" in late.json()["detail"]

    for query in ({"after": second}, {}):  # who had read all that is gone has missed nothing; who begins, begins there
        answer = client.get("/api/v1/events", query)
        assert [event["id"] for event in answer.json()["data"]] == [third.id]


@pytest.mark.django_db(transaction=True)
def test_another_platforms_reader_has_missed_nothing(hands: Hands) -> None:
    mine, other = make_post(photos=()), make_post(make_author(make_platform()), photos=())
    note(mine)
    [read] = events.after(mine.platform, None, 10)
    note(other)
    hands.move(days=31)
    note(mine)
    forget_events()

    assert set(EventHorizon.objects.values_list("platform_id", flat=True)) == {mine.platform_id, other.platform_id}
    assert len(events.after(mine.platform, (read.transaction_id, read.position), 10)) == 1


def test_a_post_whose_events_are_gone_is_still_shown(hands: Hands) -> None:
    post = make_post(outcome="masked")
    rewards.apply_verdict(post.verdicts.get().pk)
    hands.move(days=31)
    forget_events()

    shown = client_for(post.platform).get(f"/api/v1/posts/{post.pk}").json()
    assert shown["rewards"]["event_ids"] == []
    assert shown["rewards"]["badges"]


@pytest.mark.django_db(transaction=True)
def test_claim_sweep_page_and_deletion_read_200_000_deliveries_by_their_indexes() -> None:
    endpoint = make_backlog("http://127.0.0.1:9/", 0, make_platform())
    fill(endpoint, 200_000)
    now = timezone.now()
    half = now - timedelta(minutes=100_000)
    with CaptureQueriesContext(connection) as queries:
        began = time.monotonic()
        assert webhooks._claim(endpoint.pk, TERMS, now) is not None
        assert dispatch.sweep(now) == [endpoint.pk]
        assert len(endpoints.recent_deliveries(endpoint)) == endpoints.SHOWN_DELIVERIES
        assert retention._forget_some(half, now).events == retention.BATCH - 1, "all but the one that was claimed"
        took = time.monotonic() - began

    assert took < 2
    read = [
        query["sql"]
        for query in queries
        if "incentives_" in query["sql"] and query["sql"].startswith(("SELECT", "DELETE"))
    ]
    assert len(read) > 8
    for statement in read:
        plan = plan_of(statement)
        assert not re.search("Seq Scan on incentives_(delivery|event|attempt)", plan), plan
        assert max(map(float, re.findall(r"actual time=\S+ rows=([\d.]+)", plan)), default=0) <= retention.BATCH, plan


def fill(endpoint: WebhookEndpoint, count: int) -> None:
    """Write so many events, deliveries and attempts of an endpoint, a minute apart, the last of them due now."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # foreign keys are not what is measured
        cursor.execute(
            "INSERT INTO incentives_event (id, platform_id, type, subject_type, subject_id, sequence, causation_id,"
            " request_id, data, created_at)"
            " SELECT 'evt_' || lpad(n::text, 26, '0'), %s, 'post.failed', 'post', 'post_x', n, '', '', '{}',"
            " now() - (%s - n) * interval '1 minute' FROM generate_series(1, %s) n",
            [endpoint.platform_id, count, count],
        )
        cursor.execute(
            "INSERT INTO incentives_delivery (id, event_id, endpoint_id, status, due_at, tries, created_at)"
            " SELECT 'dlv_' || lpad(position::text, 26, '0'), position, %s, 'pending', created_at, 0, created_at"
            " FROM incentives_event ORDER BY position",
            [endpoint.pk],
        )
        cursor.execute(
            "INSERT INTO incentives_attempt (delivery_id, number, started_at, error, response)"
            " SELECT id, 1, created_at, '', '' FROM incentives_delivery"
        )
        cursor.execute("ANALYZE incentives_delivery, incentives_event, incentives_attempt")


def plan_of(statement: str) -> str:
    """Return what PostgreSQL does for a statement, and undo it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        transaction.set_rollback(True)
    return plan
