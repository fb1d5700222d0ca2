"""What one request of staff does: gathered while it works, and written down in its transaction.

Every page of the admin comes through here, so no page has to think of it: the rows that a page is about are looked at
before and after, and what differs is told, with the words that the page itself had for it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms.models import _get_foreign_key  # what the admin itself asks
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from moderation import audit
from moderation.audit import Deed

View = Callable[..., HttpResponseBase]
_Key = tuple[type[Model], str]
HIDDEN = "(hidden)"
_SECRET = re.compile(r"password|secret|digest|token|private|cipher")
# Told by entries of their own, or by nobody's doing.
_IGNORED = {"last_login", "updated_at"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_CHOSEN_NAMED = 100


class Trail:
    """The rows that a request is about, as they were, and what its pages said of them."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._before: dict[_Key, dict[str, Any]] = {}
        self._names: dict[_Key, str] = {}
        self._notes: dict[_Key, list[object]] = {}
        self._chosen: dict[str, list[str]] = {}

    def watch(self, rows: Iterable[Model]) -> None:
        """Keep how rows are before anything happens."""
        for row in rows:
            key = _key(row)
            self._before.setdefault(key, values_of(row))
            self._names.setdefault(key, str(row))

    def choose(self, rows: QuerySet[Any]) -> None:
        """Watch the rows of a list that an action was asked for."""
        plain = rows.model._base_manager.filter(pk__in=rows.order_by().values("pk"))
        self.watch(plain)
        self._chosen[rows.model._meta.label_lower] = [pk for model, pk in self._before if model is rows.model]

    def note(self, row: Model, message: object) -> None:
        """Keep what a page says that it did to a row."""
        key = _key(row)
        self._names[key] = str(row)
        self._notes.setdefault(key, []).append(message)

    def deeds(self) -> Iterator[Deed]:
        """Yield what was done, by how the rows are now."""
        told = False
        after = _rows_now([*self._before, *self._notes])
        for key in dict.fromkeys([*self._notes, *self._before]):
            before, now = self._before.get(key, {}), after.get(key, {})
            changes = difference(before, now)
            words = [message for message in self._notes.get(key, ()) if isinstance(message, str) and message]
            if not changes and key not in self._notes:
                continue
            told = True
            action = self._action if before and now else "delete" if before else "add"
            details: dict[str, Any] = {"said": " ".join(words)} if words else {}
            if changes:
                details["changes"] = changes
            yield Deed(action, key[0]._meta.label_lower, key[1], self._names[key], details)
        if told:
            return
        for label, chosen in self._chosen.items():
            yield Deed(self._action, label, details={"chosen": chosen[:_CHOSEN_NAMED], "count": len(chosen)})


_trail: ContextVar[Trail | None] = ContextVar("trail", default=None)


def current() -> Trail | None:
    """Return the trail of the request that is being answered; None where none is kept."""
    return _trail.get()


def recorded(view: View) -> View:
    """Make what a page of the admin changes one transaction, together with the entries that tell of it."""
    page = _page_of(view)

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in _SAFE:
            return view(request, *args, **kwargs)
        with transaction.atomic(), _kept(Trail(_action(request, page))) as trail:
            if page is None:
                trail.watch(User.objects.filter(username=request.user.get_username()))
            else:
                _watch_page(trail, page, request, [*args, *kwargs.values()])
            response = view(request, *args, **kwargs)
            audit.record(*trail.deeds())
        return response

    return inner


@contextmanager
def _kept(trail: Trail) -> Iterator[Trail]:
    token = _trail.set(trail)
    try:
        yield trail
    finally:
        _trail.reset(token)


