"""What staff see of the programme: badges, campaigns and their books, events and who was told.

Money and events are only read here. What is written goes through the services, or saves the fields of the form alone:
a whole row would overwrite what posts were promised meanwhile.
"""

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from incentives import donations, webhooks
from incentives.models import (
    Attempt,
    BadgeAward,
    BadgeRule,
    Campaign,
    Delivery,
    Event,
    LedgerEntry,
    Match,
    WebhookEndpoint,
)
from incentives.money import format_money
from incentives.selectors import with_settled

if TYPE_CHECKING:  # unfold has no types; its classes are subclasses of these
    from django.contrib.admin import ModelAdmin, TabularInline
else:
    from unfold.admin import ModelAdmin, TabularInline

_COLOURS = {
    **dict.fromkeys(("active", "delivered", "settled"), "success"),
    **dict.fromkeys(("reserved", "pending", "sending", "suspended", "paused"), "warning"),
    **dict.fromkeys(("failed", "revoked", "voided", "disabled"), "danger"),
}
_AMOUNTS = "in the smallest unit of the currency: 100 is one euro"


def status_label(status: str) -> SafeString:
    """Return a status in its colour."""
    return render_to_string("unfold/helpers/label.html", {"text": status, "variant": _COLOURS.get(status, "default")})


def link_to(page: str, pk: object, text: object) -> SafeString:
    """Return a link to a row's page; a dash where there is none."""
    if pk is None:
        return format_html("–")
    return format_html('<a class="underline" href="{}">{}</a>', reverse(f"admin:{page}_change", args=[pk]), text)


