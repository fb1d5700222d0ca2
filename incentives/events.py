"""The outbox: what happened is written with the change itself, numbered per subject, and sent from there."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.db import connection, transaction
from django.db.models import BigIntegerField, Func, Q, QuerySet, Value
from django.db.models.lookups import GreaterThan

from incentives.models import Delivery, Event, EventHorizon, WebhookEndpoint
from incentives.models.ids import new_event_id
from mask_social import broker, correlation
from mask_social.errors import ApiError
from moderation.models import Author, Platform, Post

# Whose story an event belongs to; the events of one subject are numbered without a gap.
Subject = Post | Author | WebhookEndpoint


@dataclass(frozen=True, slots=True)
class _Told:
    """An event, and whose story it belongs to."""

    event: Event
    subject: Subject


# What is told inside `together`, to be written at its end.
_batch: ContextVar[list[_Told] | None] = ContextVar("batch", default=None)


def record(type_: Event.Type, subject: Subject, data: Mapping[str, Any], *, causation_id: str = "") -> Event:
    """Write an event and its deliveries in the caller's transaction; they are sent once it commits.

    `causation_id` is what set it off; where none is given the event did itself, and goes by its own id.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An event is written in the transaction of the change it tells of.")
    subject_type, subject_id = name_of(subject)
    event_id = new_event_id()
    event = Event(
        id=event_id,
        causation_id=causation_id or event_id,
        platform_id=subject.platform_id,
        type=type_,
        subject_type=subject_type,
        subject_id=subject_id,
        request_id=correlation.current(),
        data=dict(data),
    )
    batch = _batch.get()
    if batch is None:
        _write([_Told(event, subject)])
    else:
        batch.append(_Told(event, subject))
    return event


@contextmanager
def together() -> Iterator[None]:
    """Write what is recorded in the block at its end, in a few statements however much it is.

    Until then the events have no number. Whoever rolls back to a savepoint inside has recorded nothing since.
    """
    told: list[_Told] = []
    token = _batch.set(told)
    try:
        yield
    finally:
        _batch.reset(token)
    _write(told)


def _write(told: Sequence[_Told]) -> None:
    if not told:
        return
    _number(told)
    Event.objects.bulk_create([one.event for one in told])
    deliveries = []
    for event, listener in _listeners(told):
        deliveries.append(Delivery(event=event, endpoint_id=listener.id, status=listener.status_of_delivery))
        if listener.is_well(event.created_at) or event.type == Event.Type.ENDPOINT_TEST:
            wake_on_commit(listener.id)
    Delivery.objects.bulk_create(deliveries)


class _Wake:
    """Sends a worker to an endpoint; equal to any other that does."""

    def __init__(self, endpoint_id: str) -> None:
        self.endpoint_id = endpoint_id
        self.__qualname__ = "wake"  # by which Django logs its failure

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wake) and other.endpoint_id == self.endpoint_id

    def __hash__(self) -> int:
        return hash(self.endpoint_id)

    def __call__(self) -> None:
        from incentives.tasks import send_webhooks  # tasks import the services, so not the other way at load time

        broker.tell(lambda: send_webhooks.delay(self.endpoint_id))


