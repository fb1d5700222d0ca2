"""What the admin pages of every app share."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from moderation.models import Verdict

if TYPE_CHECKING:  # unfold has no types; its classes are subclasses of these
    from django.contrib.admin import ModelAdmin, TabularInline
else:
    from unfold.admin import ModelAdmin, TabularInline

__all__ = [
    "ModelAdmin",
    "Operated",
    "ReadOnly",
    "TabularInline",
    "label",
    "link_to",
    "member",
    "moment",
    "outcome_label",
    "progress",
]

NOT_YET = "no verdict yet"
_VARIANTS = {
    **dict.fromkeys(("masked", "analyzed", "done", "active", "delivered", "settled", "upheld"), "success"),
    **dict.fromkeys(("incorrect", "partly_masked", "pending", "running", "sending", "open"), "warning"),
    **dict.fromkeys(
        ("reserved", "suspended", "paused", "open", "cooldown", "daily_limit", "account_too_young", "exhausted"),
        "warning",
    ),
    **dict.fromkeys(
        ("unmasked", "failed", "revoked", "voided", "disabled", "confirmed", "near_duplicate", "refunded"), "danger"
    ),
    **dict.fromkeys(("no_face", "model", "reviewer", "appeal", "reevaluation", "dismissed", "funded"), "info"),
    "uncertain": "primary",
}


def label(value: str, text: str | None = None) -> SafeString:
    """Return a value of a choice in its colour."""
    context = {"text": text or value, "variant": _VARIANTS.get(value, "default")}
    return render_to_string("unfold/helpers/label.html", context)


def outcome_label(outcome: str | None) -> SafeString:
    """Return an outcome in its colour."""
    return label(outcome or "", Verdict.Outcome(outcome).label if outcome else NOT_YET)


def progress(done: int, total: int) -> SafeString:
    """Return a bar that says how much of the work is done."""
    percent = 100 * min(done, total) / total if total else 100.0
    context = {"done": done, "total": total, "percent": f"{percent:.1f}"}
    return render_to_string("moderation/progress.html", context)


def link_to(page: str, pk: int | str | None, text: object) -> SafeString:
    """Return a link to a row's page; a dash where there is none."""
    if pk is None:
        return format_html("{}", "–")
    url = reverse(f"admin:{page}_change", args=[quote(pk)])  # the admin reads an underscore as an escape
    return format_html('<a class="underline" href="{}">{}</a>', url, text)


def moment(when: datetime | None) -> SafeString:
    """Return a time to the second, on one line."""
    text = "–" if when is None else timezone.localtime(when).strftime("%Y-%m-%d %H:%M:%S")
    return format_html('<span style="white-space: nowrap">{}</span>', text)


def member(request: HttpRequest) -> User:
    """Return who of the staff asks."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


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


class Operated(ReadOnly):
    """Only read, but with actions for whoever may change such rows."""

    model: Any

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Ask for the permission to change; actions name this one."""
        options = self.model._meta
        return bool(request.user.has_perm(f"{options.app_label}.change_{options.model_name}"))
