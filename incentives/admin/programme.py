"""Badges, campaigns and their books."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from incentives import donations
from incentives.models import BadgeAward, BadgeRule, Campaign, LedgerEntry, Match
from incentives.money import format_money
from incentives.selectors import with_settled
from moderation.admin_parts import ModelAdmin, ReadOnly, TabularInline, label, link_to, moment

_AMOUNTS = "in the smallest unit of the currency: 100 is one euro"


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
        return label(award.status)

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
        # Held until the form is saved, which is in the same transaction: nothing is promised in between.
        held = Campaign.objects.select_for_update(no_key=True).filter(pk=self.instance.pk)
        promised = held.values_list("committed_minor", flat=True).first() or 0
        if budget < promised:
            raise ValidationError(f"{promised} are promised or paid already; the budget cannot be lower.")
        return budget


@admin.register(Campaign)
class CampaignAdmin(ModelAdmin[Campaign]):
    form = CampaignForm
    list_display = ("name", "sponsor", "status_shown", "budget_bar", "budget", "amount", "whose", "ends_at")
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
        return label(campaign.status)

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

    @admin.display(description="budget", ordering="budget_minor")
    def budget(self, campaign: Campaign) -> str:
        """Return the whole budget."""
        return format_money(campaign.budget_minor, campaign.currency)

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
    fields = ("at", "kind", "amount")
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
        return format_money(entry.amount_minor, entry.match.campaign.currency)


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
        return label(match.status)

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
        return label(entry.kind)

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
