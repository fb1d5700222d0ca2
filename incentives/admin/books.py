"""Matches, the ledger and its proofs: read, never written by hand."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from incentives.models import Campaign, LedgerEntry, LedgerProof, Match
from incentives.money import format_money
from incentives.selectors import campaigns_visible_to
from moderation.admin_parts import ModelAdmin, ReadOnly, TabularInline, label, link_to, moment


class SponsorsOwn:
    """Rows of campaigns, which a sponsor's people see of their own sponsor alone."""

    campaign_path = "campaign"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Keep what the person may see."""
        rows: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]  # a mixin for ModelAdmin
        if request.user.has_perm("incentives.view_every_campaign"):
            return rows
        return rows.filter(**{f"{self.campaign_path}__in": campaigns_visible_to(request.user)})


class CampaignFilter(admin.RelatedFieldListFilter):
    """Offer the campaigns that the person may see, without looking which of them have rows."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        """Return them."""
        visible = Campaign.objects.filter(pk__in=campaigns_visible_to(request.user)).order_by("name")
        return [(campaign.pk, str(campaign)) for campaign in visible]


class LedgerInline(ReadOnly, TabularInline[LedgerEntry, Match]):
    model = LedgerEntry
    fields = ("number", "at", "kind", "amount", "cause", "cause_id")
    readonly_fields = fields
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerEntry]:
        """Take the currency along."""
        return super().get_queryset(request).select_related("match__campaign")

    @admin.display(description="at")
    def at(self, entry: LedgerEntry) -> SafeString:
        """Return when it was booked."""
        return moment(entry.created_at)

    @admin.display(description="amount")
    def amount(self, entry: LedgerEntry) -> str:
        """Return the money as people write it."""
        return format_money(entry.amount_minor, entry.campaign.currency)


@admin.register(Match)
class MatchAdmin(SponsorsOwn, ReadOnly, ModelAdmin[Match]):
    list_filter = ("status", ("campaign", CampaignFilter))
    list_select_related = ("campaign", "author")
    search_fields = ("post",)
    searched_ids = {"mat": ["pk"], "post": ["post"]}
    search_help_text = "the id of a match or of a post"
    inlines = (LedgerInline,)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave out whose post it was for people who may not see posts."""
        whose = ("author", "post_link") if request.user.has_perm("moderation.view_post") else ()
        return ("id", "campaign", "amount", "status_shown", "day", "region", *whose, "created_at", "settle_at")

    def get_fields(self, request: HttpRequest, obj: Match | None = None) -> tuple[str, ...]:
        """Show on the page what the list shows."""
        return self.get_list_display(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Match | None = None) -> tuple[str, ...]:
        """Change nothing."""
        return self.get_list_display(request)

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, match: Match) -> str:
        """Return the money as people write it."""
        return format_money(match.amount_minor, match.campaign.currency)

    @admin.display(description="status", ordering="status")
    def status_shown(self, match: Match) -> SafeString:
        """Return the status in its colour."""
        return label(match.status)

    @admin.display(description="post")
    def post_link(self, match: Match) -> SafeString:
        """Lead to the post."""
        return link_to("moderation_post", match.post_id, match.post_id)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(SponsorsOwn, ReadOnly, ModelAdmin[LedgerEntry]):
    list_display = (
        *("campaign", "number", "created_at", "kind_shown", "amount", "day", "region", "match_link"),
        *("cause", "cause_id", "causation_id"),
    )
    list_filter = ("kind", "cause", ("campaign", CampaignFilter))
    list_select_related = ("campaign",)
    search_fields = ("match",)
    searched_ids = {"mat": ["match"], "post": ["match__post"], "ver": ["match__verdict", "causation_id"]}
    searched_ids |= {"evt": ["causation_id"]}
    search_help_text = "the id of a match, a post, a verdict or an event"
    fields = (*list_display, "reason")
    readonly_fields = fields

    @admin.display(description="step", ordering="kind")
    def kind_shown(self, entry: LedgerEntry) -> SafeString:
        """Return the step in its colour."""
        return label(entry.kind)

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, entry: LedgerEntry) -> str:
        """Return the money as people write it."""
        return format_money(entry.amount_minor, entry.campaign.currency)

    @admin.display(description="match")
    def match_link(self, entry: LedgerEntry) -> SafeString:
        """Lead to the match."""
        return link_to("incentives_match", entry.match_id, entry.match_id)


@admin.register(LedgerProof)
class LedgerProofAdmin(SponsorsOwn, ReadOnly, ModelAdmin[LedgerProof]):
    list_display = ("campaign", "ran_at", "verdict", "entries", "reserved", "settled", "voided", "refunded")
    list_filter = (("campaign", CampaignFilter),)
    list_select_related = ("campaign",)
    fields = (*list_display, "problems")
    readonly_fields = fields

    @admin.display(description="books", ordering="problems")
    def verdict(self, found: LedgerProof) -> SafeString:
        """Say whether everything agreed."""
        return label("failed", f"{len(found.problems)} problems") if found.problems else label("done", "they agree")

    @admin.display(description="reserved")
    def reserved(self, found: LedgerProof) -> str:
        """Return the money as people write it."""
        return format_money(found.reserved_minor, found.campaign.currency)

    @admin.display(description="settled")
    def settled(self, found: LedgerProof) -> str:
        """Return the money as people write it."""
        return format_money(found.settled_minor, found.campaign.currency)

    @admin.display(description="voided")
    def voided(self, found: LedgerProof) -> str:
        """Return the money as people write it."""
        return format_money(found.voided_minor, found.campaign.currency)

    @admin.display(description="refunded")
    def refunded(self, found: LedgerProof) -> str:
        """Return the money as people write it."""
        return format_money(found.refunded_minor, found.campaign.currency)
