"""Turn a verdict into what it earns, exactly once.

What a post should have is worked out from its latest verdict and compared with what it has; the difference is written,
each part with its event, in one transaction. An overturned verdict is no special case: it should have nothing.

What is to be done is written with the verdict itself (PendingChange) and deleted when it is done, so that a message
that is lost delays and no more.

Locks are taken in one order, so that no two transactions wait for each other: the author's row, the post's row, then
what is shared by many. They leave foreign keys free (FOR NO KEY UPDATE): new posts of the author go on being made.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, QuerySet

from incentives import badges, boosts, causes, donations, events, farming, observed
from incentives.causes import Cause
from incentives.experiments import exposures
from incentives.models import Claim, Event, LedgerEntry, Match, Outcome, PendingChange, RewardApplication
from mask_social import clock, correlation
from moderation.models import Post, Verdict

logger = logging.getLogger(__name__)

SWEEP_BATCH = 500
# A younger change is left to the worker that was told of it.
LOST_AFTER = timedelta(seconds=10)

Reason = RewardApplication.Reason
_REFUSED = {
    Claim.Ruling.NEAR_DUPLICATE: Reason.NEAR_DUPLICATE,
    Claim.Ruling.COOLDOWN: Reason.COOLDOWN,
    Claim.Ruling.DAILY_LIMIT: Reason.DAILY_LIMIT,
    Claim.Ruling.ACCOUNT_TOO_YOUNG: Reason.ACCOUNT_TOO_YOUNG,
}


def expect_verdict(post_id: str, verdict_id: str) -> None:
    """Write down that a verdict is to be applied; in the transaction that reaches it."""
    PendingChange.objects.create(post_id=post_id, verdict_id=verdict_id, causation_id=verdict_id)


def expect_withdrawal(post: Post, event: Event) -> None:
    """Write down that a withdrawn post has to give back; in the transaction that withdraws it."""
    PendingChange.objects.create(post=post, causation_id=event.id)


def apply_verdict(verdict_id: str) -> bool:
    """Apply a verdict and those before it that were missed; False when that was done, or all of it is erased."""
    verdict = Verdict.objects.select_related("post").filter(pk=verdict_id).order_by().first()
    if verdict is None:
        return False
    now = clock.now()
    # A later verdict that is masked sees to its claim itself.
    if _is_masked(verdict.post):
        _claim(verdict.post_id, now)
    with transaction.atomic():
        post = _lock(verdict.post_id)
        if post is None:
            return False
        # In the order they were reached, so that the platform never hears of an older one last.
        reached = list(post.verdicts.annotate(applied_at=F("reward_application__applied_at")).order_by("sequence"))
        missed = [one for one in reached if one.sequence <= verdict.sequence and one.applied_at is None]
        if not missed:
            return False
        arm = _expose(post, missed, now)
        with events.together():
            applications = [_tell(post, one, now) for one in missed]
            if missed[-1] == reached[-1]:
                applications[-1].donation_reason = _settle_up(post, missed[-1], arm, now)
        RewardApplication.objects.bulk_create(applications)
        PendingChange.objects.filter(verdict__in=missed).delete()
    observed.rewards_applied(missed, applications[-1].donation_reason)
    return True


def take_back(post_id: str) -> bool:
    """Take back what a withdrawn post earned; False when it stands, or is erased."""
    with transaction.atomic():
        post = _lock(post_id)
        if post is None or post.status != Post.Status.WITHDRAWN:
            return False
        pending = PendingChange.objects.filter(post=post, verdict=None).first()
        verdict = post.verdicts.order_by("-sequence").first()
        if verdict is not None:
            cause = causes.by_withdrawal(pending.causation_id if pending else post.pk)
            with events.together():
                _reconcile(post, verdict, cause, None, clock.now())
            _forget(post)
        if pending is not None:
            pending.delete()
        return verdict is not None


def overdue(now: datetime, *, after: int = 0) -> QuerySet[PendingChange]:
    """Return the changes whose message must have been lost, the oldest first, some at a time."""
    lost = PendingChange.objects.filter(created_at__lte=now - LOST_AFTER, pk__gt=after).select_related("post")
    return lost.order_by("pk")[:SWEEP_BATCH]


def sweep(now: datetime) -> int:
    """Do what was missed; return how many changes were."""
    done = last = 0
    # Past those that fail, however many: else a batch of them would keep all later ones waiting.
    while done < SWEEP_BATCH and (batch := list(overdue(now, after=last))):
        done += sum(map(_try, batch))
        last = batch[-1].pk
    return done


def _try(change: PendingChange) -> bool:
    try:
        with correlation.bound(change.post.request_id):
            if change.verdict_id is None:
                take_back(change.post_id)
            else:
                apply_verdict(change.verdict_id)
    except Exception:  # one that cannot be done must not keep the others from being done; it is tried again
        logger.exception("The change %s of %s failed.", change.pk, change.post_id)
        return False
    return True


def _claim(post_id: str, now: datetime) -> None:
    """Have a masked post judged, in a transaction of its own: see farming."""
    with transaction.atomic():
        post = _lock(post_id)
        if post is not None and _is_masked(post):
            farming.judge(post.author, post, now)


def _lock(post_id: str) -> Post | None:
    """Hold the post's author, then the post; None when they are erased."""
    # PostgreSQL locks the rows of a join in the order in which they are named.
    rows = Post.objects.select_for_update(no_key=True, of=("author", "self")).select_related("author", "platform")
    return rows.filter(pk=post_id).order_by().first()


