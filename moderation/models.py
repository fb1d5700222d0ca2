"""Who posts what, what was seen on it, and what was decided."""

from typing import Any

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from mask_social.ids import ID_LENGTH, new_id
from moderation.time_zones import validate_time_zone


def new_platform_id() -> str:
    return new_id("plt")


def new_post_id() -> str:
    return new_id("post")


def new_photo_id() -> str:
    return new_id("pho")


def new_verdict_id() -> str:
    return new_id("ver")


def new_appeal_id() -> str:
    return new_id("apl")


class IdField(models.CharField[str, str]):
    """A public id as primary key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"max_length": ID_LENGTH, "primary_key": True, "editable": False}
        super().__init__(*args, **kwargs)


class Platform(models.Model):
    """A site that sends us its posts."""

    id = IdField(default=new_platform_id)
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A bearer key of a platform; only its SHA-256 is kept, which is enough for 256 random bits."""

    class Scope(models.TextChoices):
        POSTS_WRITE = "posts:write", "send and withdraw posts"
        POSTS_READ = "posts:read", "read posts and authors"
        FEED_RANK = "feed:rank", "rank a feed"
        EVENTS_READ = "events:read", "read events"
        WEBHOOKS_MANAGE = "webhooks:manage", "manage webhook endpoints"
        CAMPAIGNS_READ = "campaigns:read", "read campaigns"

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    # The first characters, so that people can tell keys apart.
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, editable=False, unique=True)
    scopes = ArrayField(models.CharField(max_length=32, choices=Scope.choices))
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.CheckConstraint(name="api_key_has_a_scope", condition=Q(scopes__len__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class IdempotencyKey(models.Model):
    """A request that must happen once: its fingerprint, and its answer when there is one."""

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    # While the request runs; once it is over, a crashed one may be tried again.
    locked_until = models.DateTimeField()
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    response_body = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        # read by the sweep that forgets old ones
        indexes = [models.Index(name="idempotency_key_by_age", fields=["created_at"])]
        constraints = [
            models.UniqueConstraint(name="idempotency_key_once_per_platform", fields=["platform", "key"]),
            models.CheckConstraint(
                name="idempotency_answer_is_whole",
                condition=Q(response_status__isnull=True, response_body__isnull=True)
                | Q(response_status__isnull=False, response_body__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.key


class Author(models.Model):
    """A platform's user, known to us by the platform's own id alone."""

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="authors")
    external_id = models.CharField(max_length=128)
    # Both as the platform says with a post. Days are counted in the author's own time zone.
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    registered_at = models.DateTimeField(null=True, blank=True, help_text="when the account was made on the platform")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="author_once_per_platform", fields=["platform", "external_id"]),
            models.CheckConstraint(name="author_has_an_external_id", condition=~Q(external_id="")),
        ]

    def __str__(self) -> str:
        return self.external_id


class Policy(models.Model):
    """How faces become a verdict; a version is never edited, a new one is added."""

    class Rule(models.TextChoices):
        ALL = "all", "every face that counts wears a mask"
        ANY = "any", "at least one does"
        MAJORITY = "majority", "more than half do"

    # None: for every platform without a policy of its own.
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, null=True, blank=True, related_name="policies")
    version = models.PositiveIntegerField()
    rule = models.CharField(max_length=16, choices=Rule.choices, default=Rule.ALL)
    # Below this a find may be an elbow or a coat: it neither earns nor costs a verdict. Both chosen on training scenes.
    min_face_score = models.FloatField(default=0.85)
    # A face counts when its short side is at least this share of the largest face's.
    min_face_ratio = models.FloatField(default=0.4)
    # Masked is worth money: on held-out training faces 0.8 lets one badly worn mask in forty pass, 0.7 one in fifteen.
    # From `sure` up a face is in the state; below `likely` it is not; between them it is uncertain.
    mask_sure = models.FloatField(default=0.8)
    mask_likely = models.FloatField(default=0.3)
    no_mask_sure = models.FloatField(default=0.6)
    no_mask_likely = models.FloatField(default=0.3)
    incorrect_sure = models.FloatField(default=0.6)
    incorrect_likely = models.FloatField(default=0.3)
    occluded_sure = models.FloatField(default=0.6)
    occluded_likely = models.FloatField(default=0.3)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "policies"
        ordering = ("-version",)
        constraints = [
            models.UniqueConstraint(name="policy_version_once", fields=["platform", "version"], nulls_distinct=False),
            models.CheckConstraint(
                name="policy_thresholds_in_order",
                condition=Q(
                    *(
                        Q(
                            **{
                                f"{state}_likely__gte": 0,
                                f"{state}_likely__lte": F(f"{state}_sure"),
                                f"{state}_sure__lte": 1,
                            }
                        )
                        for state in ("mask", "no_mask", "incorrect", "occluded")
                    )
                ),
            ),
            models.CheckConstraint(
                name="policy_shares_between_0_and_1",
                condition=Q(min_face_ratio__range=(0, 1), min_face_score__range=(0, 1)),
            ),
        ]
        triggers = [pgtrigger.Protect(name="policy_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"policy {self.version}" + (f" of {self.platform}" if self.platform else "")


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
    # When the request arrived; `created_at` less this is the upload stage.
    received_at = models.DateTimeField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
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
    requeue_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(default=timezone.now)
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
    created_at = models.DateTimeField(default=timezone.now, editable=False)

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
    created_at = models.DateTimeField(default=timezone.now, editable=False)
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
    created_at = models.DateTimeField(default=timezone.now, editable=False)
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
