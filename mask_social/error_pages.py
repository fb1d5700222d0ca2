"""What is answered when something is refused, missing or broken: a page to staff, problem details to everybody else."""

import re
from http import HTTPStatus
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from mask_social import errors

_PERMISSION = re.compile(r"[a-z]+\.[a-z_]+")
_SEEN = {"changelist", "change", "history"}
_OURS = (
    "Nothing of what you asked for was changed. It has been logged; if it stays, tell whoever runs this service when "
    "it happened."
)
_TO_STRANGERS = "Nothing was changed. You are not signed in, or no longer: begin at the dashboard, and repeat."


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say which role is missing."""
    if not _is_for_staff(request):
        return errors.forbidden(request, exception)
    roles = sorted(Group.objects.filter(**_having(_missing(request, exception))).values_list("name", flat=True))
    return _page(request, HTTPStatus.FORBIDDEN, "This is not for you", "error_forbidden.html", {"roles": roles})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that there is nothing."""
    if not _is_for_staff(request):
        return errors.not_found(request, exception)
    return _page(request, HTTPStatus.NOT_FOUND, "There is nothing here", "error_not_found.html", {})


def server_error(request: HttpRequest) -> HttpResponse:
    """Say that it is our fault, without asking the database, which may be what is broken."""
    answer = errors.server_error(request)
    if not _is_for_staff(request):
        return answer
    page = _plain("Something broke, and it is our fault", _OURS)
    headers = {name: answer[name] for name in ("Retry-After",) if name in answer}
    return HttpResponse(page, status=answer.status_code, headers=headers)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say that a form was left open for too long, or came from elsewhere."""
    if not _is_for_staff(request):
        return errors.forbidden(request, PermissionError(reason))
    return _page(request, HTTPStatus.FORBIDDEN, "The form is out of date", "error_form.html", {})


def _is_for_staff(request: HttpRequest) -> bool:
    return request.path.startswith(reverse("admin:index"))


def _plain(title: str, words: str) -> str:
    """Return a page that needs neither a user nor the database."""
    return render_to_string(
        "mask_social/error_plain.html", {"title": title, "words": words, "home": reverse("admin:index")}
    )


def _page(request: HttpRequest, status: HTTPStatus, title: str, template: str, more: dict[str, Any]) -> HttpResponse:
    if not getattr(request, "user", AnonymousUser()).is_authenticated:
        return HttpResponse(_plain(title, _TO_STRANGERS), status=status)  # the admin's frame is for somebody
    context = {**admin.site.each_context(request), "title": title, "subtitle": None, **more}
    return HttpResponse(render_to_string(f"mask_social/{template}", context, request), status=status)


def _missing(request: HttpRequest, exception: Exception) -> str:
    """Return the permission that was asked for: the page says so, or its address does."""
    if _PERMISSION.fullmatch(str(exception)):
        return str(exception)
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    for model in admin.site._registry:
        app, prefix = model._meta.app_label, f"{model._meta.app_label}_{model._meta.model_name}_"
        if name.startswith(prefix):
            view, step = f"{app}.view_{model._meta.model_name}", name.removeprefix(prefix)
            if step in _SEEN or not _may(request, view):
                return view
            return f"{app}.{step if step in {'add', 'delete'} else 'change'}_{model._meta.model_name}"
    return ""


def _may(request: HttpRequest, permission: str) -> bool:
    user: Any = request.user
    return isinstance(user, AbstractBaseUser) and bool(user.has_perm(permission))  # type: ignore[attr-defined]  # a mixin's


def _having(permission: str) -> dict[str, str]:
    app, _, codename = permission.partition(".")
    return {"permissions__content_type__app_label": app, "permissions__codename": codename}
