"""Who calls: platforms, their keys, and the people who post there."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from mask_social import clock
from moderation.models.ids import IdField, new_platform_id
from moderation.time_zones import validate_time_zone


class Platform(models.Model):
    """A site that sends us its posts."""

    id = IdField(default=new_platform_id)
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    contact_email = models.EmailField(blank=True, help_text="who hears that a webhook endpoint was disabled")
    created_at = models.DateTimeField(default=clock.now, editable=False)

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
    # Empty: MASK_SOCIAL_RATE_KEY holds.
    calls_per_minute = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # The key that took its place; both work until this one expires.
    successor = models.OneToOneField(
        "self", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="predecessor"
    )

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.CheckConstraint(
                name="api_key_with_a_successor_expires", condition=Q(successor=None) | Q(expires_at__isnull=False)
            ),
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
    created_at = models.DateTimeField(default=clock.now, editable=False)

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
    # How many events tell of the author; the outbox numbers them.
    event_sequence = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="author_once_per_platform", fields=["platform", "external_id"]),
            models.CheckConstraint(name="author_has_an_external_id", condition=~Q(external_id="")),
        ]

    def __str__(self) -> str:
        return self.external_id
