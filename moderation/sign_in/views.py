"""The door of the staff over HTTP: name and password, then a code, and the page where a second factor is set up."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters

from mask_social import clock
from mask_social.addresses import client_address
from moderation import audit
from moderation.audit import Deed
from moderation.sign_in import second_factor, throttle
from moderation.sign_in.forms import CodeForm, ProofForm
from moderation.sign_in.throttle import Attempt, LockedError

_PENDING, _NEW_SECRET = "second_factor_pending", "second_factor_secret"
_PENDING_FOR = timedelta(minutes=5)
_MINUTE = 60


class SignInView(LoginView):
    """Name and password; whoever has a second factor is asked for it before the session begins."""

    template_name = "admin/login.html"
    attempt: Attempt | None = None

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Count the try before looking at it."""
        # Spaces around it go where it is looked up too: with them it would be counted as another.
        name, password = request.POST.get("username", "").strip(), request.POST.get("password", "")
        if name and password:
            try:
                self.attempt = throttle.begin(name[:254], client_address(request))
            except LockedError as error:
                return locked(request, error, self.extra_context or {})
        response: HttpResponse = super().post(request, *args, **kwargs)
        return response

    def get_default_redirect_url(self) -> str:
        """Lead to the dashboard."""
        return reverse("admin:index")

    def form_invalid(self, form: Any) -> HttpResponse:
        """Write down that the door is shut for a while."""
        if self.attempt is not None and self.attempt.locks:
            audit.record(Deed("sign_in_locked", actor=audit.NOBODY))
        response: HttpResponse = super().form_invalid(form)
        return response

    def form_valid(self, form: Any) -> HttpResponse:
        """Let in, or ask for the code."""
        user: User = form.get_user()
        if self.attempt is not None:
            throttle.succeeded(self.attempt)
        if not second_factor.is_set_up(user):
            response: HttpResponse = super().form_valid(form)
            return response
        session = self.request.session
        session.flush()
        session[_PENDING] = {
            "user": user.pk,
            "backend": user.backend,
            "password": user.get_session_auth_hash(),
            "until": (clock.now() + _PENDING_FOR).timestamp(),
            "next": self.get_success_url(),
        }
        return HttpResponseRedirect(reverse("admin:login_code"))


@sensitive_post_parameters()
@never_cache
@csrf_protect
def code_view(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Ask for the code of whoever has just shown the right password."""
    pending = request.session.get(_PENDING) or {}
    user = _pending_user(pending)
    if user is None:
        request.session.pop(_PENDING, None)
        return HttpResponseRedirect(reverse("admin:login"))
    form = CodeForm(request.POST or None)
    if form.is_valid():
        try:
            attempt = throttle.begin_code(user, client_address(request))
        except LockedError as error:
            return locked(request, error, context)
        if second_factor.opens(user, form.cleaned_data["code"]):
            throttle.succeeded(attempt)
            del request.session[_PENDING]
            login(request, user, backend=pending["backend"])
            return HttpResponseRedirect(pending["next"])
        audit.record(Deed.to(user, "code_refused"))
        form.add_error("code", "This is not the right code, or it was used before.")
    return TemplateResponse(request, "moderation/sign_in_code.html", {**context, "title": "Code", "form": form})


def _pending_user(pending: dict[str, Any]) -> User | None:
    """Return who has shown the right password just now, unless it was changed since."""
    if pending.get("until", 0) < clock.now().timestamp():
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True).first()
    if user is None or not constant_time_compare(user.get_session_auth_hash(), pending["password"]):
        return None
    return user


def locked(request: HttpRequest, error: LockedError, context: Mapping[str, Any]) -> HttpResponse:
    """Say how long to wait; the same for an account that exists and one that does not."""
    minutes = -(-error.seconds // _MINUTE)
    wait = f"{minutes} minutes" if minutes > 1 else "a minute"
    context = {**context, "title": "Too many tries", "wait": wait}
    headers = {"Retry-After": str(error.seconds)}
    return TemplateResponse(request, "moderation/sign_in_locked.html", context, status=429, headers=headers)


@sensitive_post_parameters()
def set_up_view(request: HttpRequest, user: User, context: dict[str, Any]) -> HttpResponse:
    """Set up a second factor, replace its recovery codes, or remove it."""
    has_one = second_factor.is_set_up(user)
    form = ProofForm(user, request.POST or None)
    context = {**context, "title": "Second factor", "form": form, "has_one": has_one, "required": settings.REQUIRE_TOTP}
    if request.method == "POST":
        try:
            attempt = throttle.begin_code(user, client_address(request))
        except LockedError as error:
            return locked(request, error, context)
        if form.is_valid():
            asked, code = request.POST.get("asked"), form.cleaned_data["code"]
            codes = _set_up(request, user, code) if not has_one else _changed(user, code, asked)
            if codes is None:
                form.add_error("code", "This is not the right code, or it was used before.")
            else:
                throttle.succeeded(attempt)
                if not codes:
                    return HttpResponseRedirect(reverse("admin:second_factor"))
                return TemplateResponse(request, "moderation/second_factor.html", {**context, "codes": codes})
    if has_one:
        factor = user.second_factor
        left = factor.recovery_codes.filter(used_at=None).count()
        context |= {"since": factor.created_at, "left": left}
    else:
        context |= _picture(request, user)
    return TemplateResponse(request, "moderation/second_factor.html", context)


def _set_up(request: HttpRequest, user: User, code: str) -> list[str] | None:
    secret = second_factor.decipher(request.session.get(_NEW_SECRET, ""))
    codes = None if secret is None else second_factor.set_up(user, secret, code)
    if codes is None:
        return None
    del request.session[_NEW_SECRET]
    return list(codes)


def _changed(user: User, code: str, asked: str | None) -> list[str] | None:
    """Do what was asked, where the code is right; what is required cannot be removed."""
    if not second_factor.opens(user, code):
        return None
    if asked == "codes":
        return list(second_factor.new_recovery_codes(user))
    if asked == "remove" and not settings.REQUIRE_TOTP:
        second_factor.remove(user)
    return []


def _picture(request: HttpRequest, user: User) -> dict[str, Any]:
    """Return the secret that is being set up, as a picture and as text."""
    import segno  # only this page draws

    secret = second_factor.decipher(request.session.get(_NEW_SECRET, ""))
    if secret is None:
        secret = second_factor.new_secret()
        request.session[_NEW_SECRET] = second_factor.encipher(secret)
    picture = segno.make(second_factor.uri(secret, user, settings.ISSUER_NAME), error="m", micro=False)
    drawn = picture.svg_inline(scale=5, border=4, light="#fff", dark="#000", omitsize=False)
    spelled = second_factor.spelled(secret)
    return {
        "picture": mark_safe(drawn),  # noqa: S308 - drawn by us; what it says is drawn as squares
        "spelled": " ".join(spelled[at : at + 4] for at in range(0, len(spelled), 4)),
    }
