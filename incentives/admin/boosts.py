"""Boosts as they run at this moment, the terms they are given on, and the switch that ends them all."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types

from incentives import boosts
from incentives.admin import boost_parts
from incentives.models import Boost, BoostPolicy
from mask_social import clock
from moderation.admin_parts import ModelAdmin, Previewed, ReadOnly, label, link_to, moment
from moderation.models import Author

# The button, as unfold names it.


class StateFilter(admin.SimpleListFilter):
    """Which boosts are listed; those that run, if nothing else is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the others."""
        return [("over", "run out"), ("revoked", "taken back"), ("all", "all")]

    def choices(self, changelist: Any) -> Any:
        """Call the first choice what it is."""
        for choice in super().choices(changelist):
            yield choice | {"display": "running now"} if choice["query_string"].find("state=") < 0 else choice

    def queryset(self, request: HttpRequest, queryset: QuerySet[Boost]) -> QuerySet[Boost]:
        """Keep those of the state."""
        match self.value():
            case "over":
                return queryset.filter(revoked_at=None, ends_at__lte=clock.now())
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case "all":
                return queryset
        return queryset.filter(revoked_at=None, ends_at__gt=clock.now())


@admin.register(Boost)
class BoostAdmin(ReadOnly, ModelAdmin[Boost]):
    list_display = ("post_link", "author", "factor_now", "given", "remaining", "campaign", "begun")
    list_display_links = ("factor_now",)
    list_filter = (StateFilter, "post__platform", "campaign")
    list_select_related = ("post__author", "campaign")
    list_before_template = "incentives/boost_switch_state.html"
    change_form_before_template = "incentives/boost_panel.html"
    search_fields = ("post",)  # how, says get_search_results
    search_help_text = "the whole id of a post or of an author"
    fields = ("post_link", "author", "campaign", "factor_now", "given", "begun", "ends", "taken_back")
    readonly_fields = fields
    show_full_result_count = False
    # The youngest first: as ids sort by time, an index has them so.
    ordering = ("-pk",)

    class Media:
        css = boost_parts.STYLES

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Boost], search_term: str
    ) -> tuple[QuerySet[Boost], bool]:
        """Look for a whole id, which an index can find."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        if queryset.filter(post=term).exists():
            return queryset.filter(post=term), False
        authors = list(Author.objects.filter(external_id=term).values_list("pk", flat=True))
        return queryset.filter(post__author__in=authors), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Say above the list whether boosts count at all."""
        policies = BoostPolicy.objects.select_related("platform").order_by(F("platform").asc(nulls_first=True))
        return super().changelist_view(request, {**(extra_context or {}), "policies": policies})

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Find the switches that are off for all boosts of the page, in one query."""
        page = super().get_changelist_instance(request)
        page.result_list = list(page.result_list)
        off = boosts.switched_off()
        for boost in page.result_list:
            boost.is_switched_off = off.holds_for(boost)
        return page

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Draw how it fades."""
        boost = context.get("original")
        if boost is not None:
            boost.is_switched_off = boosts.switched_off().holds_for(boost)
            context["curve"] = boost_parts.curve_of(boost, clock.now())
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="post")
    def post_link(self, boost: Boost) -> SafeString:
        """Lead to the post."""
        return link_to("moderation_post", boost.post_id, boost.post_id)

    @admin.display(description="author")
    def author(self, boost: Boost) -> str:
        """Return whose post it is."""
        return boost.post.author.external_id

    @admin.display(description="factor now")
    def factor_now(self, boost: Any) -> SafeString:
        """Return what is left of the factor; a switch leaves nothing."""
        if boost.is_switched_off:
            return label("paused", "×1, switched off")
        now = boosts.factor_at(boost, clock.now())
        return label("active" if now > 1 else "over", f"×{now:.3f}")

    @admin.display(description="given")
    def given(self, boost: Boost) -> str:
        """Return the factor it began with."""
        return f"×{boost.factor:g}"

    @admin.display(description="remaining", ordering="ends_at")
    def remaining(self, boost: Boost) -> str:
        """Say how long it still runs."""
        return "taken back" if boost.revoked_at else boost_parts.remaining(boost, clock.now())

    @admin.display(description="begun")
    def begun(self, boost: Boost) -> SafeString:
        """Return when it began."""
        return moment(boost.starts_at)

    @admin.display(description="ends")
    def ends(self, boost: Boost) -> SafeString:
        """Return when it ends."""
        return moment(boost.ends_at)

    @admin.display(description="taken back")
    def taken_back(self, boost: Boost) -> SafeString:
        """Return when it was taken back."""
        return moment(boost.revoked_at)


class BoostPolicyForm(Previewed, forms.ModelForm[BoostPolicy]):
    """Terms as staff may change them; asked for a preview, they are never taken for valid, so nothing is saved."""

    preview = "incentives_boostpolicy_preview"

    class Meta:
        model = BoostPolicy
        fields = "__all__"  # noqa: DJ007 - the fieldsets of the admin choose
        help_texts = {
            "factor": "what the score of a masked post is multiplied by at first",
            "cap": "no boost ever exceeds it; at most 10",
            "half_life_seconds": "what exceeds 1 halves in this time: 21600 are six hours",
            "duration_seconds": "then it ends: 86400 are a day",
            "diversity_floor": "no post is multiplied by less, however many its author has in a ranking",
        }

    def clean(self) -> dict[str, Any]:
        """Say which field is wrong; the database would only say that one is."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        factor, cap = cleaned.get("factor"), cleaned.get("cap")
        if factor and cap and factor > cap:
            self.add_error("factor", f"It exceeds the cap of {cap:g}.")
        others = BoostPolicy.objects.exclude(pk=self.instance.pk)
        if "platform" in cleaned and others.filter(platform=cleaned["platform"]).exists():
            self.add_error("platform", "It has a policy already.")
        return cleaned


