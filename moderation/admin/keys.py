"""API keys: issued, replaced and revoked. A new one is shown in the answer itself, in no message and no session."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from unfold.decorators import action  # type: ignore[import-untyped]  # unfold ships no types
from unfold.widgets import (  # type: ignore[import-untyped]  # as above
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from mask_social import clock
from mask_social.errors import ApiError
from moderation import api_keys
from moderation.admin_parts import ModelAdmin, label, link_to
from moderation.api_keys import EXPIRES_SOON, IssuedKey
from moderation.models import ApiKey

_ISSUED = "moderation.issued_key"


def _in_future(when: datetime | None) -> datetime | None:
    if when is not None and when <= clock.now():
        raise forms.ValidationError("A key cannot have expired before it was issued.")
    return when


class ApiKeyForm(forms.ModelForm[ApiKey]):
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        initial=ApiKey.Scope.values,
        help_text="What the key may do.",
    )

    def clean_expires_at(self) -> datetime | None:
        """Refuse a time that is over."""
        return _in_future(self.cleaned_data["expires_at"])


class RotationForm(forms.Form):
    """For how long the old key goes on, and until when the new one."""

    overlap_hours = forms.TypedChoiceField(
        label="The old key works",
        coerce=int,
        choices=[(0, "no longer"), (1, "for an hour"), (24, "for a day"), (72, "for three days"), (168, "for a week")],
        initial=api_keys.DEFAULT_OVERLAP_HOURS,
        widget=UnfoldAdminSelectWidget,
    )
    expires_at = forms.SplitDateTimeField(
        label="The new key expires",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Empty: when the old one would have, or never.",
    )

    def clean_expires_at(self) -> datetime | None:
        """Refuse a time that is over."""
        return _in_future(self.cleaned_data["expires_at"])


class StateFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states to choose from."""
        return [
            ("live", "opens the door"),
            ("soon", f"expires within {EXPIRES_SOON.days} days"),
            ("expired", "expired"),
            ("revoked", "revoked"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Return the keys in the chosen state."""
        now = clock.now()
        kept = {
            "live": Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=now)),
            "soon": Q(revoked_at=None, expires_at__gt=now, expires_at__lte=now + EXPIRES_SOON),
            "expired": Q(revoked_at=None, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(kept.get(self.value() or "", Q()))


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin[ApiKey]):
    """Nothing of a key that exists can be changed, but it can be replaced and revoked."""

    form = ApiKeyForm
    list_display = ("name", "platform", "prefix", "state", "scopes", "last_used_at", "expires_at", "created_at")
    list_filter = (StateFilter, ("platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("platform",)
    search_fields = ("name", "=prefix")
    actions = ("revoke_selected", "revoke_lines")
    actions_detail = ("rotate_key",)

    class Media:
        css = {"all": ["moderation/panel.css"]}

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return what is asked for, or what is known."""
        asked = ("platform", "name", "scopes", "calls_per_minute", "expires_at")
        known = ("prefix", "state", "created_at", "last_used_at", "revoked_at", "replaced_by")
        return asked if obj is None else (*asked, *known)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return what is worked out."""
        return () if obj is None else ("state", "replaced_by")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Refuse: a revoked key stays known as such."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change keys."""
        return bool(request.user.has_perm("moderation.change_apikey"))

    def has_rotate_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Ask for the right to issue keys."""
        return self.has_add_permission(request)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Issue the key."""
        issued = api_keys.issue_key(
            obj.platform,
            name=obj.name,
            scopes=form.cleaned_data["scopes"],
            calls_per_minute=obj.calls_per_minute,
            expires_at=obj.expires_at,
        )
        obj.pk = issued.api_key.pk
        obj.refresh_from_db()
        request.META[_ISSUED] = issued

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, this once."""
        return self._shown(request, request.META[_ISSUED])

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Offer to replace a key that works and was not replaced."""
        shown: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's own
        return shown if ApiKey.objects.filter(pk=object_id, successor=None, revoked_at=None).exists() else []

    @action(description="Replace it", url_path="rotate", icon="autorenew", permissions=["rotate"])  # type: ignore[untyped-decorator]  # unfold
    def rotate_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for how long the old key goes on, and show the new one."""
        old = self.get_object(request, object_id)
        if old is None:
            raise Http404
        if not self.has_view_permission(request, old):
            raise PermissionDenied
        form = RotationForm(request.POST or None)
        if form.is_valid():
            overlap = timedelta(hours=form.cleaned_data["overlap_hours"])
            try:
                issued = api_keys.rotate(old, overlap=overlap, expires_at=form.cleaned_data["expires_at"])
            except ApiError as error:
                form.add_error(None, error.detail)
            else:
                old.refresh_from_db()
                self.log_change(request, old, f"Replaced by {issued.api_key}.")
                return self._shown(request, issued, old)
        context = {"title": f"Replace {old}", "form": form, "old": old, **self._page(request)}
        return TemplateResponse(request, "moderation/key_rotation.html", context)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke for good."""
        revoked = sum(api_keys.revoke(api_key) for api_key in queryset)
        messages.success(request, f"{revoked} revoked.")

    @admin.action(description="Revoke the selected keys and all that took their place", permissions=["revoke"])
    def revoke_lines(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke what a thief may have made of them, too."""
        revoked = sum(api_keys.revoke_line(api_key) for api_key in queryset)
        messages.success(request, f"{revoked} revoked.")

    @admin.display(description="status")
    def state(self, api_key: ApiKey) -> SafeString:
        """Say whether it opens the door, and for how long."""
        now = clock.now()
        if api_key.revoked_at:
            return label("revoked")
        if api_key.expires_at is None or api_key.expires_at > now + EXPIRES_SOON:
            return label("active")
        if api_key.expires_at <= now:
            return label("disabled", "expired")
        left = api_key.expires_at - now
        return label("pending", f"expires in {left.days} days" if left.days else "expires within a day")

    @admin.display(description="replaced by")
    def replaced_by(self, api_key: ApiKey) -> SafeString:
        """Lead to the key that took its place."""
        return link_to("moderation_apikey", api_key.successor_id, api_key.successor)

    def _shown(self, request: HttpRequest, issued: IssuedKey, old: ApiKey | None = None) -> HttpResponse:
        context = {"title": f"{issued.api_key} was issued", "issued": issued, "old": old, **self._page(request)}
        answer = TemplateResponse(request, "moderation/key_shown.html", context)
        answer["Cache-Control"] = "no-store"
        return answer

    def _page(self, request: HttpRequest) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
