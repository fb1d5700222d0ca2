"""The experiment that tells whether badges and boosts do anything."""

import pgtrigger
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from incentives.models.ids import new_experiment_id
from mask_social import clock
from moderation.models import Author, IdField, Platform, Post


class Experiment(models.Model):
    """A share of the authors goes without boost and badge, so that the others can be compared with them."""

    class Status(models.TextChoices):
        DRAFT = "draft", "draft"
        RUNNING = "running", "running"
        ENDED = "ended", "ended"

    id = IdField(default=new_experiment_id)
    # None: the authors of every platform.
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, null=True, blank=True, related_name="experiments")
    name = models.CharField(max_length=200)
    # What keeps the arms of two experiments apart.
    salt = models.CharField(max_length=64, editable=False)
    holdout_percent = models.FloatField(validators=[MinValueValidator(0.01), MaxValueValidator(50)])
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DRAFT, editable=False)
    starts_at = models.DateTimeField(null=True, blank=True, editable=False)
    ends_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="experiment_holds_out_at_most_half",
                condition=Q(holdout_percent__gt=0, holdout_percent__lte=50),
            ),
            models.UniqueConstraint(
                name="one_experiment_at_a_time",
                fields=["platform"],
                condition=Q(status="running"),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="experiment_times_fit_its_status",
                condition=Q(status="draft", starts_at__isnull=True, ends_at__isnull=True)
                | Q(status="running", starts_at__isnull=False, ends_at__isnull=True)
                | Q(status="ended", starts_at__isnull=False, ends_at__gte=F("starts_at")),
            ),
            models.CheckConstraint(name="experiment_has_a_salt", condition=~Q(salt="")),
        ]
        triggers = [
            pgtrigger.FSM(
                name="experiment_runs_once",
                field="status",
                transitions=[("draft", "running"), ("running", "ended")],
            ),
            pgtrigger.Protect(
                name="experiment_keeps_its_arms",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__status__in=["running", "ended"])
                & (
                    pgtrigger.Q(old__salt__df=pgtrigger.F("new__salt"))
                    | pgtrigger.Q(old__holdout_percent__df=pgtrigger.F("new__holdout_percent"))
                    | pgtrigger.Q(old__platform__df=pgtrigger.F("new__platform"))
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Exposure(models.Model):
    """That an author took part from then on, and in which arm; added, never changed."""

    class Arm(models.TextChoices):
        TREATMENT = "treatment", "gets badges and boosts"
        HOLDOUT = "holdout", "goes without"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="exposures")
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="exposures")
    arm = models.CharField(max_length=16, choices=Arm.choices)
    exposed_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="exposed_once", fields=["experiment", "author"]),
        ]
        triggers = [pgtrigger.Protect(name="exposure_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.author} in {self.arm}"


class Outcome(models.Model):
    """What an exposed author did, or caused; added, never changed."""

    class Kind(models.TextChoices):
        POST = "post", "a post was judged"
        MASKED_POST = "masked_post", "a post counted"
        APPEAL = "appeal", "an appeal was opened"
        REVIEW = "review", "a post wanted a reviewer"

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="outcomes")
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        indexes = [models.Index(name="outcome_by_author", fields=["experiment", "kind", "author"], include=["post"])]
        constraints = [models.UniqueConstraint(name="outcome_once", fields=["experiment", "kind", "post"])]
        triggers = [pgtrigger.Protect(name="outcome_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.kind} of {self.author}"


class ExperimentSums(models.Model):
    """What the arms did, as it was last added up: with a million posts that takes longer than a page may."""

    experiment = models.OneToOneField(Experiment, on_delete=models.CASCADE, primary_key=True, related_name="sums")
    added_up_at = models.DateTimeField()
    # experiments.tally.Tallies
    data = models.JSONField()

    class Meta:
        verbose_name_plural = "experiment sums"

    def __str__(self) -> str:
        return f"sums of {self.experiment_id} at {self.added_up_at:%Y-%m-%d %H:%M}"
