"""What follows when the app below says that something happened.

That is inside its transaction: a receiver notes an event and what is to be done, enqueues, and does no more.
"""

from typing import Any

from celery import Task
from django.db import transaction

from incentives import events, rewards
from incentives.experiments import exposures
from incentives.models import Event
from incentives.tasks import apply_verdict, take_back
from mask_social import broker, clock
from moderation import signals
from moderation.models import Appeal, Post


def connect() -> None:
    """Listen; called once, from ready()."""
    signals.verdict_reached.connect(on_verdict, dispatch_uid="incentives")
    signals.post_failed.connect(on_failure, dispatch_uid="incentives")
    signals.post_withdrawn.connect(on_withdrawal, dispatch_uid="incentives")
    signals.appeal_opened.connect(on_appeal, dispatch_uid="incentives")
    signals.appeal_decided.connect(on_decision, dispatch_uid="incentives")


def on_verdict(*, verdict_id: str, post_id: str, **_: Any) -> None:
    """Apply the verdict once it is committed."""
    rewards.expect_verdict(post_id, verdict_id)
    # robust, here and below: without a broker the commit still stands, and the sweep finds what was missed.
    transaction.on_commit(lambda: _enqueue(apply_verdict, verdict_id), robust=True)


def on_failure(*, post_id: str, **_: Any) -> None:
    """Tell the platform that a post has no verdict and will have none."""
    post = Post.objects.select_related("author").get(pk=post_id)
    events.record(Event.Type.POST_FAILED, post, _told(post))


def on_withdrawal(*, post_id: str, **_: Any) -> None:
    """Tell the platform, and take back what the post earned once the withdrawal is committed."""
    post = Post.objects.select_related("author").get(pk=post_id)
    rewards.expect_withdrawal(post, events.record(Event.Type.POST_WITHDRAWN, post, _told(post)))
    transaction.on_commit(lambda: _enqueue(take_back, post_id), robust=True)


def on_appeal(*, appeal_id: str, **_: Any) -> None:
    """Tell that a verdict is doubted."""
    appeal = Appeal.objects.select_related("post__author").get(pk=appeal_id)
    exposures.note_appeal(appeal.post, clock.now())
    events.record(Event.Type.APPEAL_OPENED, appeal.post, _told_appeal(appeal), causation_id=appeal.pk)


def on_decision(*, appeal_id: str, **_: Any) -> None:
    """Tell what came of an appeal; what a changed verdict brings follows with the verdict."""
    appeal = Appeal.objects.select_related("post__author", "verdict").get(pk=appeal_id)
    data = _told_appeal(appeal) | {
        "answer": appeal.answer,
        "outcome": appeal.verdict.outcome if appeal.verdict else None,
    }
    events.record(Event.Type.APPEAL_DECIDED, appeal.post, data, causation_id=appeal.pk)


def _enqueue(task: Task[[str], None], argument: str) -> None:
    broker.tell(lambda: task.delay(argument))


def _told(post: Post) -> dict[str, Any]:
    return {"post_id": post.pk, "author_id": post.author.external_id}


def _told_appeal(appeal: Appeal) -> dict[str, Any]:
    return _told(appeal.post) | {"appeal_id": appeal.pk, "verdict_id": appeal.against_id, "status": appeal.status}
