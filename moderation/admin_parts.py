"""What the admin pages of every app share."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from moderation.models import Author, Verdict
from moderation.trail import Told

if TYPE_CHECKING:  # unfold has no types; its classes are subclasses of these
    from django.contrib.admin import ModelAdmin as UnfoldModelAdmin
    from django.contrib.admin import TabularInline
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.admin import TabularInline

__all__ = [
    "CappedPaginator",
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

M = TypeVar("M", bound=Model)
#: Nobody leafs through more rows; whoever looks for one narrows the list.
MOST_LISTED = 10_000
#: More authors whose ids begin alike are not told apart by it.
_AUTHORS_FOUND = 200
_ID = re.compile(r"([a-z]+)_[0-9a-z]{26}")

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
    **dict.fromkeys(("no_face", "model", "reviewer", "appeal", "reevaluation", "dismissed", "funded", "held"), "info"),
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


class CappedPaginator(Paginator[Any]):
    """Counts no further than lists are leafed through: counting a million rows takes longer than showing some."""

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, or the most that are listed."""
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[:MOST_LISTED].count())


class ModelAdmin(Told, UnfoldModelAdmin[M]):
    """Lists that open at once over a million rows.

    Django's own search joins and compares without case, which no index serves. Where `searched_ids` is given, the kind
    of id that was asked for says where to look: a path or several, by the id's prefix. Anything else is the beginning
    of the id of an author, to whom `author_path` leads.
    """

    paginator = CappedPaginator
    show_full_result_count = False
    searched_ids: Mapping[str, Sequence[str]] = {}
    author_path = ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[M], search_term: str
    ) -> tuple[QuerySet[M], bool]:
        """Look by an index, where it is said by which."""
        term = search_term.strip().replace("\0", "")
        if not self.searched_ids or not term:
            return super().get_search_results(request, queryset, search_term)
        known = _ID.fullmatch(term.lower())
        if known and known[1] in self.searched_ids:
            found = Q()
            for path in self.searched_ids[known[1]]:
                found |= Q(**{path: term.lower()})
            return queryset.filter(found), False
        if not self.author_path:
            return queryset.none(), False
        authors = Author.objects.filter(external_id__startswith=term).order_by("external_id")
        keys = list(authors.values_list("pk", flat=True)[:_AUTHORS_FOUND])
        return queryset.filter(**{f"{self.author_path}__in": keys}), False


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


class Previewed:
    """A model form whose other button shows what would come of it: asked for that, it is never taken for valid."""

    preview: str
    is_bound: bool
    data: Any

    @property
    def is_for_preview(self) -> bool:
        """Say whether the button was Preview."""
        return self.is_bound and self.preview in self.data

    def is_valid(self) -> bool:
        """Say whether it may be saved."""
        valid: bool = super().is_valid()  # type: ignore[misc]  # a mixin for forms
        return valid and not self.is_for_preview
