"""Who takes part from when on, and what they did: rows that are added and never changed.

Both are written in the transaction that applies a verdict; its caller holds the author's row.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, OuterRef, Q, Subquery

from incentives.experiments.assignment import is_held_out
from incentives.models import Experiment, Exposure, Outcome
from moderation.models import Author, Post


@dataclass(frozen=True, slots=True)
class Arm:
    """Where an author stands in the experiment that runs."""

    experiment_id: str
    is_holdout: bool


def arm_of(author: Author, now: datetime) -> Arm | None:
    """Return the author's arm, and note that the author takes part from now on; None when no experiment runs.

    Call it before looking at the verdict: who is exposed must not depend on what was seen. A platform's own experiment
    comes before one for everybody.
    """
    known = Exposure.objects.filter(experiment=OuterRef("pk"), author=author).values("arm")
    running = Experiment.objects.filter(
        Q(platform_id=author.platform_id) | Q(platform=None), status=Experiment.Status.RUNNING
    )
    found = (
        running.order_by(F("platform_id").asc(nulls_last=True))
        .values_list("pk", "salt", "holdout_percent", Subquery(known))
        .first()
    )
    if found is None:
        return None
    experiment_id, salt, percent, arm = found
    if arm is not None:
        return Arm(experiment_id, arm == Exposure.Arm.HOLDOUT)
    is_holdout = is_held_out(salt, author.platform_id, author.external_id, percent)
    exposure = Exposure(
        experiment_id=experiment_id,
        author=author,
        arm=Exposure.Arm.HOLDOUT if is_holdout else Exposure.Arm.TREATMENT,
        exposed_at=now,
    )
    Exposure.objects.bulk_create([exposure], ignore_conflicts=True)  # another may have: the arm is the same
    return Arm(experiment_id, is_holdout)


def note(arm: Arm, author: Author, post: Post, kind: Outcome.Kind, now: datetime) -> None:
    """Note what became of a post, once; of a post from before the experiment nothing is noted.

    A post takes part by its first verdict (`Outcome.Kind.POST`): note that before the others.
    """
    if kind == Outcome.Kind.POST or _takes_part(arm.experiment_id, post):
        _add(arm.experiment_id, author.pk, post.pk, kind, now)


def note_appeal(post: Post, now: datetime) -> None:
    """Note that an appeal was opened about a post that takes part, also when the experiment has ended since."""
    for experiment_id in Outcome.objects.filter(post=post, kind=Outcome.Kind.POST).values_list("experiment", flat=True):
        _add(experiment_id, post.author_id, post.pk, Outcome.Kind.APPEAL, now)


def _takes_part(experiment_id: str, post: Post) -> bool:
    return Outcome.objects.filter(experiment=experiment_id, kind=Outcome.Kind.POST, post=post).exists()


def _add(experiment_id: str, author_id: int, post_id: str, kind: Outcome.Kind, now: datetime) -> None:
    outcome = Outcome(experiment_id=experiment_id, author_id=author_id, post_id=post_id, kind=kind, at=now)
    Outcome.objects.bulk_create([outcome], ignore_conflicts=True)
