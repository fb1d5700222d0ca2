"""What a verdict earns, where the money stands, and who is told."""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Func, Q
from django.utils import timezone

from mask_social.ids import ID_LENGTH, new_id
from moderation.models import Author, IdField, Platform, Post, Verdict


def new_campaign_id() -> str:
    return new_id("cmp")


def new_match_id() -> str:
    return new_id("mat")


def new_event_id() -> str:
    return new_id("evt")


def new_endpoint_id() -> str:
    return new_id("whe")


def new_delivery_id() -> str:
    return new_id("dlv")


class RewardApplication(models.Model):
    """That a verdict was turned into rewards: its key makes the second try a no-op."""

    verdict = models.OneToOneField(
        Verdict, on_delete=models.CASCADE, primary_key=True, related_name="reward_application"
    )
    applied_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"rewards of {self.verdict_id}"


class BadgeRule(models.Model):
    """When an author earns a badge."""

    class Kind(models.TextChoices):
        MASKED_POSTS = "masked_posts", "number of masked posts"
        DISTINCT_DAYS = "distinct_days", "number of distinct days with a masked post"

    code = models.SlugField(primary_key=True)
    title = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    threshold = models.PositiveIntegerField(validators=[MinValueValidator(1)])
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("threshold", "code")
        constraints = [models.CheckConstraint(name="badge_rule_needs_something", condition=Q(threshold__gte=1))]

    def __str__(self) -> str:
        return self.title


class BadgeAward(models.Model):
    """A badge that an author holds or held."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        SUSPENDED = "suspended", "suspended"
        REVOKED = "revoked", "revoked"

    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="badge_awards")
    rule = models.ForeignKey(BadgeRule, on_delete=models.PROTECT, related_name="awards")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    # The verdict that tipped the scale; when it is overturned and the badge still stands, one that still counts.
    verdict = models.ForeignKey(Verdict, on_delete=models.CASCADE, related_name="badge_awards")
    # badges.Evidence: what was measured, against which threshold, on which posts.
    evidence = models.JSONField()
    awarded_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-awarded_at",)
        constraints = [models.UniqueConstraint(name="badge_once_per_author", fields=["author", "rule"])]
        triggers = [
            # Erasing an author takes the awards along; that path says pgtrigger.ignore().
            pgtrigger.Protect(name="badge_award_is_never_deleted", operation=pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} of {self.author}"


class Boost(models.Model):
    """A lease on a factor in the feed, which fades by half every half-life."""

    verdict = models.OneToOneField(Verdict, on_delete=models.CASCADE, primary_key=True, related_name="boost")
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="boosts")
    factor = models.FloatField()
    half_life_seconds = models.PositiveIntegerField()
    cap = models.FloatField()
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="boost_once_per_post", fields=["post"], condition=Q(revoked_at__isnull=True)),
            models.CheckConstraint(name="boost_factor_from_1_to_cap", condition=Q(factor__gte=1, factor__lte=F("cap"))),
            models.CheckConstraint(
                name="boost_ends_after_it_starts",
                condition=Q(ends_at__gt=F("starts_at"), half_life_seconds__gt=0),
            ),
        ]

    def __str__(self) -> str:
        return f"×{self.factor} for {self.post_id}"


class Campaign(models.Model):
    """A sponsor's promise: so much for each masked post, up to a budget."""

    class Status(models.TextChoices):
        DRAFT = "draft", "draft"
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"
        ENDED = "ended", "ended"

    id = IdField(default=new_campaign_id)
    # None: for the posts of every platform.
    platform = models.ForeignKey(Platform, on_delete=models.PROTECT, null=True, blank=True)
    name = models.CharField(max_length=200)
    sponsor = models.CharField(max_length=200)
    cause = models.CharField(max_length=200)
    currency = models.CharField(
        max_length=3, validators=[RegexValidator(r"^[A-Z]{3}$", "Use an ISO 4217 code such as EUR.")]
    )
    budget_minor = models.PositiveBigIntegerField(help_text="in minor units: 100 is one euro")
    # Reserved and settled together; raised by compare-and-set, lowered when a match is voided.
    committed_minor = models.PositiveBigIntegerField(default=0, editable=False)
    amount_minor = models.PositiveIntegerField(help_text="matched for each masked post")
    cap_per_author_per_day = models.PositiveIntegerField(
        null=True, blank=True, help_text="posts of one author matched in a day (UTC); empty: no limit"
    )
    # How long a match stays reserved, so that an overturned verdict can take it back.
    hold_seconds = models.PositiveIntegerField(default=24 * 3600)
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DRAFT)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="campaign_never_promises_more_than_its_budget",
                condition=Q(committed_minor__lte=F("budget_minor")),
            ),
            models.CheckConstraint(name="campaign_amount_above_0", condition=Q(amount_minor__gt=0)),
            models.CheckConstraint(name="campaign_currency_iso_4217", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="campaign_ends_after_it_starts",
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
            ),
        ]
        triggers = [pgtrigger.ReadOnly(name="campaign_keeps_its_currency", fields=["currency"])]

    def __str__(self) -> str:
        return self.name


