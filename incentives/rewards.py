"""Turn a verdict into what it earns, exactly once.

What a post should have is worked out from its latest verdict and compared with what it has; the difference is written,
each part with its event, in one transaction. An overturned verdict is no special case: it should have nothing.

Locks are taken in one order, so that no two transactions wait for each other: the author's row, the post's row, then
at most one campaign's. They leave foreign keys free (FOR NO KEY UPDATE): new posts of the author go on being made.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from incentives import badges, boosts, donations, events
from incentives.models import Boost, Event, RewardApplication
from moderation.models import Author, Post, Verdict

SWEEP_BATCH = 500
# A younger verdict is left to the worker that was told of it.
LOST_AFTER = timedelta(seconds=10)


def apply_verdict(verdict_id: str) -> bool:
    """Apply a verdict and those before it that were missed; False when that was done, or all of it is erased."""
    with transaction.atomic():
        row = Verdict.objects.filter(pk=verdict_id).values_list("post_id", "sequence").first()
        post = _lock(row[0]) if row else None
        if row is None or post is None:
            return False
        # In the order they were reached, so that the platform never hears of an older one last.
        missed = post.verdicts.filter(sequence__lte=row[1], reward_application__isnull=True).order_by("sequence")
        applied = [_apply(post, verdict) for verdict in missed]
        if applied and not post.verdicts.filter(sequence__gt=row[1]).exists():
            _reconcile(post, applied[-1], timezone.now())
        return bool(applied)


def take_back(post_id: str) -> bool:
    """Take back what a withdrawn post earned; False when it stands, or is erased."""
    with transaction.atomic():
        post = _lock(post_id)
        if post is None or post.status != Post.Status.WITHDRAWN:
            return False
        verdict = post.verdicts.order_by("-sequence").first()
        if verdict is not None:
            _reconcile(post, verdict, timezone.now())
        return verdict is not None


def unapplied_verdicts(now: datetime) -> list[str]:
    """Return the ids of verdicts whose message must have been lost, some at a time."""
    missed = Verdict.objects.filter(reward_application__isnull=True, created_at__lte=now - LOST_AFTER)
    return list(missed.order_by("pk").values_list("pk", flat=True)[:SWEEP_BATCH])


def withdrawn_with_rewards() -> list[str]:
    """Return the ids of withdrawn posts that still have what they earned; every masked post has a boost."""
    kept = Boost.objects.filter(revoked_at=None, post__status=Post.Status.WITHDRAWN)
    return list(kept.order_by("pk").values_list("post_id", flat=True)[:SWEEP_BATCH])


def _lock(post_id: str) -> Post | None:
    """Hold the post's author, then the post; None when they are erased."""
    author = Author.objects.select_for_update(no_key=True, of=("self",)).filter(posts=post_id).first()
    if author is None:
        return None
    post = Post.objects.select_for_update(no_key=True).filter(pk=post_id).first()
    if post is not None:
        post.author = author
    return post


def _apply(post: Post, verdict: Verdict) -> Verdict:
    # The key of this row is what makes a second application impossible, whoever tries.
    RewardApplication.objects.create(verdict=verdict)
    data = {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "verdict": {
            "id": verdict.pk,
            "outcome": verdict.outcome,
            "source": verdict.source,
            "sequence": verdict.sequence,
        },
    }
    events.record(Event.Type.POST_ANALYZED, post, data)
    return verdict


def _reconcile(post: Post, latest: Verdict, now: datetime) -> None:
    earns = latest.outcome == Verdict.Outcome.MASKED and post.status != Post.Status.WITHDRAWN
    earned_by = latest if earns else None
    badges.reconcile(post.author, post, latest, now)
    boosts.reconcile(post, earned_by, now)
    donations.reconcile(post, earned_by, now)  # last: many posts share a campaign's row
