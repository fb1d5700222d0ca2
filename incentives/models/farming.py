"""Which masked posts count for their authors, and what speaks against the others."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from mask_social import clock
from moderation import similarity
from moderation.models import Author, Photo, Platform, Post, Verdict


class EarningRules(models.Model):
    """What a masked post must be to earn anything, beyond being masked."""

    # None: for every platform without rules of its own.
    platform = models.OneToOneField(
        Platform, on_delete=models.CASCADE, null=True, blank=True, related_name="earning_rules"
    )
    judges_duplicates = models.BooleanField(default=True, help_text="near-duplicates of earlier photos earn nothing")
    cooldown_seconds = models.PositiveIntegerField(
        default=0, help_text="between two posts of an author that count; 0: none"
    )
    posts_per_day = models.PositiveIntegerField(
        null=True,
        blank=True,
        default=20,
        validators=[MinValueValidator(1)],
        help_text="posts of an author that count in a day of the author's; empty: no limit",
    )
    min_account_age_days = models.PositiveIntegerField(
        default=0, help_text="where the platform tells the account's age; 0: any"
    )
    velocity_posts = models.PositiveIntegerField(
        default=10,
        validators=[MinValueValidator(2)],
        help_text="so many posts of an author within the time below are flagged",
    )
    velocity_seconds = models.PositiveIntegerField(default=600, validators=[MinValueValidator(1)])
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "earning rules"
        constraints = [
            models.UniqueConstraint(name="earning_rules_once", fields=["platform"], nulls_distinct=False),
            models.CheckConstraint(
                name="earning_rules_make_sense",
                condition=(Q(posts_per_day__isnull=True) | Q(posts_per_day__gte=1))
                & Q(velocity_posts__gte=2, velocity_seconds__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"earning rules of {self.platform}" if self.platform else "earning rules for everybody"


class Claim(models.Model):
    """Whether a post may count, judged once, when it was first found masked: later verdicts do not ask again."""

    class Ruling(models.TextChoices):
        COUNTS = "counts", "counts"
        NEAR_DUPLICATE = "near_duplicate", "near-duplicate of an earlier photo"
        COOLDOWN = "cooldown", "too soon after the last"
        DAILY_LIMIT = "daily_limit", "over the day's limit"
        ACCOUNT_TOO_YOUNG = "account_too_young", "account too young"

    post = models.OneToOneField(Post, on_delete=models.CASCADE, primary_key=True, related_name="claim")
    ruling = models.CharField(max_length=20, choices=Ruling.choices)
    # Of a near-duplicate: its photo, the earlier one, and in how many of 256 bits they differ.
    photo = models.ForeignKey(Photo, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    earlier = models.ForeignKey(Photo, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    distance = models.PositiveSmallIntegerField(null=True, blank=True)
    decided_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name, verbose_name_plural = "near-duplicate or refusal", "near-duplicates and refusals"
        ordering = ("-decided_at",)
        indexes = [
            # the page of pairs
            models.Index(name="claim_refused", fields=["ruling", "-decided_at"], condition=~Q(ruling="counts")),
        ]
        constraints = [
            models.CheckConstraint(
                name="claim_near_duplicate_says_of_what",
                condition=Q(ruling="near_duplicate", distance__isnull=False, photo__isnull=False)
                | (~Q(ruling="near_duplicate") & Q(distance__isnull=True, photo__isnull=True, earlier__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.post_id}: {self.ruling}"


class Fingerprint(models.Model):
    """A photo of a post that counts, which later ones are compared with; gone when its post gives back all."""

    photo = models.OneToOneField(Photo, on_delete=models.CASCADE, primary_key=True, related_name="fingerprint")
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="+")
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="fingerprints")
    pdq = models.BinaryField(max_length=32)
    # similarity.keys_of(pdq)
    keys = ArrayField(models.IntegerField())
    registered_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        indexes = similarity.indexes("fingerprint_by_key")
        constraints = [
            models.CheckConstraint(name="fingerprint_has_every_key", condition=Q(keys__len=similarity.KEYS)),
        ]

    def __str__(self) -> str:
        return f"fingerprint of {self.photo_id}"


class CountedPost(models.Model):
    """A post that counts for its author now: masked by its last verdict, not withdrawn, and not farmed."""

    # It goes on counting when its post is erased, which badges outlive: hence no key that would take it along.
    post = models.OneToOneField(
        Post, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="counted"
    )
    # None: the post is erased.
    verdict = models.ForeignKey(Verdict, on_delete=models.SET_NULL, null=True, related_name="+")
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="counted_posts")
    # In the author's time zone, when the post was made.
    day = models.DateField()
    region = models.CharField(max_length=6, blank=True)
    created_at = models.DateTimeField(help_text="when the post was made")

    class Meta:
        indexes = [
            models.Index(name="counted_by_author", fields=["author", "day"], include=["region", "created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.post_id} counts"


class Flag(models.Model):
    """Something about an author that staff should look at."""

    class Kind(models.TextChoices):
        VELOCITY = "velocity", "many posts in a short time"
        DUPLICATES = "duplicates", "several near-duplicates"

    class Status(models.TextChoices):
        OPEN = "open", "to be looked at"
        DISMISSED = "dismissed", "nothing wrong"
        CONFIRMED = "confirmed", "farming"

    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="flags")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # One a day at most: the count goes on in it.
    day = models.DateField()
    count = models.PositiveIntegerField(default=1)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="+", help_text="the latest of them")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    note = models.TextField(blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(name="flag_once_a_day", fields=["author", "kind", "day"]),
            models.CheckConstraint(
                name="flag_decided_is_whole",
                condition=Q(status="open", decided_at__isnull=True) | (~Q(status="open") & Q(decided_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.author}"
