"""The policies: a version is added, and never edited."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Max
from django.http import HttpRequest

from moderation.admin_parts import ModelAdmin
from moderation.models import Policy
from moderation.verdicts import STATES


class PolicyForm(forms.ModelForm[Policy]):
    def clean(self) -> dict[str, Any]:
        """Say which threshold is out of order; the database would only say that one is."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for state in STATES:
            likely, sure = cleaned.get(f"{state}_likely"), cleaned.get(f"{state}_sure")
            if likely is not None and sure is not None and not 0 <= likely <= sure <= 1:
                self.add_error(f"{state}_likely", "Keep 0 ≤ likely ≤ sure ≤ 1.")
        return cleaned


@admin.register(Policy)
class PolicyAdmin(ModelAdmin[Policy]):
    """A version is added and never edited; the form starts from the version that holds."""

    form = PolicyForm
    list_display = ("version", "scope", "rule", "min_face_score", "min_face_ratio", "note", "created_at")
    list_filter = ("rule", ("platform", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("platform",)
    ordering = ("-created_at",)
    readonly_fields = ("version",)
    fieldsets = (
        (None, {"fields": ("platform", "version", "rule", "note")}),
        ("Faces that count", {"fields": (("min_face_score", "min_face_ratio"),)}),
        (
            "Thresholds",
            {
                "description": "From “sure” up a face is in the state; below “likely” it is not.",
                "fields": tuple((f"{state}_sure", f"{state}_likely") for state in STATES),
            },
        ),
    )

    def has_change_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Refuse: verdicts point to it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Policy | None = None) -> bool:
        """Refuse: verdicts point to it."""
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start from the newest policy for everybody."""
        newest = dict(Policy.objects.filter(platform=None).order_by("-version").values().first() or {})
        copied = {name: value for name, value in newest.items() if name not in {"id", "version", "note", "created_at"}}
        return copied | super().get_changeform_initial_data(request)

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        """Give the next version."""
        last = Policy.objects.filter(platform=obj.platform).aggregate(last=Max("version"))["last"]
        obj.version = (last or 0) + 1
        super().save_model(request, obj, form, change)

    @admin.display(description="for", ordering="platform")
    def scope(self, policy: Policy) -> str:
        """Say for whom it is."""
        return policy.platform.name if policy.platform else "every platform without its own"