def wake_on_commit(endpoint_id: str) -> None:
    """Send a worker to an endpoint once the transaction is committed; once, however often it is asked for."""
    wake = _Wake(endpoint_id)
    # What a savepoint's end undid is no longer among them.
    if not any(entry[1] == wake for entry in connection.run_on_commit):
        # robust: without a broker the commit still stands, and the sweep finds what is due.
        transaction.on_commit(wake, robust=True)


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
    run fewer transactions brings ids from the future, and its events stay hidden: `restored.settle` sees to them.
    """
    return events.filter(transaction_id__lt=_xmin()).order_by("transaction_id", "position")


def _xmin() -> Func:
    return Func(template="pg_snapshot_xmin(pg_current_snapshot())::text::bigint", output_field=BigIntegerField())


def after(platform: Platform, cursor: Sequence[str | int] | None, limit: int) -> list[Event]:
    """Return the platform's next events after a cursor of (transaction_id, position), the oldest first.

    A cursor that some event behind it is no longer kept for is refused: what it missed cannot be told.
    """
    story = visible(Event.objects.filter(platform=platform))
    known = None if cursor is None else _as_things_are(platform, cursor)
    if known is not None:
        # As a row, which an index begins at: two conditions would read all events of the cursor's transaction, and
        # those that a restored backup brought have one in common.
        story = story.filter(GreaterThan(_Row("transaction_id", "position"), _Row(*map(Value, known))))
    found = list(story[:limit])
    # Asked afterwards: what is deleted while this reads must not go unnoticed.
    if known is not None and _is_expired(platform, known):
        raise ApiError(
            HTTPStatus.GONE,
            "cursor_expired",
            "Events that followed this cursor are no longer kept. Compare what you hold with the API, and read on from "
            "the oldest that is kept: without `after`.",
            pointer="/after",
        )
    return found


class _Row(Func):
    template = "(%(expressions)s)"
    output_field = BigIntegerField()  # unused: rows are compared as such


def _as_things_are(platform: Platform, cursor: Sequence[str | int]) -> tuple[int, int]:
    """Return a cursor as this server knows it, for the reader may have got it before a backup was restored."""
    transaction_id, position = int(cursor[0]), int(cursor[1])
    rows = Event.objects.filter(platform=platform).values_list("transaction_id", flat=True)
    now = rows.filter(position=position).first()
    if now is not None:
        return now, position
    # What this server has not yet given out was given by the old one, of an event that is lost.
    is_foreign = Platform.objects.filter(pk=platform.pk).annotate(xmin=_xmin()).filter(xmin__lte=transaction_id)
    return (0 if is_foreign.exists() else transaction_id), position


def _is_expired(platform: Platform, cursor: tuple[int, int]) -> bool:
    last = EventHorizon.objects.filter(platform=platform).values_list("transaction_id", "position").first()
    if last is None:
        return False
    if last[0] == 0:  # restored: what came before is in the order of its positions
        return cursor[1] < last[1]
    return cursor < last


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
    return [pk for (pk,) in _held(rows.values_list("pk"))]


def _number(told: Sequence[_Told]) -> None:
    """Give the events of each subject its next numbers; the subject's row is held until the transaction ends."""
    stories: defaultdict[tuple[type[Subject], Any], list[Event]] = defaultdict(list)
    for one in told:
        stories[type(one.subject), one.subject.pk].append(one.event)
    for (model, pk), story in stories.items():
        table = connection.ops.quote_name(model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET event_sequence = event_sequence + %s WHERE id = %s RETURNING event_sequence",  # noqa: S608 - a name of our own
                [len(story), pk],
            )
            (last,) = cursor.fetchone()
        for number, event in enumerate(story, last - len(story) + 1):
            event.sequence = number


@dataclass(frozen=True, slots=True)
class _Listener:
    """An endpoint as it is when an event is recorded."""

    id: str
    status: str
    failing_since: datetime | None
    paused_until: datetime | None
    platform_id: str
    types: Sequence[str]

    def hears(self, told: _Told) -> bool:
        """Whether it asked for the event."""
        if isinstance(told.subject, WebhookEndpoint):  # a test concerns it alone, whatever types it asked for
            return told.subject.pk == self.id
        return told.event.platform_id == self.platform_id and (not self.types or told.event.type in self.types)

    @property
    def status_of_delivery(self) -> Delivery.Status:
        is_active = self.status == WebhookEndpoint.Status.ACTIVE
        return Delivery.Status.PENDING if is_active else Delivery.Status.HELD

    def is_well(self, now: datetime) -> bool:
        """Whether a worker is sent at once; elsewhere each event would send one in vain, and the sweep does."""
        is_active = self.status == WebhookEndpoint.Status.ACTIVE
        return is_active and self.failing_since is None and (self.paused_until is None or self.paused_until <= now)


def _listeners(told: Sequence[_Told]) -> Iterator[tuple[Event, _Listener]]:
    """Yield whom to tell of which event; none of them can be deleted until the transaction ends."""
    endpoints = WebhookEndpoint.objects.filter(platform__in={one.event.platform_id for one in told})
    columns = ("pk", "status", "failing_since", "paused_until", "platform_id", "event_types")
    listeners = [_Listener(*row) for row in _held(endpoints.values_list(*columns))]
    for one in told:
        for listener in listeners:
            if listener.hears(one):
                yield one.event, listener


def _held(rows: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    statement, parameters = rows.order_by("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} FOR KEY SHARE", parameters)
        return list(cursor.fetchall())
