"""The pages of the admin, opened one after the other as staff would: lists, their filters, a search, rows and forms."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, URLPattern, reverse

from moderation import audit

CHOICES_TRIED = 3
SEARCHED = "user-0001"
_USUAL = ("changelist", "add", "change", "history", "delete")


@dataclass(frozen=True, slots=True)
class Opened:
    """A page that was opened: its best time, and the queries that it took."""

    address: str
    ms: float
    queries: int
    status: int


def measure(*, only: str = "", rounds: int = 2, choices: int = CHOICES_TRIED) -> Iterator[Opened]:
    """Open every page as a superuser who is forgotten afterwards; so many choices of each filter are tried."""
    with transaction.atomic(), audit.unrecorded():
        client = Client(SERVER_NAME="localhost", HTTP_X_FORWARDED_PROTO="https")
        client.force_login(User.objects.create_superuser("measures-pages"))
        for address in _addresses(client, choices):
            if only in address:
                yield _open(client, address, rounds)
        transaction.set_rollback(True)


def _addresses(client: Client, choices: int) -> Iterator[str]:
    index = reverse("admin:index")
    yield from (f"{index}?days={days}" for days in (7, 30, 90))
    yield f"{index}?days=90&platform=seeded"
    for model, page in sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label):
        yield from _of_model(client, model, page, choices)


def _of_model(client: Client, model: Any, page: ModelAdmin[Any], tried: int) -> Iterator[str]:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    changelist = reverse(f"{name}_changelist")
    yield changelist
    response: Any = client.get(changelist)
    found = getattr(response, "context_data", None) or {}
    if "cl" not in found:
        return
    rows = found["cl"]
    yield f"{changelist}?p=2"
    if page.search_fields:
        yield f"{changelist}?q={SEARCHED}"
    for spec in rows.filter_specs:
        choices = [choice for choice in spec.choices(rows) if "query_string" in choice and not choice["selected"]]
        yield from (changelist + choice["query_string"] for choice in choices[:tried])
    if response.wsgi_request.user.is_superuser and page.has_add_permission(response.wsgi_request):
        yield reverse(f"{name}_add")
    shown = list(rows.result_list)[:1]
    for row in shown:
        yield reverse(f"{name}_change", args=[quote(row.pk)])
        yield reverse(f"{name}_history", args=[quote(row.pk)])
    yield from _of_its_own(client, model, page, [row.pk for row in shown])


def _of_its_own(client: Client, model: Any, page: ModelAdmin[Any], keys: Sequence[Any]) -> Iterator[str]:
    """Return the addresses that only this model has; what wants to be posted to is no page."""
    usual = {f"{model._meta.app_label}_{model._meta.model_name}_{view}" for view in _USUAL}
    for pattern in page.get_urls():
        if not isinstance(pattern, URLPattern) or not pattern.name or pattern.name in usual:
            continue
        # Some take the key as it is, others as the admin writes it.
        for arguments in ([], *([key] for key in keys), *([quote(key)] for key in keys)):
            try:
                address = reverse(f"admin:{pattern.name}", args=arguments)
            except NoReverseMatch:
                continue
            response = client.get(address)
            if response.status_code == HTTPStatus.OK and response["Content-Type"].startswith("text/html"):
                yield address
                break


def _open(client: Client, address: str, rounds: int) -> Opened:
    best, queries, status = float("inf"), 0, 0
    for _ in range(rounds):
        with CaptureQueriesContext(connection) as captured:
            begun = time.perf_counter()
            response = client.get(address)
            best = min(best, 1000 * (time.perf_counter() - begun))
        queries, status = len(captured), response.status_code
    return Opened(address, best, queries, status)
