"""Sponsors and campaigns: what staff may do goes through the services."""

from collections.abc import Callable
from datetime import date, datetime
from http import HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import (  # type: ignore[import-untyped]  # as above
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextInputWidget,
)

from incentives import campaigns, proof, reports
from incentives.admin.books import SponsorsOwn
from incentives.campaigns import CampaignError
from incentives.models import Campaign, Sponsor, Tier
from incentives.money import format_money
from incentives.selectors import with_settled
from mask_social import clock
from moderation import time_zones
from moderation.admin_parts import ModelAdmin, TabularInline, label

_AMOUNTS = "in the smallest unit of the currency, such as cents"
_STEPS: dict[str, Callable[[Campaign], None]] = {
    "activate": lambda campaign: campaigns.activate(campaign, clock.now()),
    "pause": campaigns.pause,
    "end": campaigns.end,
}
_POSSIBLE = {
    "activate": {Campaign.Status.DRAFT, Campaign.Status.PAUSED},
    "pause": {Campaign.Status.ACTIVE, Campaign.Status.EXHAUSTED},
    "end": set(Campaign.Status) - {Campaign.Status.ENDED},
}
_ASKED = {
    "activate": "From now on masked posts are matched.",
    "pause": "No more posts are matched until it goes on. What is promised stays promised.",
    "end": "It ends for good. What is promised is still settled or given back.",
}


@admin.register(Sponsor)
class SponsorAdmin(ModelAdmin[Sponsor]):
    list_display = ("name", "created_at")
    search_fields = ("name",)
    autocomplete_fields = ("users",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sponsor]:
        """Keep the person's own sponsor, where that is all they may see."""
        rows = super().get_queryset(request)
        return rows if request.user.has_perm("incentives.view_every_campaign") else rows.filter(users=request.user.pk)

    def get_fields(self, request: HttpRequest, obj: Sponsor | None = None) -> tuple[str, ...]:
        """Show a sponsor's people no names of other accounts."""
        return ("name", "users") if self.has_change_permission(request, obj) else ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Sponsor | None = None) -> tuple[str, ...]:
        """Let nobody name people whose accounts they may not see; the search for them would find none."""
        return () if request.user.has_perm("auth.view_user") else ("users",)


