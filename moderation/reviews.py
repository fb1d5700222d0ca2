"""What people decide: about a post, and about an appeal against a verdict.

Each decision is taken on what the decider saw. Whoever comes second, or acts on a page that is out of date, is told so
and has changed nothing.
"""

from http import HTTPStatus

from django.contrib.auth.models import User
from django.db import transaction

from mask_social import clock
from mask_social.errors import ApiError
from moderation import signals
from moderation.models import Appeal, Post, Verdict
from moderation.selectors import latest_verdict
from moderation.verdicts import record_verdict

# What people may say: whoever is not sure leaves the post in the queue.
DECISIONS = [choice for choice in Verdict.Outcome.choices if choice[0] != Verdict.Outcome.UNCERTAIN]

_NOT_ANALYZED = {
    Post.Status.PENDING: "This post is still being looked at; there is no verdict to change yet.",
    Post.Status.FAILED: "This post could not be looked at, so it has no verdict to change.",
    Post.Status.WITHDRAWN: "This post was withdrawn; its verdict can no longer be changed.",
}


class ReviewError(Exception):
    """Why a decision cannot be taken, in words for whoever decides."""


def obstacle(post: Post) -> str | None:
    """Return why nobody may decide about a post as it stands; None when people may."""
    return _NOT_ANALYZED.get(Post.Status(post.status))


def overrule(post: Post, outcome: str, user: User, reason: str, *, seen: str | None = None) -> Verdict:
    """Put a reviewer's verdict above the one that holds; `seen` is the verdict that the reviewer looked at."""
    with transaction.atomic():
        holding = _stands(post)
        if seen is not None and holding.pk != seen:
            raise ReviewError("Somebody else has decided about this post meanwhile. Look at it again.")
        if holding.outcome == outcome:
            raise ReviewError(f"The verdict is “{holding.get_outcome_display()}” already: this would change nothing.")
        return _decide(post, Verdict.Source.REVIEWER, outcome, user, reason)


def open_appeal(post: Post, statement: str) -> Appeal:
    """Take in an author's word against the verdict that holds; once per verdict, and never against an appeal's."""
    with transaction.atomic():
        locked = _hold(post)
        if locked.status == Post.Status.WITHDRAWN:
            raise ApiError(HTTPStatus.CONFLICT, "post_withdrawn", "The post was withdrawn.")
        against = latest_verdict(locked)
        if against is None:
            raise ApiError(HTTPStatus.CONFLICT, "no_verdict", "The post has no verdict to appeal against.")
        appealed = against.source == Verdict.Source.APPEAL or against.appeals.exists()
        if appealed or locked.appeals.filter(status=Appeal.Status.OPEN).exists():
            raise ApiError(HTTPStatus.CONFLICT, "already_appealed", "An appeal about this verdict was made before.")
        appeal = Appeal.objects.create(post=post, against=against, statement=statement)
        signals.appeal_opened.send(Appeal, appeal_id=appeal.pk)
        return appeal


def uphold(appeal: Appeal, outcome: str, user: User, answer: str) -> Appeal:
    """Side with the author: the verdict becomes `outcome`.

    Where another verdict came to that outcome meanwhile there is nothing left to change, and the appeal names none.
    """
    if outcome == appeal.against.outcome:
        raise ReviewError("That is the verdict the appeal is against: dismiss the appeal instead.")
    with transaction.atomic():
        holding = _stands(appeal.post)
        _claim(appeal, Appeal.Status.UPHELD, user, answer)
        if holding.outcome != outcome:
            verdict = _decide(appeal.post, Verdict.Source.APPEAL, outcome, user, answer)
            Appeal.objects.filter(pk=appeal.pk).update(verdict=verdict)
        return _told(appeal)


def dismiss(appeal: Appeal, user: User, answer: str) -> Appeal:
    """Let the verdict stand; also how an appeal about a post that was withdrawn is closed."""
    with transaction.atomic():
        _hold(appeal.post)
        _claim(appeal, Appeal.Status.DISMISSED, user, answer)
        return _told(appeal)


def _hold(post: Post) -> Post:
    # The post before its appeal, always: whoever tells of an appeal needs the post's row too, and could wait forever.
    return Post.objects.select_for_update().get(pk=post.pk)


def _stands(post: Post) -> Verdict:
    """Hold a post about which people may decide; return the verdict that holds."""
    locked = _hold(post)
    why_not = obstacle(locked)
    if why_not is not None:
        raise ReviewError(why_not)
    return locked.verdicts.latest("sequence")


def _decide(post: Post, source: Verdict.Source, outcome: str, user: User, reason: str) -> Verdict:
    verdict = record_verdict(post.pk, source, outcome=outcome, decided_by=user, reason=reason)
    if verdict is None:
        raise ReviewError("This post is not ready for a verdict.")
    return verdict


def _claim(appeal: Appeal, status: Appeal.Status, user: User, answer: str) -> None:
    undecided = Appeal.objects.filter(pk=appeal.pk, status=Appeal.Status.OPEN)
    if undecided.update(status=status, decided_by=user, answer=answer, decided_at=clock.now()) != 1:
        raise ReviewError("Somebody else has decided this appeal meanwhile.")


def _told(appeal: Appeal) -> Appeal:
    signals.appeal_decided.send(Appeal, appeal_id=appeal.pk)
    appeal.refresh_from_db()
    return appeal