class Match(models.Model):
    """A sponsor's money promised for one post: reserved, then settled or voided."""

    class Status(models.TextChoices):
        RESERVED = "reserved", "reserved"
        SETTLED = "settled", "settled"
        VOIDED = "voided", "voided"

    id = IdField(default=new_match_id)
    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="matches")
    # The money stays on the books when the author is erased.
    post = models.ForeignKey(Post, on_delete=models.SET_NULL, null=True, related_name="matches")
    author = models.ForeignKey(Author, on_delete=models.SET_NULL, null=True, related_name="matches")
    verdict = models.ForeignKey(Verdict, on_delete=models.SET_NULL, null=True, related_name="matches")
    amount_minor = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RESERVED)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    settle_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "matches"
        ordering = ("-id",)
        indexes = [
            # read by the task that settles
            models.Index(name="match_to_settle", fields=["settle_at"], condition=Q(status="reserved")),
            # read by the cap per author and day
            models.Index(name="match_by_author", fields=["campaign", "author", "created_at"]),
        ]
        constraints = [
            models.UniqueConstraint(name="match_once_per_post", fields=["post"], condition=~Q(status="voided")),
            models.CheckConstraint(name="match_amount_above_0", condition=Q(amount_minor__gt=0)),
            models.CheckConstraint(
                name="match_settles_after_it_is_reserved", condition=Q(settle_at__gte=F("created_at"))
            ),
        ]
        triggers = [
            pgtrigger.FSM(
                name="match_ends_once",
                field="status",
                transitions=[("reserved", "settled"), ("reserved", "voided")],
            ),
            pgtrigger.ReadOnly(name="match_keeps_its_terms", fields=["campaign", "amount_minor", "created_at"]),
            pgtrigger.Protect(name="match_is_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.id


class LedgerEntry(models.Model):
    """One step of a match; the books are these rows, added and never changed."""

    match = models.ForeignKey(Match, on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=16, choices=Match.Status.choices)
    amount_minor = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(name="ledger_step_once", fields=["match", "kind"]),
            models.UniqueConstraint(
                name="ledger_ends_once", fields=["match"], condition=Q(kind__in=["settled", "voided"])
            ),
            models.CheckConstraint(name="ledger_amount_above_0", condition=Q(amount_minor__gt=0)),
        ]
        triggers = [pgtrigger.Protect(name="ledger_is_append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_minor}"


class Event(models.Model):
    """The outbox: what happened, written with the change itself."""

    class Type(models.TextChoices):
        POST_ANALYZED = "post.analyzed", "a verdict was reached"
        POST_FAILED = "post.failed", "a photo could not be analyzed"
        POST_WITHDRAWN = "post.withdrawn", "a post was taken back by its platform"
        BADGE_AWARDED = "badge.awarded", "an author earned a badge"
        BADGE_REVOKED = "badge.revoked", "a badge was taken back"
        BOOST_STARTED = "boost.started", "a post is boosted"
        BOOST_ENDED = "boost.ended", "a boost was taken back"
        DONATION_MATCHED = "donation.matched", "money was reserved for a post"
        DONATION_SETTLED = "donation.settled", "reserved money became due for good"
        DONATION_VOIDED = "donation.voided", "reserved money was released"
        ENDPOINT_TEST = "endpoint.test", "a webhook endpoint is tried out"

    class SubjectType(models.TextChoices):
        POST = "post", "post"
        AUTHOR = "author", "author"
        ENDPOINT = "endpoint", "webhook endpoint"

    # `transaction_id` and `position` order the events as they became visible: a reader that stops below the oldest
    # running transaction misses none. See events.visible().
    position = models.BigAutoField(primary_key=True)
    transaction_id = models.BigIntegerField(
        editable=False,
        db_default=Func(
            Func(function="pg_current_xact_id"),
            template="(%(expressions)s)::text::bigint",
            output_field=models.BigIntegerField(),
        ),
    )
    id = models.CharField(max_length=ID_LENGTH, unique=True, default=new_event_id, editable=False)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=40, choices=Type.choices)
    subject_type = models.CharField(max_length=16, choices=SubjectType.choices)
    # The post's or endpoint's id, or the author's external id.
    subject_id = models.CharField(max_length=128)
    sequence = models.PositiveIntegerField()
    data = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("transaction_id", "position")
        indexes = [
            # GET /api/v1/events
            models.Index(name="event_by_platform", fields=["platform", "transaction_id", "position"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="event_once_per_sequence", fields=["platform", "subject_type", "subject_id", "sequence"]
            ),
            models.CheckConstraint(name="event_sequence_from_1", condition=Q(sequence__gte=1)),
        ]
        triggers = [pgtrigger.Protect(name="event_is_never_edited", operation=pgtrigger.Update)]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class WebhookEndpoint(models.Model):
    """Where a platform wants to hear of events, and the secret that signs them."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        DISABLED = "disabled", "disabled"

    id = IdField(default=new_endpoint_id)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.URLField(max_length=2000)
    # `whsec_…`; signing needs it in clear, so it is shown once and never logged.
    secret = models.CharField(max_length=100, editable=False)
    # Empty: every type.
    event_types = ArrayField(models.CharField(max_length=40, choices=Event.Type.choices), default=list, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="endpoint_secret_can_sign",
                condition=Q(secret__regex=r"^whsec_[A-Za-z0-9+/]{32,}={0,2}$"),  # noqa: S106 - its form, no secret
            ),
        ]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One event on its way to one endpoint."""

    class Status(models.TextChoices):
        PENDING = "pending", "to be sent"
        SENDING = "sending", "claimed by a worker"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "given up"

    id = IdField(default=new_delivery_id)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    # When a pending one is due, or when the lease of one being sent runs out: no two claims have the same lease, so
    # it also tells whose claim it is.
    due_at = models.DateTimeField(default=timezone.now)
    # When the sweep looks at it again: its message may have been lost, or its worker.
    requeue_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        indexes = [
            # read by the sweep alone
            models.Index(
                name="delivery_unfinished", fields=["requeue_at"], condition=Q(status__in=["pending", "sending"])
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="delivery_once_per_endpoint", fields=["event", "endpoint"]),
            models.CheckConstraint(
                name="delivery_time_when_delivered",
                condition=Q(status="delivered", delivered_at__isnull=False)
                | (~Q(status="delivered") & Q(delivered_at__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return self.id


class Attempt(models.Model):
    """One try to deliver: what was answered, or why nothing was."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    # None: the worker was lost, or is still at it.
    duration_ms = models.FloatField(null=True, blank=True)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    response = models.TextField(blank=True, help_text="the beginning of the answer")

    class Meta:
        ordering = ("delivery", "number")
        constraints = [
            models.UniqueConstraint(name="attempt_once_per_number", fields=["delivery", "number"]),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.delivery_id}"