class Told:
    """A page of the admin whose words about rows go into the audit log, and the rows that it is asked about."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Keep that a row was added."""
        _note(obj, message)
        return super().log_addition(request, obj, message)  # type: ignore[misc]  # a mixin for pages

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Keep what was changed."""
        _note(obj, message)
        return super().log_change(request, obj, message)  # type: ignore[misc]  # as above

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Keep what is going to be deleted."""
        if trail := current():
            rows = list(queryset)
            trail.watch(rows)
            for row in rows:
                trail.note(row, "")
        return super().log_deletions(request, queryset)  # type: ignore[misc]  # as above

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Keep the rows that were added below another."""
        for formset in formsets or ():
            for row in formset.new_objects:
                _note(row, "")
        return super().construct_change_message(request, form, formsets, add)  # type: ignore[misc]  # as above

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Keep how the chosen rows of a list are before the action."""
        if (trail := current()) and request.POST.get("action") != "delete_selected":
            everything = request.POST.get("select_across") == "1"
            trail.choose(queryset if everything else queryset.filter(pk__in=request.POST.getlist("_selected_action")))
        answer: HttpResponse | None = super().response_action(request, queryset, *args, **kwargs)  # type: ignore[misc]  # as above
        return answer


def values_of(row: Model) -> dict[str, Any]:
    """Return the columns of a row and the names of what it is linked to, as JSON."""
    values = {field.attname: audit.plain(field.value_from_object(row)) for field in row._meta.concrete_fields}
    for link in row._meta.many_to_many:
        values[link.name] = sorted(str(other) for other in getattr(row, link.name).all())
    return values


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return for each field that differs what it was and became; of links what went and what came; never a secret."""
    changes: dict[str, list[Any]] = {}
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new or name in _IGNORED or (not before and new in ("", [], {})):
            continue
        if _SECRET.search(name):
            changes[name] = [HIDDEN if old else old, HIDDEN if new else new]
        elif isinstance(old, list) and isinstance(new, list):
            changes[name] = [[one for one in old if one not in new], [one for one in new if one not in old]]
        else:
            changes[name] = [old, new]
    return changes


def _note(row: Model, message: object) -> None:
    if trail := current():
        trail.note(row, message)


def _key(row: Model) -> _Key:
    return row._meta.concrete_model or type(row), str(row.pk)


def _rows_now(keys: Iterable[_Key]) -> dict[_Key, dict[str, Any]]:
    wanted: dict[type[Model], set[str]] = {}
    for model, pk in keys:
        wanted.setdefault(model, set()).add(pk)
    return {
        (model, str(row.pk)): values_of(row)
        for model, pks in wanted.items()
        for row in model._base_manager.filter(pk__in=pks)
    }


def _page_of(view: Any) -> ModelAdmin[Any] | None:
    """Return the page of a model that a view belongs to, through whatever it is wrapped in."""
    while view is not None:
        owner = getattr(view, "__self__", None)
        if owner is not None:
            return owner if isinstance(owner, ModelAdmin) else None
        view = getattr(view, "__wrapped__", None)
    return None


def _action(request: HttpRequest, page: ModelAdmin[Any] | None) -> str:
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    if page is None:
        return name
    if name.endswith("_changelist"):
        return request.POST.get("action") or "change"
    return name.removeprefix(f"{page.opts.app_label}_{page.opts.model_name}_") or "change"


def _watch_page(trail: Trail, page: ModelAdmin[Any], request: HttpRequest, parts: Iterable[Any]) -> None:
    """Watch the row that an address names, however the page calls it there, and what is edited below it."""
    keys = set()
    for part in {str(part) for part in parts} | {unquote(str(part)) for part in parts}:
        try:
            keys.add(page.opts.pk.to_python(part))
        except ValidationError:
            continue
    rows = page.model._base_manager.filter(pk__in=[key for key in keys if "\0" not in str(key)])
    trail.watch(rows)
    for row in rows:
        for inline in page.get_inline_instances(request, row):
            if inline.has_change_permission(request, row) or inline.has_delete_permission(request, row):
                link = _get_foreign_key(page.model, inline.model, fk_name=inline.fk_name)
                trail.watch(inline.model._base_manager.filter(**{link.name: row}))