class ReadOnly:
    """Nothing is added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False


@admin.register(BadgeRule)
class BadgeRuleAdmin(ModelAdmin[BadgeRule]):
    list_display = ("title", "code", "kind", "threshold", "holders", "is_active")
    list_filter = ("kind", "is_active")
    search_fields = ("title", "code")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BadgeRule]:
        """Count the holders along."""
        active = Q(awards__status=BadgeAward.Status.ACTIVE)
        return super().get_queryset(request).annotate(holder_count=Count("awards", filter=active))

    def get_readonly_fields(self, request: HttpRequest, obj: BadgeRule | None = None) -> tuple[str, ...]:
        """Keep the code of a rule that exists: another code would be another rule."""
        return () if obj is None else ("code",)

    @admin.display(description="authors who hold it", ordering="holder_count")
    def holders(self, rule: Any) -> int:
        """Return how many authors hold it now."""
        return int(rule.holder_count)


@admin.register(BadgeAward)
class BadgeAwardAdmin(ReadOnly, ModelAdmin[BadgeAward]):
    list_display = ("rule", "author", "platform", "status_shown", "awarded_at", "post")
    list_filter = ("status", "rule", "author__platform")
    list_select_related = ("rule", "author__platform", "verdict")
    search_fields = ("author__external_id", "verdict__post__id")
    fields = ("rule", "author", "platform", "status_shown", "awarded_at", "changed_at", "post", "why")
    readonly_fields = fields
    show_full_result_count = False

    @admin.display(description="platform", ordering="author__platform__slug")
    def platform(self, award: BadgeAward) -> str:
        """Return whose author it is."""
        return str(award.author.platform)

    @admin.display(description="status", ordering="status")
    def status_shown(self, award: BadgeAward) -> SafeString:
        """Return the status in its colour."""
        return status_label(award.status)

    @admin.display(description="post")
    def post(self, award: BadgeAward) -> SafeString:
        """Lead to the post that tipped the scale."""
        return link_to("moderation_post", award.verdict.post_id, award.verdict.post_id)

    @admin.display(description="evidence")
    def why(self, award: BadgeAward) -> str:
        """Return what was measured."""
        evidence = award.evidence
        return f"{evidence['measured']} of {evidence['threshold']}: {', '.join(evidence['post_ids'])}"


class CampaignForm(forms.ModelForm[Campaign]):
    """A campaign as staff may change it."""

    class Meta:
        model = Campaign
        fields = "__all__"  # noqa: DJ007 - the fieldsets of the admin choose
        help_texts = {"budget_minor": _AMOUNTS, "amount_minor": f"for each masked post, {_AMOUNTS}"}

    def clean_budget_minor(self) -> int:
        """Refuse to take back what posts were promised."""
        budget: int = self.cleaned_data["budget_minor"]
        promised = Campaign.objects.filter(pk=self.instance.pk).values_list("committed_minor", flat=True).first() or 0
        if budget < promised:
            raise ValidationError(f"{promised} are promised or paid already; the budget cannot be lower.")
        return budget


@admin.register(Campaign)
class CampaignAdmin(ModelAdmin[Campaign]):
    form = CampaignForm
    list_display = ("name", "sponsor", "status_shown", "budget_bar", "left", "amount", "whose", "ends_at")
    list_filter = ("status", "currency", "platform")
    list_select_related = ("platform",)
    search_fields = ("name", "sponsor", "cause")
    actions = ("check_books",)
    fieldsets = (
        (None, {"fields": ("name", "sponsor", "cause", "platform", "status")}),
        (
            "Money",
            {"fields": ("currency", "budget_minor", "amount_minor", "budget_bar", "hold_seconds")},
        ),
        ("Limits", {"fields": ("cap_per_author_per_day", "starts_at", "ends_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        """Sum up what is settled along."""
        return with_settled(super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> tuple[str, ...]:
        """Keep the currency once there is a campaign: its books are in it."""
        return ("budget_bar",) if obj is None else ("budget_bar", "currency")

    def save_model(self, request: HttpRequest, obj: Campaign, form: forms.ModelForm[Campaign], change: bool) -> None:
        """Write what was changed and nothing else."""
        if change:
            obj.save(update_fields=[name for name in form.changed_data if name != "currency"])
        else:
            super().save_model(request, obj, form, change)

    @admin.display(description="status", ordering="status")
    def status_shown(self, campaign: Campaign) -> SafeString:
        """Return the status in its colour."""
        return status_label(campaign.status)

    @admin.display(description="settled / reserved / left")
    def budget_bar(self, campaign: Any) -> SafeString:
        """Draw where the budget went."""
        if campaign.pk is None or campaign.budget_minor in (None, 0):
            return format_html("–")
        settled = getattr(campaign, "settled_minor", 0)
        reserved = campaign.committed_minor - settled
        left = campaign.budget_minor - campaign.committed_minor
        amounts = {
            name: format_money(minor, campaign.currency)
            for name, minor in (("settled", settled), ("reserved", reserved), ("left", left))
        }
        context = {
            "amounts": amounts,
            "settled_percent": f"{100 * settled / campaign.budget_minor:.2f}",
            "reserved_percent": f"{100 * reserved / campaign.budget_minor:.2f}",
        }
        return render_to_string("incentives/budget_bar.html", context)

    @admin.display(description="left of the budget")
    def left(self, campaign: Campaign) -> str:
        """Return what no post was promised, and of how much."""
        left = format_money(campaign.budget_minor - campaign.committed_minor, campaign.currency)
        return f"{left} of {format_money(campaign.budget_minor, campaign.currency)}"

    @admin.display(description="per post", ordering="amount_minor")
    def amount(self, campaign: Campaign) -> str:
        """Return what a masked post is given."""
        return format_money(campaign.amount_minor, campaign.currency)

    @admin.display(description="platform", ordering="platform__slug")
    def whose(self, campaign: Campaign) -> str:
        """Return whose posts it is for."""
        return str(campaign.platform) if campaign.platform else "everybody"

    @admin.action(description="Check the books", permissions=["view"])
    def check_books(self, request: HttpRequest, queryset: QuerySet[Campaign]) -> None:
        """Add up the ledgers and say where anything disagrees."""
        for campaign in queryset:
            audit = donations.audit(campaign)
            for problem in audit.problems:
                self.message_user(request, f"{campaign}: {problem}", messages.ERROR)
            if not audit.problems:
                promised = format_money(audit.committed_minor, campaign.currency)
                self.message_user(request, f"{campaign}: the books agree, {promised} promised or paid.")


class LedgerInline(ReadOnly, TabularInline[LedgerEntry, Match]):
    model = LedgerEntry
    fields = ("created_at", "kind", "amount_minor")
    readonly_fields = fields
    extra = 0


@admin.register(Match)
class MatchAdmin(ReadOnly, ModelAdmin[Match]):
    list_display = ("id", "campaign", "amount", "status_shown", "author", "post_link", "created_at", "settle_at")
    list_filter = ("status", "campaign")
    list_select_related = ("campaign", "author")
    search_fields = ("id", "post__id", "author__external_id")
    fields = ("id", "campaign", "amount", "status_shown", "author", "post_link", "created_at", "settle_at")
    readonly_fields = fields
    inlines = (LedgerInline,)
    show_full_result_count = False

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, match: Match) -> str:
        """Return the money as people write it."""
        return format_money(match.amount_minor, match.campaign.currency)

    @admin.display(description="status", ordering="status")
    def status_shown(self, match: Match) -> SafeString:
        """Return the status in its colour."""
        return status_label(match.status)

    @admin.display(description="post")
    def post_link(self, match: Match) -> SafeString:
        """Lead to the post."""
        return link_to("moderation_post", match.post_id, match.post_id)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnly, ModelAdmin[LedgerEntry]):
    list_display = ("created_at", "kind_shown", "amount", "campaign", "match_link")
    list_filter = ("kind", "match__campaign")
    list_select_related = ("match__campaign",)
    search_fields = ("match__id", "match__post__id")
    fields = list_display
    readonly_fields = fields
    show_full_result_count = False

    @admin.display(description="step", ordering="kind")
    def kind_shown(self, entry: LedgerEntry) -> SafeString:
        """Return the step in its colour."""
        return status_label(entry.kind)

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, entry: LedgerEntry) -> str:
        """Return the money as people write it."""
        return format_money(entry.amount_minor, entry.match.campaign.currency)

    @admin.display(description="campaign", ordering="match__campaign")
    def campaign(self, entry: LedgerEntry) -> str:
        """Return who gives."""
        return str(entry.match.campaign)

    @admin.display(description="match")
    def match_link(self, entry: LedgerEntry) -> SafeString:
        """Lead to the match."""
        return link_to("incentives_match", entry.match_id, entry.match_id)


class DeliveryInline(ReadOnly, TabularInline[Delivery, Event]):
    model = Delivery
    fields = ("endpoint", "status", "due_at", "delivered_at")
    readonly_fields = fields
    extra = 0
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Take the endpoints along."""
        return super().get_queryset(request).select_related("endpoint")


