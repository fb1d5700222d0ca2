"""The rules of badges, with a preview, and the jobs that measure everybody by them. Nothing is deleted here."""

import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import (  # type: ignore[import-untyped]  # as above
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from incentives import artwork
from incentives.admin import badge_parts
from incentives.admin.badge_parts import badge_name, growth_of, level_of, sparkline
from incentives.badges import Terms, backfill
from incentives.badges.preview import preview as preview_of
from incentives.credentials.criteria import in_words
from incentives.models import BadgeAward, BadgeBackfill, BadgeRule
from mask_social import clock
from moderation.admin_parts import ModelAdmin, Operated, Previewed, label, link_to, member, progress

_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
# The buttons, as unfold names them.
_MEASURE = "incentives_badgerule_save_and_measure"
# How often the page of a job that is under way loads itself again.
_REFRESH_SECONDS = 2


class BadgeRuleForm(Previewed, forms.ModelForm[BadgeRule]):
    """A rule as staff may change it; asked for a preview, it is never taken for valid, so that nothing is saved."""

    preview = "incentives_badgerule_preview"

    class Meta:
        model = BadgeRule
        fields = "__all__"  # noqa: DJ007 - the fieldsets of the admin choose
        widgets = {
            "description": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "regions": UnfoldAdminTextInputWidget(attrs={"placeholder": "DE, AT, US-CA"}),
        }

    def clean_regions(self) -> list[str]:
        """Refuse what is no region."""
        regions = [region.strip().upper() for region in self.cleaned_data["regions"] or () if region.strip()]
        for region in regions:
            if not _REGION.fullmatch(region):
                raise ValidationError(f"“{region}” is no ISO 3166 code such as DE or US-CA.")
        return list(dict.fromkeys(regions))

    def clean(self) -> dict[str, Any]:
        """Say which field is wrong; the database would only say that one is."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        starts, ends = cleaned.get("starts_at"), cleaned.get("ends_at")
        if starts and ends and ends <= starts:
            self.add_error("ends_at", "It must end after it starts.")
        if cleaned.get("grace_days") and cleaned.get("kind") != BadgeRule.Kind.STREAK:
            self.add_error("grace_days", "Only a streak has days of grace.")
        series, level = cleaned.get("series"), cleaned.get("level")
        others = BadgeRule.objects.exclude(pk=self.instance.pk or "")
        if series and level and others.filter(series=series, level=level).exists():
            self.add_error("level", f"“{series}” has a level {level} already.")
        return cleaned


@admin.register(BadgeRule)
class BadgeRuleAdmin(ModelAdmin[BadgeRule]):
    form = BadgeRuleForm
    list_display = ("badge", "level_shown", "asks_for", "holders", "growth_shown", "is_active")
    list_filter = ("kind", "is_active", "series")
    search_fields = ("title", "code")
    change_form_outer_before_template = "incentives/badge_rule_panel.html"
    actions = ("measure_everybody",)
    actions_submit_line = ("save_and_measure", "preview")
    fieldsets = (
        (None, {"fields": ("title", "code", "description", "is_active")}),
        ("What it asks for", {"fields": ("kind", ("threshold", "grace_days"), "regions", "starts_at", "ends_at")}),
        ("How it looks and how long it is valid", {"fields": (("series", "level"), ("symbol", "valid_days"))}),
    )

    class Media:
        css = badge_parts.STYLES

    def get_queryset(self, request: HttpRequest) -> QuerySet[BadgeRule]:
        """Count the holders along."""
        active = BadgeAward.objects.filter(rule=OuterRef("pk"), status=BadgeAward.Status.ACTIVE).order_by()
        count = Subquery(active.values("rule").annotate(n=Count("*")).values("n"), output_field=IntegerField())
        return super().get_queryset(request).annotate(holder_count=Coalesce(count, 0))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Take the growth of all badges of the page along, in one query."""
        page = super().get_changelist_instance(request)
        page.result_list = list(page.result_list)
        growth = growth_of([rule.pk for rule in page.result_list], clock.now())
        for rule in page.result_list:
            rule.growth = growth[rule.pk]
        return page

    def get_readonly_fields(self, request: HttpRequest, obj: BadgeRule | None = None) -> tuple[str, ...]:
        """Keep the code of a rule that exists: another code would be another rule."""
        return () if obj is None else ("code",)

    def has_delete_permission(self, request: HttpRequest, obj: BadgeRule | None = None) -> bool:
        """Refuse: switch it off instead; awards hang on it."""
        return False

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show the artwork, how the badge fares, and the preview where one was asked for."""
        form = context["adminform"].form
        rule: BadgeRule = form.instance
        if not form.errors and (rule.pk or form.is_bound):
            context["badge"] = _rule_panel(rule)
        if getattr(form, "is_for_preview", False) and not form.errors:
            context["preview"] = preview_of(rule)
        if kwargs.get("add"):  # unfold offers these for rows that exist alone
            context["actions_submit_line"] = self.get_actions_submit_line(request, 0)  # type: ignore[attr-defined]  # unfold
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: BadgeRule, form: Any, change: bool) -> None:
        """Save, and say that nobody's badge changed with it."""
        before = BadgeRule.objects.filter(pk=obj.pk).first() if change else None
        super().save_model(request, obj, form, change)
        if before is not None and Terms.of(before) != Terms.of(obj) and _MEASURE not in request.POST:
            self.message_user(request, "Who holds it stays as it is until everybody is measured.", messages.WARNING)

    @action(description="Preview", icon="visibility", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def preview(self, request: HttpRequest, obj: BadgeRule) -> None:
        """Do nothing: a form that is previewed is not saved, and the page shows the rest."""

    @action(description="Save and measure everybody", icon="groups", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def save_and_measure(self, request: HttpRequest, obj: BadgeRule) -> None:
        """Start a backfill with the rule as it was just saved."""
        self._measure(request, obj)

    @admin.action(description="Measure everybody by this rule", permissions=["change"])
    def measure_everybody(self, request: HttpRequest, queryset: QuerySet[BadgeRule]) -> None:
        """Start a backfill of each."""
        for rule in queryset:
            self._measure(request, rule)

    def _measure(self, request: HttpRequest, rule: BadgeRule) -> None:
        job = backfill.start(rule, member(request))
        self.log_change(request, rule, f"Everybody is measured by it: {job}.")
        where = link_to("incentives_badgebackfill", job.pk, f"{job.total} authors")
        self.message_user(request, format_html("{}: {} are being measured.", rule.title, where))

    @admin.display(description="badge", ordering="title")
    def badge(self, rule: BadgeRule) -> SafeString:
        """Show the picture and the title."""
        return badge_name(rule)

    @admin.display(description="series and level", ordering="series")
    def level_shown(self, rule: BadgeRule) -> str:
        """Return which level of which badge it is."""
        return level_of(rule)

    @admin.display(description="asks for", ordering="threshold")
    def asks_for(self, rule: BadgeRule) -> str:
        """Say what must be done for it."""
        return in_words(rule)

    @admin.display(description="holders", ordering="holder_count")
    def holders(self, rule: Any) -> int:
        """Return how many authors hold it now."""
        return int(rule.holder_count)

    @admin.display(description="awarded lately")
    def growth_shown(self, rule: Any) -> SafeString:
        """Draw how many got it on each of the last days."""
        return sparkline(rule.growth)


def _rule_panel(rule: BadgeRule) -> dict[str, Any]:
    job = BadgeBackfill.objects.filter(rule=rule.pk).order_by("-pk").first()
    return {
        "artwork": artwork.render(rule),
        "criteria": in_words(rule),
        "is_new": rule._state.adding,
        "holders": BadgeAward.objects.filter(rule=rule.pk, status=BadgeAward.Status.ACTIVE).count(),
        "growth": sparkline(growth_of([rule.pk], clock.now())[rule.pk]),
        "job": job,
        "progress": progress(job.done, job.total) if job else "",
    }


@admin.register(BadgeBackfill)
class BadgeBackfillAdmin(Operated, ModelAdmin[BadgeBackfill]):
    list_display = ("rule", "bar", "gained", "lost", "state", "requested_by", "created_at", "finished_at")
    list_filter = ("status", "rule")
    list_select_related = ("rule", "requested_by")
    fields = list_display
    readonly_fields = fields
    change_form_outer_after_template = "incentives/badge_job_buttons.html"
    actions = ("cancel_selected",)

    class Media:
        css = badge_parts.STYLES

    def get_urls(self) -> list[URLPattern]:
        """Add the button that cancels."""
        view = self.admin_site.admin_view(self.cancel_view)
        return [path("<int:job_id>/cancel/", view, name="incentives_badgebackfill_cancel"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a job; as long as it is under way the page loads itself again, and offers to cancel it."""
        pending = BadgeBackfill.objects.filter(status=BadgeBackfill.Status.PENDING)
        is_pending = object_id.isdecimal() and pending.filter(pk=object_id).exists()
        context = (extra_context or {}) | {"may_cancel": is_pending and self.has_operate_permission(request)}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        if is_pending:
            response["Refresh"] = str(_REFRESH_SECONDS)
        return response

    def cancel_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Stop one job."""
        if not self.has_operate_permission(request) or request.method != "POST":
            raise PermissionDenied
        if backfill.cancel(job_id):
            self.message_user(request, "Cancelled. What was given and taken back until now stays.")
        return HttpResponseRedirect(reverse("admin:incentives_badgebackfill_change", args=[job_id]))

    @admin.action(description="Cancel the selected jobs", permissions=["operate"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[BadgeBackfill]) -> None:
        """Stop them where they are."""
        cancelled = sum(backfill.cancel(job.pk) for job in queryset)
        self.message_user(request, f"{cancelled} cancelled. What was given and taken back until now stays.")

    @admin.display(description="status", ordering="status")
    def state(self, job: BadgeBackfill) -> SafeString:
        """Return the status in its colour."""
        return label(job.status, job.get_status_display())

    @admin.display(description="authors measured")
    def bar(self, job: BadgeBackfill) -> SafeString:
        """Draw how far it is."""
        return progress(job.done, job.total)
