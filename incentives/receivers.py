"""What follows when the app below says that something happened.

That is inside its transaction: a receiver notes an event or enqueues, and does no more.
"""

from typing import Any

from celery import Task
from django.db import transaction

from incentives import events
from incentives.models import Event
from incentives.tasks import apply_verdict, take_back
from moderation import signals
from moderation.models import Post


def connect() -> None:
    """Listen; called once, from ready()."""
    signals.verdict_reached.connect(on_verdict, dispatch_uid="incentives")
    signals.post_failed.connect(on_failure, dispatch_uid="incentives")
    signals.post_withdrawn.connect(on_withdrawal, dispatch_uid="incentives")


def on_verdict(*, verdict_id: str, **_: Any) -> None:
    """Apply the verdict once it is committed."""
    # robust, here and below: without a broker the commit still stands, and the sweep finds what was missed.
    transaction.on_commit(lambda: _enqueue(apply_verdict, verdict_id), robust=True)


def on_failure(*, post_id: str, **_: Any) -> None:
    """Tell the platform that a post has no verdict and will have none."""
    post = Post.objects.select_related("author").get(pk=post_id)
    events.record(Event.Type.POST_FAILED, post, _told(post))


def on_withdrawal(*, post_id: str, **_: Any) -> None:
    """Tell the platform, and take back what the post earned once the withdrawal is committed."""
    post = Post.objects.select_related("author").get(pk=post_id)
    events.record(Event.Type.POST_WITHDRAWN, post, _told(post))
    transaction.on_commit(lambda: _enqueue(take_back, post_id), robust=True)


def _enqueue(task: Task[[str], None], argument: str) -> None:
    task.delay(argument)


def _told(post: Post) -> dict[str, Any]:
    return {"post_id": post.pk, "author_id": post.author.external_id}
