"""Awards of badges: what each rests on, all that became of it, and what staff do by hand, each time with a reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import (  # type: ignore[import-untyped]  # as above
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from incentives import artwork
from incentives.admin.badge_parts import STYLES, award_panel, badge_name
from incentives.badges import staff
from incentives.badges.staff import StepError
from incentives.models import BadgeAward, BadgeRule
from moderation.admin_parts import ModelAdmin, Operated, label, link_to, member, moment
from moderation.models import Author, Platform


@dataclass(frozen=True, slots=True)
class AwardStep:
    """A step that staff may take with an award."""

    title: str
    asked: str
    variant: str
    take: Callable[[int, User, str], BadgeAward]
    follows: Sequence[str]


_STEPS = {
    "suspend": AwardStep(
        "Suspend",
        "It is put on hold, and does not show until somebody reinstates it.",
        "default",
        staff.suspend,
        (BadgeAward.Status.ACTIVE,),
    ),
    "revoke": AwardStep(
        "Revoke",
        "It is taken back. Posts do not earn it again; somebody may reinstate it.",
        "danger",
        staff.revoke,
        (BadgeAward.Status.ACTIVE, BadgeAward.Status.SUSPENDED),
    ),
    "reinstate": AwardStep(
        "Reinstate",
        "It counts again. Where the author's posts earn it, they alone decide from then on.",
        "primary",
        staff.reinstate,
        (BadgeAward.Status.SUSPENDED, BadgeAward.Status.REVOKED),
    ),
}


class ReasonForm(forms.Form):
    """Why a step is taken."""

    reason = forms.CharField(
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The history of the award keeps it, for staff.",
    )


class GrantForm(ReasonForm):
    """Whom to give which badge, and why."""

    platform = forms.ModelChoiceField(Platform.objects.all(), widget=UnfoldAdminSelectWidget)
    author = forms.CharField(
        max_length=128, widget=UnfoldAdminTextInputWidget, help_text="The platform's own id of the author."
    )
    rule = forms.ModelChoiceField(BadgeRule.objects.all(), label="Badge", widget=UnfoldAdminSelectWidget)
    field_order = ("platform", "author", "rule", "reason")

    def clean(self) -> dict[str, Any]:
        """Find the author."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("platform") and cleaned.get("author"):
            known = Author.objects.filter(platform=cleaned["platform"], external_id=cleaned["author"])
            cleaned["found"] = known.first()
            if cleaned["found"] is None:
                self.add_error("author", f"{cleaned['platform']} has sent no post of such an author.")
        return cleaned


