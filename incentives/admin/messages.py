"""Events, and who was told of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from incentives import replay, signing, webhooks
from incentives.models import Attempt, Delivery, Event, SigningKey, WebhookEndpoint
from mask_social import clock
from moderation.admin_parts import ModelAdmin, Operated, ReadOnly, TabularInline, label, link_to, moment
from moderation.models import Platform


class DeliveryInline(ReadOnly, TabularInline[Delivery, Event]):
    model = Delivery
    fields = ("endpoint", "status", "due_at", "delivered_at")
    readonly_fields = fields
    extra = 0
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Take the endpoints along."""
        return super().get_queryset(request).select_related("endpoint")


def _about(subject_id: str) -> Q:
    # With the columns that come before it in the unique key, whose index then serves.
    platforms = list(Platform.objects.values_list("pk", flat=True))
    return Q(platform__in=platforms, subject_type__in=Event.SubjectType.values, subject_id=subject_id)


@admin.register(Event)
class EventAdmin(ReadOnly, ModelAdmin[Event]):
    list_display = ("at", "type", "subject", "sequence", "platform", "id")
    list_filter = ("type", "platform")
    list_select_related = ("platform",)
    search_fields = ("subject_id",)
    search_help_text = "the whole id of an event, a post or an author"
    ordering = ("-position",)
    fields = ("id", "at", "type", "platform", "subject", "sequence", "data_shown")
    readonly_fields = fields
    inlines = (DeliveryInline,)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Look for a whole id, which an index can find."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        if term.startswith("evt_"):
            return queryset.filter(id=term), False
        return queryset.filter(_about(term)), False

    @admin.display(description="at", ordering="position")
    def at(self, event: Event) -> SafeString:
        """Return when it happened."""
        return moment(event.created_at)

    @admin.display(description="subject", ordering="subject_id")
    def subject(self, event: Event) -> str:
        """Return whose story it belongs to."""
        return f"{event.subject_type} {event.subject_id}"

    @admin.display(description="data")
    def data_shown(self, event: Event) -> SafeString:
        """Return what was told, laid out to be read."""
        text = json.dumps(event.data, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', text)


class AttemptInline(ReadOnly, TabularInline[Attempt, Delivery]):
    model = Attempt
    fields = ("number", "at", "took", "status_code", "error", "response")
    readonly_fields = fields
    extra = 0

    @admin.display(description="at")
    def at(self, attempt: Attempt) -> SafeString:
        """Return when it began."""
        return moment(attempt.started_at)

    @admin.display(description="took")
    def took(self, attempt: Attempt) -> str:
        """Return how long it took; nothing where the worker was lost."""
        return "–" if attempt.duration_ms is None else f"{attempt.duration_ms:.0f} ms"


@admin.register(Delivery)
class DeliveryAdmin(Operated, ModelAdmin[Delivery]):
    list_display = ("event_type", "subject", "endpoint", "status_shown", "tries", "last_answer", "created", "due")
    list_filter = ("status", "event__type", "endpoint")
    list_select_related = ("event", "endpoint")
    search_fields = ("event",)
    search_help_text = "the whole id of a delivery, an event, a post or an author"
    fields = ("id", "event_link", "event_type", "endpoint", "status_shown", "created_at", "due_at", "delivered_at")
    readonly_fields = fields
    inlines = (AttemptInline,)
    actions = ("send_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Take the number of attempts and the last answer along."""
        attempts = Attempt.objects.filter(delivery=OuterRef("pk"))
        last = attempts.order_by("-number").values("status_code")[:1]
        tries = attempts.order_by().values("delivery").annotate(n=Count("pk")).values("n")
        return super().get_queryset(request).annotate(try_count=Coalesce(Subquery(tries), 0), last_code=Subquery(last))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        """Look for a whole id, which an index can find."""
        term = search_term.strip().replace("\0", "")
        match term.partition("_")[0]:
            case "":
                return queryset, False
            case "dlv":
                return queryset.filter(id=term), False
            case "evt":
                return queryset.filter(event__id=term), False
        return queryset.filter(event__in=Event.objects.filter(_about(term))), False

    @admin.display(description="event", ordering="event__type")
    def event_type(self, delivery: Delivery) -> str:
        """Return what it tells of."""
        return delivery.event.type

    @admin.display(description="subject", ordering="event__subject_id")
    def subject(self, delivery: Delivery) -> str:
        """Return whose story it belongs to."""
        return f"{delivery.event.subject_id} #{delivery.event.sequence}"

    @admin.display(description="created", ordering="created_at")
    def created(self, delivery: Delivery) -> SafeString:
        """Return when it was written."""
        return moment(delivery.created_at)

    @admin.display(description="due", ordering="due_at")
    def due(self, delivery: Delivery) -> SafeString:
        """Return when the next attempt is due; nothing once there will be none."""
        has_time = delivery.status in {Delivery.Status.PENDING, Delivery.Status.SENDING}
        return moment(delivery.due_at if has_time else None)

    @admin.display(description="event")
    def event_link(self, delivery: Delivery) -> SafeString:
        """Lead to the event."""
        return link_to("incentives_event", delivery.event.pk, delivery.event.id)

    @admin.display(description="status", ordering="status")
    def status_shown(self, delivery: Delivery) -> SafeString:
        """Return the status in its colour."""
        return label(delivery.status)

    @admin.display(description="attempts")
    def tries(self, delivery: Any) -> int:
        """Return how often it was tried."""
        return int(delivery.try_count)

    @admin.display(description="last answer", empty_value="–")
    def last_answer(self, delivery: Any) -> int | None:
        """Return the status code of the last attempt."""
        code: int | None = delivery.last_code
        return code

    @admin.action(description="Send again", permissions=["operate"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Send finished deliveries once more."""
        sent = sum(webhooks.redeliver(delivery, clock.now()) for delivery in queryset)
        left = len(queryset) - sent
        self.message_user(request, f"{sent} deliveries are on their way again.")
        if left:
            self.message_user(
                request, f"{left} are not: under way already, or their endpoint is disabled.", messages.WARNING
            )


def _count_of(status: Delivery.Status) -> Coalesce:
    """Count an endpoint's deliveries of a status out of its index: of those delivered there may be millions."""
    rows = Delivery.objects.filter(endpoint=OuterRef("pk"), status=status).order_by().values("endpoint")
    return Coalesce(Subquery(rows.annotate(n=Count("pk")).values("n")), 0)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(Operated, ModelAdmin[WebhookEndpoint]):
    list_display = ("url", "platform", "status_shown", "failing", "types", "failed", "held", "created_at")
    list_filter = ("status", ("failing_since", admin.EmptyFieldListFilter), "platform")
    list_select_related = ("platform",)
    search_fields = ("id", "url", "platform__slug")
    # The secret is nobody's to see: it was shown once, to the platform.
    fields = (
        *("id", "url", "platform", "status_shown", "disabled", "failing", "paused", "held", "failed", "types"),
        "created_at",
    )
    readonly_fields = fields
    actions = ("send_test", "replay_day", "replay_failures", "disable", "enable", "end_secret")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        """Count what could not be delivered, and what is kept, along."""
        rows = super().get_queryset(request)
        return rows.annotate(failed_count=_count_of(Delivery.Status.FAILED), held_count=_count_of(Delivery.Status.HELD))

    @admin.display(description="status", ordering="status")
    def status_shown(self, endpoint: WebhookEndpoint) -> SafeString:
        """Return the status in its colour."""
        return label(endpoint.status)

    @admin.display(description="events")
    def types(self, endpoint: WebhookEndpoint) -> str:
        """Return what it listens to."""
        return ", ".join(endpoint.event_types) or "every type"

    @admin.display(description="failed deliveries", ordering="failed_count")
    def failed(self, endpoint: Any) -> int:
        """Return how many deliveries were given up."""
        return int(endpoint.failed_count)

    @admin.display(description="held deliveries", ordering="held_count")
    def held(self, endpoint: Any) -> int:
        """Return how many deliveries are kept until it is enabled."""
        return int(endpoint.held_count)

    @admin.display(description="failing since", ordering="failing_since")
    def failing(self, endpoint: WebhookEndpoint) -> SafeString:
        """Return since when nothing arrived."""
        return moment(endpoint.failing_since)

    @admin.display(description="paused until")
    def paused(self, endpoint: WebhookEndpoint) -> SafeString:
        """Return until when it asked for quiet."""
        until = endpoint.paused_until
        return moment(until if until and until > clock.now() else None)

    @admin.display(description="disabled")
    def disabled(self, endpoint: WebhookEndpoint) -> SafeString:
        """Return when it was disabled, and why."""
        if endpoint.disabled_at is None:
            return moment(None)
        return format_html("{}: {}", moment(endpoint.disabled_at), endpoint.get_disabled_reason_display())

    @admin.action(description="Send a test event", permissions=["operate"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send each active one an event that tells of nothing."""
        active = queryset.filter(status=WebhookEndpoint.Status.ACTIVE)
        for endpoint in active:
            webhooks.send_test(endpoint)
        self.message_user(request, f"{len(active)} test events are on their way; see the deliveries.")

    @admin.action(description="Disable", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send nothing more, and keep what is waiting."""
        for endpoint in queryset:
            webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send again, at first what was kept."""
        for endpoint in queryset:
            webhooks.enable(endpoint)

    @admin.action(description="Send again what failed in the last 24 hours", permissions=["operate"])
    def replay_day(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send what was given up of late once more."""
        self._replay(request, queryset, clock.now() - timedelta(days=1))

    @admin.action(description="Send again all that failed", permissions=["operate"])
    def replay_failures(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send all that was given up and is still kept once more."""
        self._replay(request, queryset, datetime.min.replace(tzinfo=UTC))

    def _replay(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint], since: datetime) -> None:
        active = queryset.filter(status=WebhookEndpoint.Status.ACTIVE)
        replays = [replay.replay_range(endpoint, replay.Range(since)) for endpoint in active]
        sent = sum(replayed.deliveries for replayed in replays)
        self.message_user(request, f"{sent} deliveries are on their way again.")
        if any(replayed.next is not None for replayed in replays):
            self.message_user(request, "There are more; ask once more when these have arrived.", messages.WARNING)
        if disabled := len(queryset) - len(replays):
            self.message_user(
                request, f"{disabled} of the endpoints are disabled; enable them first.", messages.WARNING
            )

    @admin.action(description="End the secret at once: it leaked", permissions=["operate"])
    def end_secret(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Sign by a secret that nobody knows, until the platform asks the API for one; staff see none."""
        for endpoint in queryset:
            signing.rotate(endpoint, SigningKey.Scheme.HMAC, clock.now(), expire_old_now=True)
        self.message_user(
            request,
            f"{len(queryset)} secrets have ended. Until the platform asks for a new one (rotate-secret), it can verify "
            "by the Ed25519 key alone.",
        )
