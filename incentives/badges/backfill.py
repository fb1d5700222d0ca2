"""The job of measuring everybody by a rule: a worker takes it on some authors at a time.

A worker holds a job by a lease. What it did stands with each author: killed, it leaves the cursor at the last one, the
lease runs out, and the sweep wakes another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q, QuerySet

from incentives.badges.awards import Measured, judge_anew
from incentives.badges.counting import measured_by_author, rows_of
from incentives.causes import Cause
from incentives.models import BadgeAward, BadgeBackfill, BadgeRule, Experiment, Exposure, LedgerEntry
from mask_social import clock
from moderation.models import Author

WINDOW = 1_000
# Far longer than a window takes, which is when a lease is made longer.
LEASE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A job as one worker holds it."""

    job_id: int
    leased_until: datetime


def start(rule: BadgeRule, user: User) -> BadgeBackfill:
    """Start measuring everybody by a rule as it is now; one under way, which may know an older rule, gives way."""
    with transaction.atomic():
        held = BadgeRule.objects.select_for_update(no_key=True).get(pk=rule.pk)
        for older in BadgeBackfill.objects.filter(rule=held, status=BadgeBackfill.Status.PENDING):
            cancel(older.pk)
        job = BadgeBackfill.objects.create(rule=held, requested_by=user, total=Author.objects.count())
        # robust: without a broker the job still stands, and the sweep finds it.
        transaction.on_commit(lambda: _wake(job.pk), robust=True)
        return job


def cancel(job_id: int) -> bool:
    """Stop a job where it is, what it did stands; False when it is over already."""
    pending = BadgeBackfill.objects.filter(pk=job_id, status=BadgeBackfill.Status.PENDING)
    stopped = pending.update(status=BadgeBackfill.Status.CANCELLED, finished_at=clock.now(), leased_until=None)
    return stopped == 1


def unattended(now: datetime) -> list[int]:
    """Return the jobs that no worker holds: a message was lost, or a worker."""
    free = Q(leased_until=None) | Q(leased_until__lte=now)
    return list(BadgeBackfill.objects.filter(free, status=BadgeBackfill.Status.PENDING).values_list("pk", flat=True))


def work(job_id: int, *, for_at_most: timedelta) -> bool:
    """Take a job on for a while; say whether there is more to do and nobody else does it."""
    claim = _claim(job_id)
    if claim is None:
        return False
    until = clock.now() + for_at_most
    try:
        while claim is not None:
            claim = _work_on_window(claim)
            if claim is not None and clock.now() >= until:
                return True
        return False
    finally:
        if claim is not None:
            _release(claim)


def _claim(job_id: int) -> _Claim | None:
    """Take a job that nobody holds."""
    now = clock.now()
    free = BadgeBackfill.objects.filter(Q(leased_until=None) | Q(leased_until__lte=now), pk=job_id)
    claim = _Claim(job_id, now + LEASE)
    taken = free.filter(status=BadgeBackfill.Status.PENDING).update(leased_until=claim.leased_until)
    return claim if taken == 1 else None


def _release(claim: _Claim) -> None:
    _mine(claim).update(leased_until=None)


def _mine(claim: _Claim) -> QuerySet[BadgeBackfill]:
    return BadgeBackfill.objects.filter(
        pk=claim.job_id, leased_until=claim.leased_until, status=BadgeBackfill.Status.PENDING
    )


def _work_on_window(claim: _Claim) -> _Claim | None:
    """Measure the next authors and return the lease made longer; None when the job is over or somebody else's.

    Those whom the rule changes nothing for are found by one query; each of the others is judged in a transaction of
    its own. Whoever earns the badge in between gets it from the verdict that does it.
    """
    job = _mine(claim).select_related("rule").first()
    if job is None:
        return None
    window = list(Author.objects.filter(pk__gt=job.cursor).order_by("pk").values_list("pk", flat=True)[:WINDOW])
    if not window:
        _mine(claim).update(
            status=BadgeBackfill.Status.DONE, finished_at=clock.now(), leased_until=None, total=F("done")
        )
        return None
    done = 0
    for author_id in _to_judge(job.rule, window):
        before = sum(done_id <= author_id for done_id in window)
        if not _judge(claim, author_id, before - done):
            return None
        done = before
    longer = _Claim(claim.job_id, clock.now() + LEASE)
    kept = _mine(claim).update(cursor=window[-1], done=F("done") + len(window) - done, leased_until=longer.leased_until)
    return longer if kept == 1 else None


def _to_judge(rule: BadgeRule, window: Sequence[int]) -> list[int]:
    """Return who of a range of authors holds the badge or earns it."""
    lowest, highest = window[0] - 1, window[-1]
    rows = rows_of(measured_by_author(rule, after=lowest, up_to=highest))
    earning = {author_id for author_id, measured in rows if measured >= rule.threshold}
    held = BadgeAward.objects.filter(rule=rule, author__gt=lowest, author__lte=highest)
    return sorted(earning | set(held.values_list("author", flat=True)))


def _judge(claim: _Claim, author_id: int, done: int) -> bool:
    """Judge one author, and note it in the same transaction; False when the job is no longer ours."""
    now = clock.now()
    with transaction.atomic():
        job = _mine(claim).select_for_update(of=("self",)).select_related("rule").first()
        if job is None:
            return False
        author = Author.objects.select_for_update(no_key=True).filter(pk=author_id).first()
        outcome = Measured.AS_BEFORE if author is None else _judge_author(job, author, now)
        BadgeBackfill.objects.filter(pk=job.pk).update(
            cursor=author_id,
            done=F("done") + done,
            gained=F("gained") + int(outcome is Measured.GAINED),
            lost=F("lost") + int(outcome is Measured.LOST),
        )
    return True


def _judge_author(job: BadgeBackfill, author: Author, now: datetime) -> Measured:
    award = BadgeAward.objects.filter(author=author, rule=job.rule).first()
    award = award or BadgeAward(rule=job.rule, status=BadgeAward.Status.REVOKED)
    award.author, award.rule = author, job.rule
    name = f"backfill-{job.pk}"
    cause = Cause(LedgerEntry.Cause.STAFF, name, name, "Everybody was measured by the rule of today.")
    return judge_anew(award, now, cause=cause, withheld=is_held_out(author))


def _wake(job_id: int) -> None:
    from incentives.tasks import run_backfill  # tasks import the services, so not the other way at load time

    run_backfill.delay(job_id)


def is_held_out(author: Author) -> bool:
    """Say whether an experiment that runs withholds badges from an author."""
    holdout = Exposure.objects.filter(author=author, arm=Exposure.Arm.HOLDOUT)
    return holdout.filter(experiment__status=Experiment.Status.RUNNING).exists()