@admin.register(BadgeAward)
class BadgeAwardAdmin(Operated, ModelAdmin[BadgeAward]):
    list_display = ("badge", "author", "platform", "status_shown", "decided_by", "awarded", "expires", "post")
    list_filter = ("status", "rule", "by_staff", "author__platform")
    list_select_related = ("rule", "author__platform", "verdict")
    search_fields = ("author",)
    searched_ids = {"bdg": ["public_id"], "post": ["verdict__post"]}
    author_path = "author"
    search_help_text = "the author's id, or how it begins; the award's id; or the id of the post that tipped the scale"
    change_form_outer_before_template = "incentives/badge_award_panel.html"
    actions_list = ("award_by_hand",)

    class Media:
        css = STYLES

    def get_fieldsets(self, request: HttpRequest, obj: BadgeAward | None = None) -> list[Any]:
        """Show no fields: the panel tells all."""
        return []

    def get_urls(self) -> list[URLPattern]:
        """Add the steps."""

        def at(name: str) -> URLPattern:
            view = self.admin_site.admin_view(self.step_view)
            return path(f"<int:award_id>/{name}/", view, {"name": name}, name=f"incentives_badgeaward_{name}")

        return [*map(at, _STEPS), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show an award: what it rests on, what became of it, and what may be done."""
        award = self._found(request, object_id) if object_id.isdecimal() else None
        context = extra_context or {}
        if award is not None:
            steps = _STEPS.items() if self.has_operate_permission(request) else ()
            context |= {
                "award": award,
                "panel": award_panel(award),
                "status_label": label(award.status, award.get_status_display()),
                "steps": [_button(award, name, step) for name, step in steps if award.status in step.follows],
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def step_view(self, request: HttpRequest, award_id: int, name: str) -> HttpResponse:
        """Ask why, and then take a step."""
        award, step = self._found(request, award_id), _STEPS[name]
        if not self.has_operate_permission(request):
            raise PermissionDenied
        if award is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        page = reverse("admin:incentives_badgeaward_change", args=[award.pk])
        if form.is_valid():
            try:
                award = step.take(award.pk, member(request), form.cleaned_data["reason"])
            except StepError as error:
                form.add_error(error.field, error.message)
            else:
                self.log_change(request, award, f"{step.title}: {form.cleaned_data['reason']}")
                self.message_user(request, f"{award} is now {award.get_status_display()}.")
                return HttpResponseRedirect(page)
        context = {
            "title": f"{step.title} “{award.rule.title}” of {award.author.external_id}",
            "artwork": artwork.render(award.rule),
            "asked": step.asked,
            "form": form,
            "verb": step.title,
            "variant": step.variant,
            "back": page,
        }
        return self._page(request, context)

    @action(description="Award by hand", url_path="by-hand", icon="award_star", permissions=["operate"])  # type: ignore[untyped-decorator]  # unfold
    def award_by_hand(self, request: HttpRequest) -> HttpResponse:
        """Ask whom and why, and then give a badge."""
        form = GrantForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            values = form.cleaned_data
            try:
                award = staff.grant(values["rule"], values["found"], member(request), values["reason"])
            except StepError as error:
                form.add_error(error.field, error.message)
            else:
                self.log_addition(request, award, f"Awarded by hand: {values['reason']}")
                self.message_user(request, f"{award} is now {award.get_status_display()}.")
                return HttpResponseRedirect(reverse("admin:incentives_badgeaward_change", args=[award.pk]))
        context = {
            "title": "Award a badge by hand",
            "asked": "The author keeps it whatever they post, until it runs out or somebody takes it back.",
            "form": form,
            "verb": "Award",
            "variant": "primary",
            "back": reverse("admin:incentives_badgeaward_changelist"),
        }
        return self._page(request, context)

    def _found(self, request: HttpRequest, award_id: int | str) -> BadgeAward | None:
        return self.get_queryset(request).select_related("rule", "author__platform").filter(pk=award_id).first()

    def _page(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        everywhere = self.admin_site.each_context(request) | {"opts": self.opts}
        form: forms.Form = context["form"]
        return TemplateResponse(
            request, "incentives/badge_step.html", everywhere | {"media": self.media + form.media} | context
        )

    @admin.display(description="badge", ordering="rule__title")
    def badge(self, award: BadgeAward) -> SafeString:
        """Show the picture and the title."""
        return badge_name(award.rule, side=32)

    @admin.display(description="platform", ordering="author__platform__slug")
    def platform(self, award: BadgeAward) -> str:
        """Return whose author it is."""
        return str(award.author.platform)

    @admin.display(description="status", ordering="status")
    def status_shown(self, award: BadgeAward) -> SafeString:
        """Return the status in its colour."""
        return label(award.status, award.get_status_display())

    @admin.display(description="decided by", ordering="by_staff")
    def decided_by(self, award: BadgeAward) -> str:
        """Say whether posts decide about it or staff did."""
        return "staff" if award.by_staff else "posts"

    @admin.display(description="awarded", ordering="awarded_at")
    def awarded(self, award: BadgeAward) -> SafeString:
        """Return when it was given, the last time."""
        return moment(award.awarded_at)

    @admin.display(description="valid until", ordering="expires_at")
    def expires(self, award: BadgeAward) -> SafeString:
        """Return when it runs out."""
        return moment(award.expires_at)

    @admin.display(description="post")
    def post(self, award: BadgeAward) -> SafeString:
        """Lead to the post that tipped the scale."""
        post_id = award.verdict.post_id if award.verdict else None
        return link_to("moderation_post", post_id, post_id)


def _button(award: BadgeAward, name: str, step: AwardStep) -> dict[str, str]:
    url = reverse(f"admin:incentives_badgeaward_{name}", args=[award.pk])
    return {"url": url, "title": step.title, "variant": step.variant}
