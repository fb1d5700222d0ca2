"""The outbox: written with the change, numbered per subject, read by a cursor that misses nothing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from incentives import endpoints, events, rewards
from incentives.growth import plans
from incentives.models import Delivery, Event, WebhookEndpoint
from moderation import signals
from moderation.models import Author, Post
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.incentives.builders import at_once, client_for, make_endpoint
from tests.incentives.conftest import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]


def note(post: Post) -> Event:
    with transaction.atomic():
        return events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk})


@pytest.mark.django_db(transaction=True)
def test_an_event_needs_the_transaction_of_its_change() -> None:
    post = make_post()
    with pytest.raises(RuntimeError, match="in the transaction"):
        events.record(Event.Type.POST_FAILED, post, {})


@pytest.mark.django_db(transaction=True)
def test_without_the_change_there_is_no_event_and_nothing_is_sent(sent: Sent) -> None:
    post = make_post()
    make_endpoint(post.platform)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        events.record(Event.Type.POST_FAILED, post, {})
        raise ZeroDivisionError

    assert not Event.objects.exists() and not Delivery.objects.exists()
    assert sent == []


@pytest.mark.django_db(transaction=True)
def test_each_subject_counts_its_events_without_a_gap_even_when_they_come_at_once() -> None:
    author = make_author()
    posts = [make_post(author, photos=()) for _ in range(3)]

    at_once(note, posts * 20)

    for post in posts:
        numbers = Event.objects.filter(subject_id=post.pk).values_list("sequence", flat=True)
        assert sorted(numbers) == list(range(1, 21))


@pytest.mark.django_db(transaction=True)
def test_endpoints_that_asked_for_the_type_get_a_delivery_once_it_is_committed(sent: Sent) -> None:
    post = make_post()
    every = make_endpoint(post.platform)
    matching = make_endpoint(post.platform, event_types=["post.failed", "badge.awarded"])
    make_endpoint(post.platform, event_types=["badge.awarded"])
    disabled = make_endpoint(post.platform, status="disabled")
    make_endpoint(make_platform())

    with transaction.atomic():
        events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk})
        assert sent == [], "not before the commit"

    assert {delivery.endpoint: delivery.status for delivery in Delivery.objects.all()} == {
        every: "pending",
        matching: "pending",
        disabled: "held",
    }
    assert sorted(sent.of("send_webhooks")) == sorted([every.pk, matching.pk])


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_change_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from incentives.tasks import send_webhooks

    def refuse(endpoint_id: str) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(send_webhooks, "delay", refuse)
    post = make_post()
    make_endpoint(post.platform)

    note(post)

    assert Delivery.objects.get().status == "pending"


def test_a_failed_or_withdrawn_post_is_told_of(sent: Sent) -> None:
    post = make_post()
    signals.post_failed.send(sender=Post, post_id=post.pk)
    signals.post_withdrawn.send(sender=Post, post_id=post.pk)

    told = {"post_id": post.pk, "author_id": post.author.external_id}
    assert list(Event.objects.order_by("position").values_list("type", "sequence", "data")) == [
        ("post.failed", 1, told),
        ("post.withdrawn", 2, told),
    ]


@pytest.mark.parametrize(
    ("constraint", "fields"), [("event_sequence_from_1", {"sequence": 0}), ("event_once_per_sequence", {"sequence": 1})]
)
def test_the_database_refuses_a_number_out_of_line(constraint: str, fields: dict[str, int]) -> None:
    event = note(make_post())
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Event.objects.create(
            platform=event.platform,
            type=event.type,
            subject_type=event.subject_type,
            subject_id=event.subject_id,
            data={},
            **fields,
        )


def test_an_event_is_never_edited() -> None:
    event = note(make_post())
    with pytest.raises(DatabaseError, match="event_is_never_edited"), transaction.atomic():
        Event.objects.filter(pk=event.pk).update(data={})


def read_in_order_of(platform_id: str, after: int) -> list[int]:
    """Read as one would without thinking: everything past the last position seen."""
    rows = Event.objects.filter(platform_id=platform_id, position__gt=after).order_by("position")
    return list(rows.values_list("position", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_reader_by_cursor_misses_no_event_of_a_transaction_that_commits_late() -> None:
    platform = make_platform()
    slow = make_post(make_author(platform))
    quick = make_post(make_author(platform))
    written, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        try:
            with transaction.atomic():
                events.record(Event.Type.POST_FAILED, slow, {"post_id": slow.pk})
                written.set()
                assert may_commit.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=write_slowly)
    thread.start()
    assert written.wait(20)
    note(quick)

    naive = read_in_order_of(platform.pk, 0)
    first = events.after(platform, None, 100)
    may_commit.set()
    thread.join()
    naive += read_in_order_of(platform.pk, naive[-1])
    cursor = (first[-1].transaction_id, first[-1].position) if first else None
    read = [*first, *events.after(platform, cursor, 100)]

    assert len(naive) == 1, "control: the order of positions alone loses the slow one"
    assert first == [], "what is not certain to come first is kept back"
    assert [event.subject_id for event in read] == [slow.pk, quick.pk]


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_polls_while_many_write_reads_each_event_once() -> None:
    platform = make_platform()
    posts = [make_post(make_author(platform), photos=()) for _ in range(8)]
    done = threading.Event()
    read: list[str] = []

    def poll() -> None:
        cursor: tuple[int, int] | None = None
        try:
            while True:
                last = done.is_set()
                page = events.after(platform, cursor, 7)
                read.extend(event.id for event in page)
                if page:
                    cursor = (page[-1].transaction_id, page[-1].position)
                elif last:
                    return
        finally:
            connection.close()

    reader = threading.Thread(target=poll)
    reader.start()
    at_once(note, posts * 15, threads=8)
    done.set()
    reader.join(60)

    assert sorted(read) == sorted(Event.objects.values_list("id", flat=True))
    assert len(read) == 120


@pytest.mark.django_db(transaction=True)
def test_the_api_tells_the_same_events_page_by_page() -> None:
    post = make_post(outcome="masked")
    rewards.apply_verdict(post.verdicts.get().pk)
    note(make_post())  # another platform's
    client = client_for(post.platform)

    first = client.get("/api/v1/events", {"limit": "2"}).json()
    second = client.get("/api/v1/events", {"limit": "2", "after": first["next"]}).json()

    assert [event["type"] for event in first["data"]] == ["post.analyzed", "badge.awarded"]
    assert [event["type"] for event in second["data"]] == ["donation.declined", "boost.started"]
    stored = Event.objects.get(type="post.analyzed")
    assert first["data"][0] == {
        "id": stored.id,
        "type": "post.analyzed",
        "timestamp": stored.created_at.isoformat().replace("+00:00", "Z"),
        "subject": {"type": "post", "id": post.pk},
        "sequence": 1,
        "causation_id": stored.causation_id,
        "data": stored.data,
    }

    rest = client.get("/api/v1/events", {"after": second["next"]}).json()
    assert rest == {"data": [], "next": second["next"]}, "so that a reader can come back"
    verdict = make_verdict(post, "unmasked")
    rewards.apply_verdict(verdict.pk)
    later = client.get("/api/v1/events", {"after": rest["next"]}).json()
    assert [event["type"] for event in later["data"]] == ["post.analyzed", "badge.revoked", "boost.ended"]


@pytest.mark.django_db(transaction=True)
def test_the_api_waits_for_an_event_if_asked_to() -> None:
    author: Author = make_author()
    post = make_post(author, photos=())
    client = client_for(author.platform)
    assert client.get("/api/v1/events").json() == {"data": [], "next": None}

    def write_later() -> None:
        time.sleep(0.5)
        try:
            note(post)
        finally:
            connection.close()

    thread = threading.Thread(target=write_later)
    thread.start()
    began = time.monotonic()
    found = client.get("/api/v1/events", {"wait": "20"}).json()
    thread.join()

    assert [event["type"] for event in found["data"]] == ["post.failed"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ({"after": "nonsense!"}, "invalid_cursor", "/after"),
        ({"after": "WyJhIl0"}, "invalid_cursor", "/after"),
        ({"limit": "0"}, "invalid_limit", "/limit"),
        ({"limit": "101"}, "invalid_limit", "/limit"),
        ({"wait": "31"}, "invalid_wait", "/wait"),
        ({"wait": "-1"}, "invalid_wait", "/wait"),
        ({"wait": "²"}, "invalid_wait", "/wait"),
    ],
)
def test_the_api_refuses_a_query_it_cannot_read(query: dict[str, str], code: str, pointer: str) -> None:
    answer = client_for(make_platform()).get("/api/v1/events", query)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (code, pointer)


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_is_deleted_while_events_are_recorded_undoes_none_of_them() -> None:
    post = make_post()
    endpoint = make_endpoint(post.platform)
    recorded, may_commit = threading.Event(), threading.Event()

    def record() -> None:
        try:
            with transaction.atomic():
                events.record(Event.Type.POST_FAILED, post, {})
                recorded.set()
                may_commit.wait(20)
        finally:
            connection.close()

    def delete() -> None:
        try:
            endpoints.delete(endpoint)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        recording = pool.submit(record)
        assert recorded.wait(20)
        deleting = pool.submit(delete)
        time.sleep(0.3)
        may_commit.set()
        recording.result(20)
        deleting.result(20)

    assert (Event.objects.count(), Delivery.objects.count(), WebhookEndpoint.objects.count()) == (1, 0, 0)


@pytest.mark.django_db
def test_a_reader_in_the_middle_of_what_a_backup_brought_reads_no_more_than_a_page() -> None:
    post = make_post()
    told = [
        Event(
            platform=post.platform,
            type=Event.Type.POST_ANALYZED,
            subject_type=Event.SubjectType.POST,
            subject_id=post.pk,
            sequence=number,
            transaction_id=0,  # as after_restore leaves them
            data={},
        )
        for number in range(1, 5001)
    ]
    Event.objects.bulk_create(told)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE incentives_event")

    measured = plans.measure("read", lambda: events.after(post.platform, (0, told[4000].position), 10), rounds=1)

    assert measured.rows <= 11
    assert [event.sequence for event in events.after(post.platform, (0, told[4000].position), 3)] == [4002, 4003, 4004]