class CampaignForm(forms.ModelForm[Campaign]):
    """A campaign as staff may change it; its window is read and written in its own time zone."""

    class Meta:
        model = Campaign
        fields = "__all__"  # noqa: DJ007 - the fieldsets of the admin choose
        labels = {
            "budget_minor": "Budget",
            "amount_minor": "Amount per post",
            "hold_seconds": "Appeal window (seconds)",
            "cap_per_author": "Posts per author",
            "cap_per_author_per_day": "Posts per author and day",
            "cap_per_day_minor": "Money per day",
            "cap_per_region_minor": "Money per region",
            "min_account_age_days": "Account age (days)",
            "boosts_enabled": "Boosts on",
        }
        help_texts = {
            "budget_minor": _AMOUNTS,
            "amount_minor": f"for each masked post, before tiers, {_AMOUNTS}",
            "hold_seconds": "how long a match stays reserved, so that an overturned verdict can take it back",
        }
        widgets = {"regions": UnfoldAdminTextInputWidget}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and not self.instance._state.adding:
            zone = ZoneInfo(self.instance.time_zone)
            for name in ("starts_at", "ends_at"):
                if when := getattr(self.instance, name):
                    self.initial[name] = when.astimezone(zone).replace(tzinfo=None)
        else:
            self.initial["starts_at"] = None  # now, by which clock? that of a zone yet to be named
        for name in ("starts_at", "ends_at"):
            if name in self.fields:
                self.fields[name].help_text = "in the campaign's time zone"

    def clean(self) -> dict[str, Any]:
        """Take the window for times of the campaign's own zone."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        name = cleaned.get("time_zone") or self.instance.time_zone
        if name in time_zones.names():  # else the field says so
            for field in ("starts_at", "ends_at"):
                when: datetime | None = cleaned.get(field)
                if when is not None:
                    wall = timezone.make_naive(when, timezone.get_current_timezone())
                    cleaned[field] = wall.replace(tzinfo=ZoneInfo(name))
        starts, ends = cleaned.get("starts_at"), cleaned.get("ends_at")
        if starts and ends and ends <= starts:
            self.add_error("ends_at", "It must end after it starts.")
        regions = cleaned.get("regions") or []
        cleaned["regions"] = [region.strip().upper() for region in regions if region.strip()]
        return cleaned


class TierForm(forms.ModelForm[Tier]):
    class Meta:
        model = Tier
        fields = ("from_minor", "percent")
        labels = {"from_minor": "From (minor units)"}


class TierInline(TabularInline[Tier, Campaign]):
    model = Tier
    form = TierForm
    extra = 0
    verbose_name_plural = "tiers: from how much promised or paid on it gives what share; none: all of the amount"


class BudgetForm(forms.Form):
    """A new budget, and why."""

    budget_minor = forms.IntegerField(
        min_value=0, label="New budget", help_text=_AMOUNTS, widget=UnfoldAdminIntegerFieldWidget
    )
    reason = forms.CharField(max_length=500, help_text="kept in the ledger", widget=UnfoldAdminTextInputWidget)


class DaysForm(forms.Form):
    """From which day of the campaign's to which."""

    first = forms.DateField(required=False, widget=UnfoldAdminSingleDateWidget)
    last = forms.DateField(required=False, widget=UnfoldAdminSingleDateWidget)

    def clean(self) -> dict[str, Any]:
        """Refuse days the wrong way round."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and last < first:
            self.add_error("last", "The last day is before the first.")
        return cleaned

    def days(self) -> tuple[date | None, date | None]:
        """Return the two days; None leaves an end open."""
        return self.cleaned_data["first"], self.cleaned_data["last"]


@admin.register(Campaign)
class CampaignAdmin(SponsorsOwn, ModelAdmin[Campaign]):
    campaign_path = "pk"
    form = CampaignForm
    list_display = ("name", "sponsor", "status_shown", "budget_bar", "budget", "amount", "priority", "whose", "ends_at")
    list_filter = ("status", "currency", "platform")
    list_select_related = ("platform", "sponsor")
    search_fields = ("name", "sponsor__name", "cause")
    inlines = (TierInline,)
    # Not named as the pages they lead to: unfold names their addresses after them.
    actions_detail = ("to_statement", "to_budget", "to_activate", "to_pause", "to_end", "to_prove")
    fieldsets = (
        (None, {"fields": ("name", "sponsor", "cause", "platform", "priority", "status_shown")}),
        ("Money", {"fields": ("currency", "budget_minor", "amount_minor", "budget_bar", "hold_seconds")}),
        ("Window", {"fields": ("time_zone", "starts_at", "ends_at")}),
        (
            "Limits",
            {
                "fields": (
                    ("cap_per_author", "cap_per_author_per_day"),
                    ("cap_per_day_minor", "cap_per_region_minor"),
                )
            },
        ),
        ("Who is eligible", {"fields": ("regions", "min_account_age_days")}),
        ("Boosts", {"fields": ("boosts_enabled",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        """Sum up what is settled along."""
        return with_settled(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        """Write the budget of a campaign that exists as people do: it has a form of its own."""
        if obj is None:
            return self.fieldsets
        return [
            (title, {"fields": ["budget" if name == "budget_minor" else name for name in options["fields"]]})
            for title, options in self.fieldsets
        ]

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Offer the steps that the campaign's status allows."""
        status = Campaign.objects.filter(pk=unquote(object_id)).values_list("status", flat=True).first()
        shown: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's own
        return [one for one in shown if status in _POSSIBLE.get(one.path.removeprefix("to-"), Campaign.Status.values)]

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> tuple[str, ...]:
        """Keep what the ledger depends on; the budget and the status have forms of their own."""
        shown = ("budget_bar", "status_shown")
        if obj is None:
            return shown
        kept = (*shown, "currency", "budget", "platform")
        # Once it has begun its books are that sponsor's, and count days of that zone, none of which may be cut in two.
        return kept if obj.status == Campaign.Status.DRAFT else (*kept, "sponsor", "time_zone")

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Refuse: its books stay."""
        return False

    def save_model(self, request: HttpRequest, obj: Campaign, form: forms.ModelForm[Campaign], change: bool) -> None:
        """Write what was changed and nothing else; book the budget of a new one."""
        if not change:
            campaigns.create_campaign(obj, _user(request), clock.now(), reason="The campaign was made.")
        elif changed := set(form.changed_data):
            if "time_zone" in changed:
                changed |= {"starts_at", "ends_at"}  # the same on the clock is another moment there
            obj.save(update_fields=changed)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Open or exhaust the campaign as its new amount and tiers have it."""
        super().save_related(request, form, formsets, change)
        campaigns.reassess(clock.now(), only=form.instance)  # this page's transaction holds its row, and no other's

    def get_urls(self) -> list[URLPattern]:
        """Add the steps of a campaign's life, its budget and its statement."""

        def at(route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
            wrapped = self.admin_site.admin_view(view)
            return path(f"<str:object_id>/{route}", wrapped, name=f"incentives_campaign_{name}")

        return [
            at("step/<slug:step>/", self.step_view, "step"),
            at("budget/", self.budget_view, "budget"),
            at("prove/", self.prove_view, "prove"),
            at("statement/", self.statement_view, "statement"),
            at("statement.csv", self.statement_csv, "statement_csv"),
            at("statement.json", self.statement_json, "statement_json"),
            *super().get_urls(),
        ]

    @action(description="Statement", icon="receipt_long", url_path="to-statement")  # type: ignore[untyped-decorator]  # unfold
    def to_statement(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the sponsor's statement."""
        return _to("statement", object_id)

    @action(description="Change the budget", icon="payments", url_path="to-budget", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def to_budget(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the form of the budget."""
        return _to("budget", object_id)

    @action(description="Activate", icon="play_arrow", url_path="to-activate", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def to_activate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the question."""
        return _to("step", object_id, "activate")

    @action(description="Pause", icon="pause", url_path="to-pause", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def to_pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the question."""
        return _to("step", object_id, "pause")

    @action(description="End", icon="stop", url_path="to-end", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def to_end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the question."""
        return _to("step", object_id, "end")

    @action(description="Prove the books", icon="fact_check", url_path="to-prove")  # type: ignore[untyped-decorator]  # unfold
    def to_prove(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the proof."""
        return _to("prove", object_id)

    def step_view(self, request: HttpRequest, object_id: str, step: str) -> HttpResponse:
        """Ask, and then take a step of the campaign's life."""
        campaign = self._visible(request, object_id, to_change=True)
        if step not in _STEPS:
            raise Http404
        if request.method == "POST":
            try:
                _STEPS[step](campaign)
            except CampaignError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.log_change(request, campaign, f"Step: {step}.")
                self.message_user(request, f"{campaign} is now “{campaign.get_status_display()}”.")
            return _to("change", object_id)
        verb = step.capitalize()
        context = {"campaign": campaign, "asked": _ASKED[step], "verb": verb, "title": f"{verb}: {campaign}"}
        return self._page(request, "incentives/campaign_step.html", context)

    def budget_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a new budget, and book the difference."""
        campaign = self._visible(request, object_id, to_change=True)
        form = BudgetForm(request.POST or None, initial={"budget_minor": campaign.budget_minor})
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            try:
                campaigns.set_budget(campaign, values["budget_minor"], _user(request), values["reason"], clock.now())
            except CampaignError as error:
                form.add_error("budget_minor", str(error))
            else:
                self.log_change(request, campaign, f"Budget: {campaign.budget_minor}. {values['reason']}")
                self.message_user(request, f"The budget is {format_money(campaign.budget_minor, campaign.currency)}.")
                return _to("change", object_id)
        context = {"campaign": campaign, "form": form, "verb": "Change it", "title": f"Budget of {campaign}"}
        return self._page(request, "incentives/campaign_step.html", context)

    def prove_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add up the books from the first entry and show what was found."""
        campaign = self._visible(request, object_id)
        context = {
            "campaign": campaign,
            "audit": proof.audit(campaign),
            "proofs": campaign.proofs.all()[:14],
            "title": f"Proof of {campaign}",
        }
        return self._page(request, "incentives/campaign_proof.html", context)

    def statement_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the statement."""
        campaign = self._visible(request, object_id)
        form = DaysForm(request.GET)
        days = form.days() if form.is_valid() else (None, None)
        context = {
            "campaign": campaign,
            "form": form,
            "statement": reports.statement(campaign, *days),
            "columns": ("budget", "reserved", "settled", "voided", "refunded", "remaining"),
            "query": request.GET.urlencode(),
            "title": f"Statement of {campaign}",
        }
        return self._page(request, "incentives/campaign_statement.html", context)

    def statement_csv(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the statement for a spreadsheet."""
        campaign, form = self._visible(request, object_id), DaysForm(request.GET)
        if not form.is_valid():
            return HttpResponse(form.errors.as_text(), "text/plain; charset=utf-8", status=HTTPStatus.BAD_REQUEST)
        content = reports.statement(campaign, *form.days()).csv()
        disposition = f'attachment; filename="{campaign.pk}.csv"'
        return HttpResponse(content, "text/csv; charset=utf-8", headers={"Content-Disposition": disposition})

    def statement_json(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the statement for a program."""
        campaign, form = self._visible(request, object_id), DaysForm(request.GET)
        if not form.is_valid():
            return JsonResponse({"errors": form.errors}, status=HTTPStatus.BAD_REQUEST)
        return JsonResponse(reports.statement(campaign, *form.days()).body())

    def _visible(self, request: HttpRequest, object_id: str, *, to_change: bool = False) -> Campaign:
        allowed = self.has_change_permission if to_change else self.has_view_permission
        if not allowed(request):
            raise PermissionDenied
        campaign: Campaign = get_object_or_404(self.get_queryset(request), pk=unquote(object_id))
        return campaign

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        everywhere = self.admin_site.each_context(request)
        return TemplateResponse(request, template, everywhere | {"opts": self.model._meta} | context)

    @admin.display(description="status", ordering="status")
    def status_shown(self, campaign: Campaign) -> SafeString:
        """Return the status in its colour."""
        return label(campaign.status, campaign.get_status_display())

    @admin.display(description="settled / reserved / left")
    def budget_bar(self, campaign: Any) -> SafeString:
        """Draw where the budget went."""
        if campaign.pk is None or campaign.budget_minor in (None, 0):
            return format_html("{}", "–")
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


def _to(page: str, *arguments: str) -> HttpResponse:
    return HttpResponseRedirect(reverse(f"admin:incentives_campaign_{page}", args=arguments))


def _user(request: HttpRequest) -> Any:
    return request.user
