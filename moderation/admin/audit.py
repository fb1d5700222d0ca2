"""The audit log, to be read."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from moderation.admin_parts import ModelAdmin, ReadOnly, moment
from moderation.models import AuditEntry


class KindFilter(admin.SimpleListFilter):
    """Narrow the log by what kind of deed it tells of."""

    title = "kind"
    parameter_name = "kind"
    _kinds = {
        "changes": ("changes", ~Q(action__startswith="sign_") & ~Q(action="view")),
        "signs": ("coming and going", Q(action__startswith="sign_")),
        "views": ("photos seen", Q(action="view")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the kinds."""
        return [(name, title) for name, (title, _) in self._kinds.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Narrow."""
        kind = self._kinds.get(self.value() or "")
        return queryset.filter(kind[1]) if kind else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, ModelAdmin[AuditEntry]):
    list_display = ("number", "at", "actor", "action", "thing", "brief", "address")
    list_filter = (KindFilter,)
    search_fields = ("actor",)
    search_help_text = "who acted; or the id of what it was done to, with its kind in front if there are several"
    ordering = ("-number",)
    fields = (
        *("number", "at", "actor", "address", "action", "thing", "object_id", "told", "request_id"),
        *("previous_hash", "hash"),
    )
    readonly_fields = fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """Look for a whole name or id, which an index can find."""
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        kind, _, key = term.partition(" ")
        if key:
            return queryset.filter(object_type=kind, object_id=key), False
        kinds = list(_kinds_of_things())
        return queryset.filter(Q(actor=term) | Q(object_type__in=kinds, object_id=term)), False

    @admin.display(description="at", ordering="number")
    def at(self, entry: AuditEntry) -> SafeString:
        """Return when it was done."""
        return moment(entry.created_at)

    @admin.display(description="to")
    def thing(self, entry: AuditEntry) -> str:
        """Return what it was done to."""
        kind = entry.object_type.rpartition(".")[2]
        return f"{kind} {entry.object_name or entry.object_id}".strip() or "–"

    @admin.display(description="details")
    def brief(self, entry: AuditEntry) -> str:
        """Return the words of the page, or the names of what changed."""
        said = str(entry.details.get("said", ""))
        return said or ", ".join(entry.details.get("changes", entry.details)) or "–"

    @admin.display(description="details")
    def told(self, entry: AuditEntry) -> SafeString:
        """Return all that is told, laid out to be read."""
        text = json.dumps(entry.details, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', text)


def _kinds_of_things() -> list[str]:
    return sorted(model._meta.label_lower for model in admin.site._registry)