@admin.register(BoostPolicy)
class BoostPolicyAdmin(ModelAdmin[BoostPolicy]):
    form = BoostPolicyForm
    list_display = ("whose", "state", "factor", "fades", "cap", "author_diversity", "diversity_floor", "updated_at")
    list_select_related = ("platform",)
    change_form_outer_before_template = "incentives/boost_panel.html"
    actions_detail = ("switch",)
    actions_submit_line = ("preview",)
    fieldsets = (
        (None, {"fields": ("platform", "state")}),
        ("The boost of a masked post", {"fields": (("factor", "cap"), ("half_life_seconds", "duration_seconds"))}),
        ("An author's further posts", {"fields": (("author_diversity", "diversity_floor"),)}),
    )

    class Media:
        css = boost_parts.STYLES

    def get_readonly_fields(self, request: HttpRequest, obj: BoostPolicy | None = None) -> tuple[str, ...]:
        """Keep whose it is; the switch has a step of its own."""
        return ("state",) if obj is None else ("state", "platform")

    def has_delete_permission(self, request: HttpRequest, obj: BoostPolicy | None = None) -> bool:
        """Keep everybody's: its switch is for all."""
        return super().has_delete_permission(request, obj) and obj is not None and obj.platform_id is not None

    def get_urls(self) -> list[URLPattern]:
        """Add the question before the switch."""
        view = self.admin_site.admin_view(self.switch_view)
        return [
            path("<str:object_id>/switch/<slug:to>/", view, name="incentives_boostpolicy_switch"),
            *super().get_urls(),
        ]

    def save_model(
        self, request: HttpRequest, obj: BoostPolicy, form: forms.ModelForm[BoostPolicy], change: bool
    ) -> None:
        """Write what was changed and nothing else: somebody may use the switch meanwhile."""
        if not change:
            obj.save()
        elif form.changed_data:
            obj.save(update_fields=[*form.changed_data, "updated_at"])
            self.message_user(request, "Boosts that run keep the terms they were given.")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Draw what the terms come to, as they are saved or, where they are previewed, as they are in the form."""
        form = context["adminform"].form
        if not form.errors:
            context |= {
                "curve": boost_parts.curve_of_policy(form.instance),
                "bars": boost_parts.bars_of(form.instance),
                "is_preview": getattr(form, "is_for_preview", False),
            }
        if kwargs.get("add"):  # unfold offers these for rows that exist alone
            context["actions_submit_line"] = self.get_actions_submit_line(request, 0)  # type: ignore[attr-defined]  # unfold
        return super().render_change_form(request, context, *args, **kwargs)

    @action(description="Preview", icon="visibility", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def preview(self, request: HttpRequest, obj: BoostPolicy) -> None:
        """Do nothing: a form that is previewed is not saved, and the page shows the rest."""

    @action(description="Switch off or on", icon="power_settings_new", url_path="to-switch", permissions=["change"])  # type: ignore[untyped-decorator]  # unfold
    def switch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Lead to the question."""
        policy = get_object_or_404(BoostPolicy, pk=object_id)
        to = "off" if policy.is_enabled else "on"
        return HttpResponseRedirect(reverse("admin:incentives_boostpolicy_switch", args=[object_id, to]))

    def switch_view(self, request: HttpRequest, object_id: str, to: str) -> HttpResponse:
        """Ask, and then switch."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        policy = get_object_or_404(BoostPolicy.objects.select_related("platform"), pk=object_id)
        on = to == "on"
        if request.method == "POST":
            if boosts.switch(policy, on=on):
                self.log_change(request, policy, f"Switched {to}.")
            self.message_user(request, f"Boosts are {'on' if on else 'off'} for {_name(policy)}.")
            return HttpResponseRedirect(reverse("admin:incentives_boost_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "policy": policy,
            "on": on,
            "title": f"Switch boosts {'on' if on else 'off'} for {_name(policy)}",
        }
        return TemplateResponse(request, "incentives/boost_switch.html", context)

    @admin.display(description="platform", ordering="platform__slug")
    def whose(self, policy: BoostPolicy) -> str:
        """Return whose terms they are."""
        return _name(policy)

    @admin.display(description="boosts are", ordering="is_enabled")
    def state(self, policy: BoostPolicy) -> SafeString:
        """Return whether boosts count."""
        return label("active", "on") if policy.is_enabled else label("disabled", "switched off")

    @admin.display(description="fades")
    def fades(self, policy: BoostPolicy) -> str:
        """Say how it fades."""
        return boost_parts.curve_of_policy(policy).says


def _name(policy: BoostPolicy) -> str:
    return str(policy.platform) if policy.platform else "everybody"