@admin.register(Event)
class EventAdmin(ReadOnly, ModelAdmin[Event]):
    list_display = ("created_at", "type", "subject", "sequence", "platform", "id")
    list_filter = ("type", "platform")
    list_select_related = ("platform",)
    search_fields = ("id", "subject_id")
    ordering = ("-position",)
    fields = ("id", "created_at", "type", "platform", "subject", "sequence", "data_shown")
    readonly_fields = fields
    inlines = (DeliveryInline,)
    show_full_result_count = False

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
    fields = ("number", "started_at", "took", "status_code", "error", "response")
    readonly_fields = fields
    extra = 0

    @admin.display(description="took")
    def took(self, attempt: Attempt) -> str:
        """Return how long it took; nothing where the worker was lost."""
        return "–" if attempt.duration_ms is None else f"{attempt.duration_ms:.0f} ms"


class _Operated(ReadOnly):
    """Only read, but with actions for whoever may change such rows."""

    model: Any

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Ask for the permission to change; actions name this one."""
        options = self.model._meta
        return bool(request.user.has_perm(f"{options.app_label}.change_{options.model_name}"))


@admin.register(Delivery)
class DeliveryAdmin(_Operated, ModelAdmin[Delivery]):
    list_display = ("event_type", "endpoint", "status_shown", "tries", "last_answer", "created_at", "due_at", "id")
    list_display_links = ("event_type", "id")
    list_filter = ("status", "event__type", "endpoint")
    list_select_related = ("event", "endpoint")
    search_fields = ("id", "event__id", "event__subject_id")
    fields = ("id", "event_link", "event_type", "endpoint", "status_shown", "created_at", "due_at", "delivered_at")
    readonly_fields = fields
    inlines = (AttemptInline,)
    actions = ("send_again",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Take the number of attempts and the last answer along."""
        last = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-number")
        rows = super().get_queryset(request).annotate(try_count=Count("attempts"))
        return rows.annotate(last_code=Subquery(last.values("status_code")[:1]))

    @admin.display(description="event", ordering="event__type")
    def event_type(self, delivery: Delivery) -> str:
        """Return what it tells of."""
        return delivery.event.type

    @admin.display(description="event")
    def event_link(self, delivery: Delivery) -> SafeString:
        """Lead to the event."""
        return link_to("incentives_event", delivery.event.pk, delivery.event.id)

    @admin.display(description="status", ordering="status")
    def status_shown(self, delivery: Delivery) -> SafeString:
        """Return the status in its colour."""
        return status_label(delivery.status)

    @admin.display(description="attempts", ordering="try_count")
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
        sent = sum(webhooks.redeliver(delivery, timezone.now()) for delivery in queryset)
        left = len(queryset) - sent
        self.message_user(request, f"{sent} deliveries are on their way again.")
        if left:
            self.message_user(
                request, f"{left} are not: under way already, or their endpoint is disabled.", messages.WARNING
            )


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(_Operated, ModelAdmin[WebhookEndpoint]):
    list_display = ("url", "platform", "status_shown", "types", "failed", "created_at")
    list_filter = ("status", "platform")
    list_select_related = ("platform",)
    search_fields = ("id", "url", "platform__slug")
    # The secret is nobody's to see: it was shown once, to the platform.
    fields = ("id", "url", "platform", "status_shown", "types", "created_at")
    readonly_fields = fields
    actions = ("send_test", "disable", "enable")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        """Count what could not be delivered along."""
        failed = Q(deliveries__status=Delivery.Status.FAILED)
        return super().get_queryset(request).annotate(failed_count=Count("deliveries", filter=failed))

    @admin.display(description="status", ordering="status")
    def status_shown(self, endpoint: WebhookEndpoint) -> SafeString:
        """Return the status in its colour."""
        return status_label(endpoint.status)

    @admin.display(description="events")
    def types(self, endpoint: WebhookEndpoint) -> str:
        """Return what it listens to."""
        return ", ".join(endpoint.event_types) or "every type"

    @admin.display(description="failed deliveries", ordering="failed_count")
    def failed(self, endpoint: Any) -> int:
        """Return how many deliveries were given up."""
        return int(endpoint.failed_count)

    @admin.action(description="Send a test event", permissions=["operate"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send each active one an event that tells of nothing."""
        active = queryset.filter(status=WebhookEndpoint.Status.ACTIVE)
        for endpoint in active:
            webhooks.send_test(endpoint)
        self.message_user(request, f"{len(active)} test events are on their way; see the deliveries.")

    @admin.action(description="Disable", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send nothing more, and give up what is waiting."""
        for endpoint in queryset:
            webhooks.disable(endpoint)

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        """Send again from now on."""
        queryset.update(status=WebhookEndpoint.Status.ACTIVE)
