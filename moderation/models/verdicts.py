"""What was decided, and who doubts it."""

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from mask_social import clock
from mask_social.ids import ID_LENGTH
from moderation.models.ids import IdField, new_appeal_id, new_verdict_id
from moderation.models.platforms import Platform
from moderation.models.policies import Policy
from moderation.models.posts import Post


class Verdict(models.Model):
    """What was decided about a post; a later one supersedes it, none is edited."""

    class Outcome(models.TextChoices):
        MASKED = "masked", "masked"
        UNMASKED = "unmasked", "unmasked"
        INCORRECT = "incorrect", "worn incorrectly"
        PARTLY_MASKED = "partly_masked", "partly masked"
        NO_FACE = "no_face", "no face"
        UNCERTAIN = "uncertain", "uncertain"

    class Source(models.TextChoices):
        MODEL = "model", "model"
        REVIEWER = "reviewer", "reviewer"
        APPEAL = "appeal", "appeal"
        REEVALUATION = "reevaluation", "re-evaluation"

    id = IdField(default=new_verdict_id)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="verdicts")
    sequence = models.PositiveIntegerField()
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    source = models.CharField(max_length=16, choices=Source.choices)
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="verdicts")
    detector_digest = models.CharField(max_length=64)
    classifier_digest = models.CharField(max_length=64)
    photo_digests = ArrayField(models.CharField(max_length=64))
    # Who of the staff decided, and why; the model and a policy decide without.
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="verdicts"
    )
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("post", "-sequence")
        indexes = [
            # the daily figures
            models.Index(name="verdict_by_age", fields=["created_at"]),
            # the admin's filter by source: among the model's those of people are few
            models.Index(name="verdict_not_of_model", fields=["source", "-id"], condition=~Q(source="model")),
        ]
        constraints = [
            # also what makes a second "first verdict" of the model a no-op
            models.UniqueConstraint(name="verdict_once_per_sequence", fields=["post", "sequence"]),
            models.CheckConstraint(name="verdict_sequence_from_1", condition=Q(sequence__gte=1)),
            models.CheckConstraint(
                name="verdict_of_staff_says_who_and_why",
                condition=~Q(source__in=["reviewer", "appeal"]) | (Q(decided_by__isnull=False) & ~Q(reason="")),
            ),
        ]
        triggers = [pgtrigger.Protect(name="verdict_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.outcome} ({self.post_id})"


class Appeal(models.Model):
    """An author's word, brought by the platform, that a verdict is wrong; staff decide."""

    class Status(models.TextChoices):
        OPEN = "open", "waiting for a decision"
        UPHELD = "upheld", "the verdict was changed"
        DISMISSED = "dismissed", "the verdict stands"

    id = IdField(default=new_appeal_id)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="appeals")
    # The verdict that is doubted, and the one that came of it.
    against = models.ForeignKey(Verdict, on_delete=models.CASCADE, related_name="appeals")
    verdict = models.OneToOneField(
        Verdict, on_delete=models.CASCADE, null=True, blank=True, related_name="decided_appeal"
    )
    statement = models.TextField(max_length=2000)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="appeals"
    )
    answer = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(name="appeal_once_per_verdict", fields=["against"]),
            models.CheckConstraint(
                name="appeal_decided_is_whole",
                condition=Q(status="open", decided_at__isnull=True, decided_by__isnull=True, verdict__isnull=True)
                | (~Q(status="open") & Q(decided_at__isnull=False, decided_by__isnull=False) & ~Q(answer="")),
            ),
        ]
        triggers = [
            pgtrigger.FSM(
                name="appeal_is_decided_once",
                field="status",
                transitions=[("open", "upheld"), ("open", "dismissed")],
            )
        ]

    def __str__(self) -> str:
        return self.id


class Reevaluation(models.Model):
    """The work of judging stored faces anew by the policies of today; a worker takes it on in batches."""

    class Status(models.TextChoices):
        PENDING = "pending", "under way"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    # None: the posts of every platform.
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, null=True, blank=True)
    reason = models.TextField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    # The last post that was judged; work goes on behind it.
    cursor = models.CharField(max_length=ID_LENGTH, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reevaluations")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "re-evaluation"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="reevaluation_finished_says_when",
                condition=Q(status="pending", finished_at__isnull=True)
                | (~Q(status="pending") & Q(finished_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"re-evaluation {self.pk}"
