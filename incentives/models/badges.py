"""Badges: their rules, who holds them, and all that became of each."""

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from incentives.models.ids import new_award_id
from mask_social import clock
from mask_social.ids import ID_LENGTH
from moderation.models import Author, Verdict


class BadgeRule(models.Model):
    """When an author earns a badge."""

    class Kind(models.TextChoices):
        MASKED_POSTS = "masked_posts", "number of masked posts"
        DISTINCT_DAYS = "distinct_days", "number of distinct days with a masked post"
        STREAK = "streak", "days in a row with a masked post"

    class Symbol(models.TextChoices):
        MASK = "mask", "mask"
        STAR = "star", "star"
        HEART = "heart", "heart"
        LEAF = "leaf", "leaf"
        GLOBE = "globe", "globe"

    code = models.SlugField(primary_key=True)
    title = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    threshold = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    grace_days = models.PositiveSmallIntegerField(
        default=0, help_text="of a streak: so many days may be missed between two of it"
    )
    regions = ArrayField(
        models.CharField(max_length=6),
        default=list,
        blank=True,
        help_text="ISO 3166 codes; a country stands for its parts too; empty: everywhere",
    )
    starts_at = models.DateTimeField(null=True, blank=True, help_text="posts from then on count; empty: all")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="posts before then count; empty: all")
    series = models.SlugField(blank=True, help_text="rules of one series are levels of one badge")
    level = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(5)])
    symbol = models.CharField(max_length=16, choices=Symbol.choices, default=Symbol.MASK)
    valid_days = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="empty: for good"
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("series", "level", "threshold", "code")
        constraints = [
            models.CheckConstraint(name="badge_rule_needs_something", condition=Q(threshold__gte=1)),
            models.CheckConstraint(name="badge_rule_level_from_1_to_5", condition=Q(level__range=(1, 5))),
            models.CheckConstraint(
                name="badge_rule_valid_for_a_day_or_more", condition=Q(valid_days__isnull=True) | Q(valid_days__gte=1)
            ),
            models.CheckConstraint(
                name="badge_rule_ends_after_it_starts",
                condition=Q(starts_at__isnull=True) | Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
            ),
            models.UniqueConstraint(
                name="badge_level_once_in_a_series", fields=["series", "level"], condition=~Q(series="")
            ),
        ]

    def __str__(self) -> str:
        return self.title


class BadgeAward(models.Model):
    """A badge that an author holds or held."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        SUSPENDED = "suspended", "suspended"
        REVOKED = "revoked", "revoked"
        EXPIRED = "expired", "expired"

    # What the public page goes by: nobody guesses it.
    public_id = models.CharField(max_length=ID_LENGTH, unique=True, default=new_award_id, editable=False)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="badge_awards")
    rule = models.ForeignKey(BadgeRule, on_delete=models.PROTECT, related_name="awards")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    # Staff gave, suspended, revoked or reinstated it by hand: counting anew leaves it alone.
    by_staff = models.BooleanField(default=False)
    # The verdict that tipped the scale; when it is overturned and the badge still stands, one that still counts. None:
    # given by staff, or its post is erased, which the award outlives.
    verdict = models.ForeignKey(Verdict, on_delete=models.SET_NULL, null=True, blank=True, related_name="badge_awards")
    # badges.Evidence: what was measured, against which threshold, on which posts.
    evidence = models.JSONField()
    awarded_at = models.DateTimeField(default=clock.now)
    changed_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    # When it ran out last: only posts from then on earn it again.
    counts_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-awarded_at",)
        indexes = [
            # the task that lets them expire
            models.Index(name="award_to_expire", fields=["expires_at"], condition=Q(status="active")),
            # holders of a badge, and its growth
            models.Index(name="award_by_rule", fields=["rule", "status", "awarded_at"]),
        ]
        constraints = [
            models.UniqueConstraint(name="badge_once_per_author", fields=["author", "rule"]),
            models.CheckConstraint(
                name="award_expires_after_it_is_given",
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("awarded_at")),
            ),
        ]
        triggers = [
            # Erasing an author takes the awards along; that path says pgtrigger.ignore().
            pgtrigger.Protect(name="badge_award_is_never_deleted", operation=pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} of {self.author}"


class BadgeChange(models.Model):
    """One step of an award's history: added, never changed."""

    award = models.ForeignKey(BadgeAward, on_delete=models.CASCADE, related_name="changes")
    status = models.CharField(max_length=16, choices=BadgeAward.Status.choices)
    # None: the rules did it.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reason = models.TextField()
    causation_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("id",)
        # the daily figures
        indexes = [models.Index(name="badge_change_by_age", fields=["created_at"])]
        constraints = [models.CheckConstraint(name="badge_change_says_why", condition=~Q(reason=""))]
        triggers = [pgtrigger.Protect(name="badge_change_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.award_id} {self.status}"


class BadgeBackfill(models.Model):
    """The work of measuring every author by a rule; a worker takes it on in batches."""

    class Status(models.TextChoices):
        PENDING = "pending", "under way"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    rule = models.ForeignKey(BadgeRule, on_delete=models.CASCADE, related_name="backfills")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    gained = models.PositiveIntegerField(default=0)
    lost = models.PositiveIntegerField(default=0)
    # The last author measured; work goes on behind.
    cursor = models.BigIntegerField(default=0)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    # Until when a worker has it; no two claims have the same lease, so it also tells whose claim it is.
    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                name="one_backfill_of_a_rule_at_a_time", fields=["rule"], condition=Q(status="pending")
            ),
            models.CheckConstraint(
                name="backfill_finished_says_when",
                condition=Q(status="pending", finished_at__isnull=True)
                | (~Q(status="pending") & Q(finished_at__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"backfill of {self.rule_id}"