def _is_masked(post: Post) -> bool:
    """Say whether the latest verdict is masked and the post stands."""
    return post.outcome == Verdict.Outcome.MASKED and post.status != Post.Status.WITHDRAWN


def _expose(post: Post, missed: Sequence[Verdict], now: datetime) -> exposures.Arm | None:
    """Let the author take part in the experiment that runs, and note a first verdict, before looking at it."""
    arm = exposures.arm_of(post.author, now)
    if arm is not None:
        if missed[0].sequence == 1:
            exposures.note(arm, post.author, post, Outcome.Kind.POST, now)
        if any(verdict.outcome == Verdict.Outcome.UNCERTAIN for verdict in missed):
            exposures.note(arm, post.author, post, Outcome.Kind.REVIEW, now)
    return arm


def _tell(post: Post, verdict: Verdict, now: datetime) -> RewardApplication:
    """Tell of a verdict; its application's key is what makes a second one impossible, whoever tries."""
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
    events.record(Event.Type.POST_ANALYZED, post, data, causation_id=verdict.pk)
    return RewardApplication(verdict=verdict, donation_reason=Reason.SUPERSEDED, applied_at=now)


def _settle_up(post: Post, latest: Verdict, arm: exposures.Arm | None, now: datetime) -> RewardApplication.Reason:
    if post.status == Post.Status.WITHDRAWN and latest.outcome == Verdict.Outcome.MASKED:
        return Reason.WITHDRAWN  # the withdrawal, not this verdict, is why the post gives back: take_back sees to it
    reason = _reconcile(post, latest, causes.by_verdict(latest), arm, now)
    if post.status == Post.Status.WITHDRAWN:
        _forget(post)  # what was settled when it was withdrawn is refunded only now
    return reason


def _forget(post: Post) -> None:
    """Let a withdrawn post's photos be posted again, unless their money stays where it went."""
    if not Match.objects.filter(post=post, status=Match.Status.SETTLED).exists():
        farming.release(post)


def _reconcile(
    post: Post, latest: Verdict, cause: Cause, arm: exposures.Arm | None, now: datetime
) -> RewardApplication.Reason:
    """Give and take what the post's latest verdict is worth; return what became of the money, and why."""
    author = post.author
    claim = Claim.objects.filter(post=post).first() if _is_masked(post) else None
    counts = claim is not None and claim.ruling == Claim.Ruling.COUNTS
    earned_by = latest if counts else None
    # A withdrawal gives nothing: least of all a badge to an author who is held out, whose arm is not asked for then.
    withheld = cause.kind == LedgerEntry.Cause.WITHDRAWAL or (arm is not None and arm.is_holdout)
    farming.count(author, post, earned_by)
    if arm is not None and counts:
        exposures.note(arm, author, post, Outcome.Kind.MASKED_POST, now)
    badges.reconcile(author, post, latest, now, cause=cause, withheld=withheld)
    decision = donations.reconcile(post, earned_by, now, cause)
    if earned_by is None or not withheld:
        campaign = decision.match.campaign if decision.match else None
        boosts.reconcile(post, earned_by, now, campaign=campaign, causation_id=cause.causation_id)
    if claim is None:
        return Reason.NOT_MASKED
    if not counts:
        reason = _REFUSED[Claim.Ruling(claim.ruling)]
        donations.decline(post, latest, reason, cause)
        return reason
    return decision.reason
