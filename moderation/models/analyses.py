"""What was seen on a photo."""

from django.db import models
from django.db.models import F, Q

from mask_social import clock
from moderation.models.posts import Photo


class Analysis(models.Model):
    """The work of looking at one photo; a worker holds it by a lease and a token."""

    class Status(models.TextChoices):
        PENDING = "pending", "waiting for a worker"
        RUNNING = "running", "claimed by a worker"
        DONE = "done", "faces are known"
        FAILED = "failed", "given up"

    photo = models.OneToOneField(Photo, on_delete=models.CASCADE, primary_key=True, related_name="analysis")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    # Who holds the claim: a worker that lost its lease cannot finish in another's name.
    token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    # When the sweep looks again at one that nobody claimed: its message may have been lost.
    requeue_at = models.DateTimeField(default=clock.now)
    queued_at = models.DateTimeField(default=clock.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    decode_ms = models.FloatField(null=True, blank=True)
    detect_ms = models.FloatField(null=True, blank=True)
    classify_ms = models.FloatField(null=True, blank=True)
    detector_digest = models.CharField(max_length=64, blank=True)
    classifier_digest = models.CharField(max_length=64, blank=True)
    failure_code = models.CharField(max_length=40, blank=True)
    failure_detail = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "analyses"
        indexes = [
            # read by the sweep alone
            models.Index(
                name="analysis_unfinished",
                fields=["requeue_at"],
                condition=Q(status__in=["pending", "running"]),
            ),
            # how many photos wait, and for how long: posts are refused by it
            models.Index(name="analysis_waiting", fields=["queued_at"], condition=Q(status="pending")),
            # the admin's filters for what was given up
            models.Index(name="analysis_failed", fields=["failure_code", "-photo"], condition=Q(status="failed")),
        ]
        constraints = [
            models.CheckConstraint(
                name="analysis_lease_while_running",
                condition=Q(status="running", lease_expires_at__isnull=False, token__isnull=False)
                | (~Q(status="running") & Q(lease_expires_at__isnull=True, token__isnull=True)),
            ),
            models.CheckConstraint(
                name="analysis_done_is_whole",
                condition=~Q(status="done")
                | (Q(finished_at__isnull=False) & ~Q(detector_digest="") & ~Q(classifier_digest="")),
            ),
            models.CheckConstraint(
                name="analysis_failed_says_why",
                condition=~Q(status="failed") | (Q(finished_at__isnull=False) & ~Q(failure_code="")),
            ),
        ]

    def __str__(self) -> str:
        return f"analysis of {self.photo_id}"


class Face(models.Model):
    """A face on a photo: where it is and what covers it; nothing that tells whose it is."""

    analysis = models.ForeignKey(Analysis, on_delete=models.CASCADE, related_name="faces")
    position = models.PositiveSmallIntegerField()
    # Pixels of the stored photo.
    x1 = models.FloatField()
    y1 = models.FloatField()
    x2 = models.FloatField()
    y2 = models.FloatField()
    score = models.FloatField()
    mask = models.FloatField()
    no_mask = models.FloatField()
    incorrect = models.FloatField()
    occluded = models.FloatField()

    class Meta:
        ordering = ("analysis", "position")
        constraints = [
            models.UniqueConstraint(name="face_once_per_position", fields=["analysis", "position"]),
            models.CheckConstraint(name="face_box_has_area", condition=Q(x2__gt=F("x1"), y2__gt=F("y1"))),
            models.CheckConstraint(
                name="face_values_between_0_and_1",
                condition=Q(
                    *(Q(**{f"{name}__range": (0, 1)}) for name in ("score", "mask", "no_mask", "incorrect", "occluded"))
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"face {self.position} of {self.analysis_id}"
