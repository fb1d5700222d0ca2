"""The outbox: what happened, and who is told."""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Func, Q

from incentives.models.ids import new_delivery_id, new_endpoint_id, new_event_id
from mask_social import clock
from mask_social.ids import ID_LENGTH
from moderation.models import IdField, Platform


class Event(models.Model):
    """The outbox: what happened, written with the change itself."""

    class Type(models.TextChoices):
        POST_ANALYZED = "post.analyzed", "a verdict was reached"
        POST_FAILED = "post.failed", "a photo could not be analyzed"
        POST_WITHDRAWN = "post.withdrawn", "a post was taken back by its platform"
        BADGE_AWARDED = "badge.awarded", "an author earned a badge"
        BADGE_REVOKED = "badge.revoked", "a badge was taken back"
        BADGE_SUSPENDED = "badge.suspended", "a badge was put on hold by staff"
        BADGE_REINSTATED = "badge.reinstated", "a badge that was on hold or taken back counts again"
        BADGE_EXPIRED = "badge.expired", "a badge that was valid for a time ran out"
        BOOST_STARTED = "boost.started", "a post is boosted"
        BOOST_ENDED = "boost.ended", "a boost was taken back"
        DONATION_MATCHED = "donation.matched", "money was reserved for a post"
        DONATION_DECLINED = "donation.declined", "a masked post was given nothing, and why"
        DONATION_SETTLED = "donation.settled", "reserved money became due for good"
        DONATION_VOIDED = "donation.voided", "reserved money was released"
        DONATION_REFUNDED = "donation.refunded", "settled money was credited back to its campaign"
        APPEAL_OPENED = "appeal.opened", "a verdict is doubted"
        APPEAL_DECIDED = "appeal.decided", "staff decided an appeal"
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
    # What set it off: a verdict's id, an event's (a withdrawal), an appeal's, a match's. Equal for all that followed.
    causation_id = models.CharField(max_length=64, blank=True)
    # Of the request that it all began with.
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField()
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("transaction_id", "position")
        indexes = [
            # GET /api/v1/events
            models.Index(name="event_by_platform", fields=["platform", "transaction_id", "position"]),
            # replay.py: those of some days; rows lie in the order of time, so a few pages of index tell where
            BrinIndex(name="event_by_time", fields=["created_at"], autosummarize=True),
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
    """Where a platform wants to hear of events."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        DISABLED = "disabled", "disabled"

    class Reason(models.TextChoices):
        OWNER = "owner", "by the platform or its staff"
        GONE = "gone", "it answered 410"
        FAILING = "failing", "nothing arrived for days"

    id = IdField(default=new_endpoint_id)
    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.URLField(max_length=2000)
    # Empty: every type.
    event_types = ArrayField(models.CharField(max_length=40, choices=Event.Type.choices), default=list, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    disabled_reason = models.CharField(max_length=16, choices=Reason.choices, blank=True, editable=False)
    # Since when nothing arrived; None: the last attempt did.
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    # When an attempt last failed: failures with days of silence between them are no run of failures.
    failed_at = models.DateTimeField(null=True, blank=True, editable=False)
    # It asked for quiet (429): nothing is sent before.
    paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    # When the sweep last sent a worker to it that has not come; not asked for again until that is taken for lost.
    woken_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When to write to the platform that it was disabled; None: nobody need be written to.
    notify_at = models.DateTimeField(null=True, blank=True, editable=False)
    # How many events tell of it; the outbox numbers them.
    event_sequence = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                name="endpoint_disabled_says_when_and_why",
                condition=(Q(status="disabled", disabled_at__isnull=False) & ~Q(disabled_reason=""))
                | Q(status="active", disabled_at__isnull=True, disabled_reason=""),
            ),
        ]

    def __str__(self) -> str:
        return self.url


class SigningKey(models.Model):
    """What signs an endpoint's messages; one in use for each scheme, and the former one until it expires."""

    class Scheme(models.TextChoices):
        HMAC = "v1", "HMAC-SHA256"
        ED25519 = "v1a", "Ed25519"

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="signing_keys")
    scheme = models.CharField(max_length=8, choices=Scheme.choices)
    # `whsec_…` or `whsk_…`. Signing needs it in clear: it is never logged, and the shared one is shown once.
    secret = models.CharField(max_length=120, editable=False)
    # `whpk_…`, by which others verify; none for the shared secret.
    public_key = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    # None: in use until another takes its place.
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("endpoint", "scheme", "-id")
        constraints = [
            models.UniqueConstraint(
                name="signing_key_in_use_once", fields=["endpoint", "scheme"], condition=Q(expires_at=None)
            ),
            models.CheckConstraint(
                name="signing_key_can_sign",
                condition=Q(
                    scheme="v1",
                    secret__regex=r"^whsec_[A-Za-z0-9+/]{32,}={0,2}$",  # noqa: S106 - its form, no secret
                    public_key="",
                )
                | Q(
                    scheme="v1a",
                    secret__regex=r"^whsk_[A-Za-z0-9+/]{43,}={0,2}$",  # noqa: S106 - its form, no secret
                    public_key__regex=r"^whpk_[A-Za-z0-9+/]{43}=$",
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_scheme_display()} of {self.endpoint_id}"


class Delivery(models.Model):
    """One event on its way to one endpoint."""

    class Status(models.TextChoices):
        PENDING = "pending", "to be sent"
        SENDING = "sending", "claimed by a worker"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "given up"
        HELD = "held", "kept until its endpoint is enabled"

    id = IdField(default=new_delivery_id)
    # None of these keys has an index of its own: another begins with it. Of an attempt's delivery the same is true.
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    # When a pending one is due, or when the lease of one being sent runs out: no two claims have the same lease, so
    # it also tells whose claim it is. A held one was due when it was written: once its endpoint is enabled, the oldest
    # go first, and before all that is new.
    due_at = models.DateTimeField(default=clock.now)
    # Attempts since it was last sent on its way; their number says how long the next wait is. A 429 is none.
    tries = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ("-id",)
        indexes = [
            # which is next for an endpoint; the sweep: is there any
            models.Index(
                name="delivery_due",
                fields=["endpoint", "due_at", "event"],
                condition=Q(status__in=["pending", "sending", "held"]),
            ),
            # replay.py
            models.Index(name="delivery_given_up", fields=["endpoint", "event"], condition=Q(status="failed")),
            # the youngest of an endpoint, for its page
            models.Index(name="delivery_youngest", fields=["endpoint", "id"]),
            # how many are being sent to an endpoint
            models.Index(name="delivery_sending", fields=["endpoint"], condition=Q(status="sending")),
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

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="attempts", db_index=False)
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


class EventHorizon(models.Model):
    """The last event of a platform that is no longer kept, by which a reader learns that it came too late."""

    platform = models.OneToOneField(Platform, on_delete=models.CASCADE, primary_key=True, related_name="+")
    transaction_id = models.BigIntegerField()
    position = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.platform_id} up to {self.position}"
