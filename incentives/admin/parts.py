"""What the pages share."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:  # unfold has no types; its classes are subclasses of these
    from django.contrib.admin import ModelAdmin, TabularInline
else:
    from unfold.admin import ModelAdmin, TabularInline

__all__ = ["ModelAdmin", "Operated", "ReadOnly", "TabularInline", "link_to", "moment", "status_label"]

_COLOURS = {
    **dict.fromkeys(("active", "delivered", "settled"), "success"),
    **dict.fromkeys(("reserved", "pending", "sending", "suspended", "paused"), "warning"),
    **dict.fromkeys(("failed", "revoked", "voided", "disabled"), "danger"),
}


def status_label(status: str) -> SafeString:
    """Return a status in its colour."""
    return render_to_string("unfold/helpers/label.html", {"text": status, "variant": _COLOURS.get(status, "default")})


def link_to(page: str, pk: object, text: object) -> SafeString:
    """Return a link to a row's page; a dash where there is none."""
    if pk is None:
        return format_html("–")
    return format_html('<a class="underline" href="{}">{}</a>', reverse(f"admin:{page}_change", args=[pk]), text)


def moment(when: datetime | None) -> SafeString:
    """Return a time to the second, on one line."""
    text = "–" if when is None else timezone.localtime(when).strftime("%Y-%m-%d %H:%M:%S")
    return format_html('<span style="white-space: nowrap">{}</span>', text)


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
