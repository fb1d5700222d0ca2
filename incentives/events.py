"""The outbox: what happened is written with the change itself, numbered per subject, and sent from there."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, Func, Q, QuerySet

from incentives.models import Delivery, Event, WebhookEndpoint
from incentives.models.ids import new_event_id
from mask_social import correlation
from moderation.models import Author, Platform, Post

# Whose story an event belongs to; the events of one subject are numbered without a gap.
Subject = Post | Author | WebhookEndpoint

# A message that nobody took up for so long is taken for lost, and the sweep sends another.
LOST_AFTER = timedelta(seconds=30)


def record(type_: Event.Type, subject: Subject, data: Mapping[str, Any], *, causation_id: str = "") -> Event:
    """Write an event and its deliveries in the caller's transaction; they are sent once it commits.

    `causation_id` is what set it off; where none is given the event did itself, and goes by its own id.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An event is written in the transaction of the change it tells of.")
    subject_type, subject_id = name_of(subject)
    event_id = new_event_id()
    event = Event.objects.create(
        id=event_id,
        causation_id=causation_id or event_id,
        platform_id=subject.platform_id,
        type=type_,
        subject_type=subject_type,
        subject_id=subject_id,
        sequence=_next_number(subject),
        request_id=correlation.current(),
        data=dict(data),
    )
    grace = event.created_at + LOST_AFTER
    deliveries = Delivery.objects.bulk_create(
        [Delivery(event=event, endpoint_id=pk, requeue_at=grace) for pk in _listeners(subject, type_)]
    )
    for delivery in deliveries:
        send_on_commit(delivery.pk)
    return event


def send_on_commit(delivery_id: str) -> None:
    """Wake a worker for a delivery once the transaction is committed."""
    # robust: without a broker the commit still stands, and the sweep finds the delivery. A lambda, because Django logs
    # the failure with the function's name: a partial has none, and would raise after all.
    transaction.on_commit(lambda: _send(delivery_id), robust=True)


def name_of(subject: Subject) -> tuple[Event.SubjectType, str]:
    """Return how events name a subject; an author goes by the platform's own id."""
    match subject:
        case Post():
            return Event.SubjectType.POST, subject.pk
        case Author():
            return Event.SubjectType.AUTHOR, subject.external_id
        case WebhookEndpoint():
            return Event.SubjectType.ENDPOINT, subject.pk


def visible(events: QuerySet[Event]) -> QuerySet[Event]:
    """Keep, in order, the events that none committed later can precede.

    A transaction that still runs may hold a smaller id than one already committed, so a reader that went past it would
    never see its events. Below the snapshot's xmin every transaction has ended. A dump restored into a cluster that has
    run fewer transactions brings ids from the future: set them to 0 there, or its events stay hidden.
    """
    xmin = Func(template="pg_snapshot_xmin(pg_current_snapshot())::text::bigint", output_field=BigIntegerField())
    return events.filter(transaction_id__lt=xmin).order_by("transaction_id", "position")


def after(platform: Platform, cursor: Sequence[str | int] | None, limit: int) -> list[Event]:
    """Return the platform's next events after a cursor of (transaction_id, position), the oldest first."""
    story = visible(Event.objects.filter(platform=platform))
    if cursor is not None:
        transaction_id, position = cursor
        # The last condition follows from the first, but it is the one that an index can start from.
        story = story.filter(
            Q(transaction_id__gt=transaction_id) | Q(position__gt=position), transaction_id__gte=transaction_id
        )
    return list(story[:limit])


def representation(event: Event) -> dict[str, Any]:
    """Return the event as both the webhooks and the API tell it."""
    return {
        "id": event.id,
        "type": event.type,
        "timestamp": written(event.created_at),
        "subject": {"type": event.subject_type, "id": event.subject_id},
        "sequence": event.sequence,
        "causation_id": event.causation_id,
        "data": event.data,
    }


def written(when: datetime) -> str:
    """Return a time as events tell it: ISO 8601 in UTC, with microseconds even where they are 0."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def about(post: Post) -> QuerySet[Event]:
    """Return the events that tell of a post, its author's badges included, oldest first."""
    its_own = Q(subject_type=Event.SubjectType.POST, subject_id=post.pk)
    of_author = Q(subject_type=Event.SubjectType.AUTHOR, subject_id=post.author.external_id, data__post_id=post.pk)
    return Event.objects.filter(its_own | of_author, platform_id=post.platform_id).order_by("position")


def hold(rows: QuerySet[Any]) -> list[Any]:
    """Return the keys of rows that nobody can delete until the transaction ends, for it will refer to them.

    A foreign key is checked at commit: a row deleted before that would undo the whole change. A key share keeps it, and
    lets others write it and refer to it at the same time; Django has no word for it.
    """
    statement, parameters = rows.order_by("pk").values_list("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} FOR KEY SHARE", parameters)
        return [pk for (pk,) in cursor.fetchall()]


def _next_number(subject: Subject) -> int:
    """Return the number of the subject's next event, whose row is held until the transaction ends."""
    table = connection.ops.quote_name(type(subject)._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET event_sequence = event_sequence + 1 WHERE id = %s RETURNING event_sequence",  # noqa: S608 - a name of our own
            [subject.pk],
        )
        (number,) = cursor.fetchone()
    return int(number)


def _listeners(subject: Subject, type_: Event.Type) -> list[str]:
    """Return the ids of the endpoints to tell, which none can delete until the transaction ends."""
    endpoints = WebhookEndpoint.objects.filter(platform_id=subject.platform_id)
    if isinstance(subject, WebhookEndpoint):
        endpoints = endpoints.filter(pk=subject.pk)  # a test concerns it alone, whatever types it asked for
    else:
        types = Q(event_types=[]) | Q(event_types__contains=[type_])
        endpoints = endpoints.filter(types, status=WebhookEndpoint.Status.ACTIVE)
    return hold(endpoints)


def _send(delivery_id: str) -> None:
    from incentives.tasks import deliver_webhook  # tasks import the services, so not the other way at load time

    deliver_webhook.delay(delivery_id)
