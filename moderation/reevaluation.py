"""Judging stored faces anew by the policies of today: nothing is looked at again, and people are never overruled.

A job goes through posts in the order of their ids. Each step of its cursor is a compare-and-set in the transaction of
the verdict it belongs to, so that a job can be stopped anywhere and goes on there, and two workers at once do no harm:
one of them loses the cursor and stops.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from mask_social import clock
from moderation.models import Platform, Post, Reevaluation, Verdict
from moderation.selectors import current_policy, posts_with_faces
from moderation.verdicts import OF_PEOPLE, PolicyRules, decide, evidence, record_verdict

BATCH = 200
SAMPLE = 1_000

Status = Reevaluation.Status
Outcome = Verdict.Outcome


@dataclass(frozen=True, slots=True)
class Shift:
    """How many posts would go from one outcome to another."""

    before: Verdict.Outcome
    after: Verdict.Outcome
    posts: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a re-evaluation would do to the latest posts; the largest shift first."""

    judged: int
    total: int
    shifts: Sequence[Shift]

    @property
    def changed(self) -> int:
        """Return how many of the posts would change."""
        return sum(shift.posts for shift in self.shifts)


def judged_by_policy(platform: Platform | None) -> QuerySet[Post]:
    """Return the posts that a policy may judge: analyzed, and decided by nobody of the staff."""
    by_people = Verdict.objects.filter(post=OuterRef("pk"), source__in=OF_PEOPLE)
    posts = Post.objects.filter(~Exists(by_people), status=Post.Status.ANALYZED)
    return posts if platform is None else posts.filter(platform=platform)


def preview(platform: Platform | None) -> Preview:
    """Judge the latest posts without writing anything."""
    posts = judged_by_policy(platform)
    sample = list(posts_with_faces(posts.order_by("-pk")[:SAMPLE]))
    counts = Counter((Outcome(post.outcome), after) for post, after in _changes(sample))
    return Preview(len(sample), posts.count(), [Shift(*pair, count) for pair, count in counts.most_common()])


def start(platform: Platform | None, user: User, reason: str) -> Reevaluation:
    """Set up a job over the posts there are, and have a worker begin once that is committed."""
    with transaction.atomic():
        total = judged_by_policy(platform).count()
        job = Reevaluation.objects.create(platform=platform, requested_by=user, reason=reason, total=total)
        _enqueue(job.pk, job.cursor)
    return job


def cancel(job: Reevaluation) -> bool:
    """Stop a job where it is; what it changed stays. False when it is over already."""
    return _finish(Reevaluation.objects.filter(pk=job.pk), Status.CANCELLED)


def judge_anew(post_ids: Iterable[str], reason: str) -> int:
    """Judge some posts at once; return how many have another verdict now."""
    verdicts = (record_verdict(post_id, Verdict.Source.REEVALUATION, reason=reason) for post_id in post_ids)
    return sum(verdict is not None for verdict in verdicts)


def work_on(job_id: int, cursor: str) -> None:
    """Judge the next batch of a job and ask for the one after it.

    `cursor` is where the job stood when the message was sent: of two messages for one batch, the second finds it gone.
    """
    under_way = Reevaluation.objects.select_related("platform").filter(status=Status.PENDING)
    job = under_way.filter(pk=job_id, cursor=cursor).first()
    if job is None:
        return
    # Later posts are judged by today's policies as it is.
    waiting = judged_by_policy(job.platform).filter(pk__gt=cursor, created_at__lte=job.created_at)
    batch = list(posts_with_faces(waiting.order_by("pk")[:BATCH]))
    if not batch:
        _finish(Reevaluation.objects.filter(pk=job_id, cursor=cursor), Status.DONE)
        return
    places = {post.pk: place for place, post in enumerate(batch, 1)}
    done = 0
    for post, _ in _changes(batch):
        if not _step(job, cursor, post.pk, places[post.pk] - done):
            return
        cursor, done = post.pk, places[post.pk]
    last = batch[-1].pk
    with transaction.atomic():
        if _advance(job, cursor, last, len(batch) - done):
            _enqueue(job.pk, last)


def sweep() -> int:
    """Send the jobs under way again: a message may have been lost. Return how many there are.

    A job that a worker is at loses nothing: see work_on().
    """
    jobs = Reevaluation.objects.filter(status=Status.PENDING).values_list("pk", "cursor")
    for job_id, cursor in jobs:
        _enqueue(job_id, cursor)
    return len(jobs)


def _changes(posts: Iterable[Post]) -> Iterator[tuple[Post, Verdict.Outcome]]:
    """Yield the posts whose outcome would be another by today's policy, and which."""
    rules: dict[str, PolicyRules] = {}
    for post in posts:
        if post.platform_id not in rules:
            rules[post.platform_id] = PolicyRules.of(current_policy(post.platform))
        outcome = decide(evidence(photo.analysis for photo in post.photos.all()), rules[post.platform_id])
        if outcome != post.outcome:
            yield post, outcome


def _step(job: Reevaluation, cursor: str, post_id: str, passed: int) -> bool:
    """Go on to a post and judge it; False when another worker has, or the job was cancelled."""
    with transaction.atomic():
        if not _advance(job, cursor, post_id, passed):
            return False
        if record_verdict(post_id, Verdict.Source.REEVALUATION, reason=job.reason) is not None:
            Reevaluation.objects.filter(pk=job.pk).update(changed=F("changed") + 1)
    return True


def _advance(job: Reevaluation, cursor: str, to: str, passed: int) -> bool:
    here = Reevaluation.objects.filter(pk=job.pk, status=Status.PENDING, cursor=cursor)
    return here.update(cursor=to, done=F("done") + passed) == 1


def _finish(jobs: QuerySet[Reevaluation], status: Reevaluation.Status) -> bool:
    return jobs.filter(status=Status.PENDING).update(status=status, finished_at=clock.now()) == 1


def _enqueue(job_id: int, cursor: str) -> None:
    from moderation.tasks import reevaluate  # the task calls this module

    # robust: without a broker the job stands all the same, and the sweep sends the message later
    transaction.on_commit(lambda: reevaluate.delay(job_id, cursor), robust=True)
