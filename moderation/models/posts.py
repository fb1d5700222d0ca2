"""What was posted."""

from django.db import models
from django.db.models import Q

from mask_social import clock
from moderation.models.ids import IdField, new_photo_id, new_post_id
from moderation.models.platforms import Author, Platform


class Post(models.Model):
    """One to ten photos that an author published together."""

    class Status(models.TextChoices):
        PENDING = "pending", "waiting for its photos to be analyzed"
        ANALYZED = "analyzed", "a verdict was reached"
        FAILED = "failed", "a photo could not be analyzed"
        WITHDRAWN = "withdrawn", "taken back by the platform"

    id = IdField(default=new_post_id)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="posts")
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="posts")
    caption = models.TextField(blank=True, max_length=2200)
    # ISO 3166-1 alpha-2, or 3166-2 for a part of a country.
    region = models.CharField(max_length=6, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    # The outcome of the verdict that holds, so that lists need not look for it; written with the verdict alone.
    outcome = models.CharField(max_length=16, blank=True, editable=False)
    # Of the request that brought it: its logs, messages and webhooks all bear it.
    request_id = models.CharField(max_length=64, blank=True, editable=False)
    # How many events tell of it; the outbox numbers them.
    event_sequence = models.PositiveIntegerField(default=0, editable=False)
    # When the request arrived; `created_at` less this is the upload stage.
    received_at = models.DateTimeField(default=clock.now, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    completed_at = models.DateTimeField(null=True, blank=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-id",)
        indexes = [
            # the admin's work list and the platform's own listing
            models.Index(name="post_by_platform", fields=["platform", "-id"]),
            models.Index(name="post_by_author", fields=["author", "-id"]),
            # the sweep for withdrawn posts that still have what they earned
            models.Index(name="post_withdrawn", fields=["id"], condition=Q(status="withdrawn")),
            # the admin's filter by verdict, and the reviewers' queue
            models.Index(name="post_by_outcome", fields=["outcome", "-id"]),
            # the admin's filter by status: nearly all are analyzed
            models.Index(name="post_not_analyzed", fields=["status", "-id"], condition=~Q(status="analyzed")),
            # the daily figures
            models.Index(name="post_by_age", fields=["created_at"]),
            models.Index(name="post_by_withdrawal", fields=["withdrawn_at"], condition=Q(withdrawn_at__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="post_withdrawn_says_when",
                condition=Q(status="withdrawn", withdrawn_at__isnull=False)
                | (~Q(status="withdrawn") & Q(withdrawn_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="post_completed_unless_pending",
                condition=Q(status="pending", completed_at__isnull=True)
                | (~Q(status="pending") & Q(completed_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.id


class Photo(models.Model):
    """A stored photo: upright, re-encoded as JPEG, free of metadata."""

    id = IdField(default=new_photo_id)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="photos")
    position = models.PositiveSmallIntegerField()
    file = models.FileField(max_length=200)
    # SHA-256 of the stored file.
    digest = models.CharField(max_length=64)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    size = models.PositiveIntegerField(help_text="bytes of the stored file")
    original_format = models.CharField(max_length=8)
    source_url = models.URLField(max_length=2000, blank=True)
    # PDQ: what near-duplicates have in common, and how much of a picture there is to tell by (0 to 100).
    pdq = models.BinaryField(max_length=32, null=True, blank=True, editable=False)
    pdq_quality = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("post", "position")
        constraints = [
            models.UniqueConstraint(name="photo_once_per_position", fields=["post", "position"]),
            models.CheckConstraint(name="photo_position_below_10", condition=Q(position__lt=10)),
            models.CheckConstraint(name="photo_has_pixels", condition=Q(width__gt=0, height__gt=0)),
            models.CheckConstraint(
                name="photo_fingerprint_is_whole",
                condition=Q(pdq__isnull=True, pdq_quality__isnull=True)
                | Q(pdq__isnull=False, pdq_quality__range=(0, 100)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.post_id}/{self.position}"
