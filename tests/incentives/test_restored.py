"""A dump in a server that has run fewer transactions than the one it came from: the feed goes on where it was."""

from collections.abc import Iterable
from io import StringIO

import pgtrigger
import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import F

from incentives import events, restored
from incentives.models import Event, EventHorizon
from mask_social.errors import ApiError
from moderation.models import Post
from tests.cast import make_post

pytestmark = pytest.mark.django_db(transaction=True)
FUTURE = 10_000_000_000


def note(post: Post) -> Event:
    with transaction.atomic():
        return events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk})


@pytest.fixture
def post() -> Post:
    """A post with five events whose transactions this server has not run yet."""
    post = make_post(photos=())
    for _ in range(5):
        note(post)
    with pgtrigger.ignore("incentives.Event:event_is_never_edited"), transaction.atomic():
        Event.objects.update(transaction_id=F("transaction_id") + FUTURE)
    return post


def read(post: Post, cursor: tuple[int, int] | None = None) -> list[int]:
    return [event.sequence for event in events.after(post.platform, cursor, 100)]


def cursors() -> list[tuple[int, int]]:
    return list(Event.objects.order_by("position").values_list("transaction_id", "position"))


def settle() -> str:
    out = StringIO()
    call_command("after_restore", stdout=out)
    return out.getvalue()


def test_events_of_an_older_server_are_told_again(post: Post) -> None:
    note(post)
    assert read(post) == [6], "the control: they are hidden, and out of order"
    assert "6 events" in settle()
    note(post)
    assert read(post) == [1, 2, 3, 4, 5, 6, 7]
    assert "Nothing to do" in settle()


def test_a_cursor_from_before_goes_on_behind_its_event(post: Post) -> None:
    before = cursors()
    settle()
    note(post)
    assert read(post, before[1]) == [3, 4, 5, 6]
    assert read(post, before[-1]) == [6]


def test_a_cursor_to_an_event_that_was_lost_gets_all_that_came_after_the_restore(post: Post) -> None:
    transaction_id, position = cursors()[-1]
    lost = [(transaction_id + n, position + n) for n in (1, 2, 3)]
    settle()
    for _ in range(5):
        note(post)
    assert not set(cursors()) & set(lost)
    for cursor in lost:
        assert read(post, cursor) == [6, 7, 8, 9, 10]


def test_a_cursor_that_was_too_old_before_still_is(post: Post) -> None:
    before = cursors()
    forget(before[:3])
    EventHorizon.objects.create(platform=post.platform, transaction_id=before[2][0], position=before[2][1])
    settle()
    with pytest.raises(ApiError, match="no longer kept"):
        read(post, before[0])
    assert read(post, before[2]) == [4, 5]


def forget(cursors: Iterable[tuple[int, int]]) -> None:
    Event.objects.filter(position__in=[position for _, position in cursors]).delete()


def test_a_server_that_is_not_younger_changes_nothing() -> None:
    post = make_post(photos=())
    note(post)
    before = cursors()
    assert restored.settle() == 0
    assert cursors() == before
