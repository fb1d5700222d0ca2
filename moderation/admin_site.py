"""The admin of the staff: every page of it leaves its trail, and its door has a lock that is not picked by trying."""

from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from moderation import trail

if TYPE_CHECKING:  # unfold has no types
    from django.contrib.admin import AdminSite as UnfoldAdminSite
else:
    from unfold.sites import UnfoldAdminSite

# Whoever must set up a second factor may do so, and leave.
_ALWAYS_OPEN = {"second_factor", "logout", "password_change", "password_change_done", "jsi18n"}


class StaffSite(UnfoldAdminSite):
    """The one site of the admin."""

    def extra_urls(self) -> list[URLPattern]:
        """Add the pages of the second factor; unfold asks for them."""
        return [
            path("login/code/", self.login_code, name="login_code"),
            path("second-factor/", self.admin_view(self.second_factor), name="second_factor"),
        ]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Have what a page changes written down, and lead those without a second factor to theirs where it must be."""
        return super().admin_view(_behind_second_factor(trail.recorded(view)), cacheable)

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Ask for name and password, so often and no more."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        from moderation.sign_in.views import SignInView  # the site is made before models may be imported

        context = {
            **self._outside(request),
            "title": "Log in",
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
            **(extra_context or {}),
        }
        if "next" not in request.GET and "next" not in request.POST:
            context["next"] = reverse("admin:index")
        view = SignInView.as_view(extra_context=context, authentication_form=self.login_form)
        return view(request)

    def login_code(self, request: HttpRequest) -> HttpResponse:
        """Ask for the code."""
        from moderation.sign_in.views import code_view  # as above

        return code_view(request, self._outside(request))

    def second_factor(self, request: HttpRequest) -> HttpResponse:
        """Set up, renew or remove one's own second factor."""
        from moderation.admin_parts import member  # as above
        from moderation.sign_in.views import set_up_view

        return set_up_view(request, member(request), self.each_context(request))

    def _outside(self, request: HttpRequest) -> dict[str, Any]:
        return {**self.each_context(request), "subtitle": None}


def _behind_second_factor(view: Any) -> Any:
    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        name = request.resolver_match.url_name if request.resolver_match else None
        if settings.REQUIRE_TOTP and name not in _ALWAYS_OPEN:
            from moderation.admin_parts import member  # as above
            from moderation.sign_in.second_factor import is_set_up

            if not is_set_up(member(request)):
                return HttpResponseRedirect(reverse("admin:second_factor"))
        answer: HttpResponseBase = view(request, *args, **kwargs)
        return answer

    return inner
