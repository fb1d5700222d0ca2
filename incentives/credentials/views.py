"""What the public sees of badges; these views only translate."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from incentives import artwork
from incentives.credentials import credential as credentials
from incentives.credentials import criteria, keys, standing, status_list
from incentives.credentials.addresses import Addresses
from incentives.models import BadgeAward, BadgeRule
from mask_social import clock
from mask_social.errors import CONTENT_TYPE, Problem

View = Callable[..., HttpResponse]

_MINUTE, _HOUR = 60, 3600
# No script, no frame, nothing from elsewhere: neither the page nor a picture opened by itself needs any.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_IMAGE_POLICY = "default-src 'none'; sandbox"


def public(seconds: int) -> Callable[[View], View]:
    """Let a view answer any site's scripts and be kept for so long; without a key, let it say so."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **kwargs: str | int) -> HttpResponse:
            try:
                response = view(request, **kwargs)
            except keys.NoKeyError:
                return _unsigned()
            response.headers.setdefault("Cache-Control", f"public, max-age={seconds}")
            response["Access-Control-Allow-Origin"] = "*"
            return response

        return require_safe(answer)

    return decorate


@public(_HOUR)
def key_set(request: HttpRequest) -> HttpResponse:
    """Answer every public key (RFC 7517)."""
    at = Addresses.of(request)
    jwks = [credentials.public_jwk(at, thumbprint, jwk) for thumbprint, jwk in keys.ring().public.items()]
    return JsonResponse({"keys": jwks}, content_type="application/jwk-set+json")


@public(_HOUR)
def key(request: HttpRequest, thumbprint: str) -> HttpResponse:
    """Answer the public key that a credential names."""
    found = keys.ring().public.get(thumbprint)
    if found is None:
        raise Http404("No such key was ever used here.")
    return JsonResponse(
        credentials.public_jwk(Addresses.of(request), thumbprint, found), content_type="application/jwk+json"
    )


@public(_HOUR)
def issuer(request: HttpRequest) -> HttpResponse:
    """Answer who issues, and with which keys."""
    at = Addresses.of(request)
    return JsonResponse(credentials.issuer_document(at, keys.ring().public), content_type="application/ld+json")


@public(_HOUR)
def rule(request: HttpRequest, code: str) -> HttpResponse:
    """Answer what a badge stands for."""
    achievement = credentials.achievement(get_object_or_404(BadgeRule, pk=code), Addresses.of(request))
    return JsonResponse({"@context": credentials.CONTEXT, **achievement}, content_type="application/ld+json")


@public(_HOUR)
def rule_image(request: HttpRequest, code: str) -> HttpResponse:
    """Answer the picture of a badge."""
    return _svg(artwork.render(get_object_or_404(BadgeRule, pk=code)))


@public(int(status_list.LIFE.total_seconds()))
def status(request: HttpRequest, purpose: str, number: int) -> HttpResponse:
    """Answer one status list, signed."""
    if purpose not in set(status_list.Purpose) or number > status_list.last_award() // status_list.ENTRIES:
        raise Http404("There is no such status list.")
    at = Addresses.of(request)
    claims = status_list.claims_of(status_list.Purpose(purpose), number, at, clock.now())
    return _token(request, claims, lambda: keys.sign(claims, at.keys, typ="vc+jwt"), f"{purpose}-{number}")


@public(_MINUTE)
def credential(request: HttpRequest, public_id: str) -> HttpResponse:
    """Answer an award's credential, signed; `?format=json` shows what is signed."""
    award, at = _award(public_id), Addresses.of(request)
    return _token(request, credentials.claims_of(award, at), lambda: credentials.sign(award, at), public_id)


@public(_MINUTE)
def image(request: HttpRequest, public_id: str) -> HttpResponse:
    """Answer an award's picture, with its credential baked in where there is a key."""
    award = _award(public_id)
    try:
        token = credentials.sign(award, Addresses.of(request))
    except keys.NoKeyError:
        token = ""
    return _svg(artwork.render(award.rule, credential=token))


@require_safe
def page(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show an award to whoever was sent its address."""
    try:
        award = _award(public_id)
    except Http404:
        return _html(render(request, "incentives/verify_missing.html", status=HTTPStatus.NOT_FOUND))
    return _html(render(request, "incentives/verify.html", _shown(award, Addresses.of(request), clock.now())))


def _shown(award: BadgeAward, at: Addresses, now: datetime) -> dict[str, Any]:
    try:
        token = credentials.sign(award, at)
    except keys.NoKeyError:
        token = ""
    number, index = status_list.place_of(award)
    return {
        "award": award,
        "standing": standing.of(award, now),
        "issuer": credentials.profile(at),
        "criteria": criteria.in_words(award.rule),
        "by_hand": criteria.BY_HAND if criteria.is_by_hand(award) else "",
        "metal": artwork.metal_of(award.rule.level).name,
        "levels": len(artwork.METALS),
        "caption": artwork.caption(award.rule),
        "at": at,
        "page": at.page(award.public_id),
        "credential": at.credential(award.public_id),
        "image": at.image(award.public_id),
        "status_list": at.status_list(status_list.Purpose.REVOCATION, number),
        "index": index,
        "token": token,
    }


def _award(public_id: str) -> BadgeAward:
    if "\0" in public_id:  # PostgreSQL cannot even look for it
        raise Http404
    award: BadgeAward = get_object_or_404(
        BadgeAward.objects.select_related("rule", "author__platform"), public_id=public_id
    )
    return award


def _token(request: HttpRequest, claims: dict[str, Any], sign: Callable[[], str], name: str) -> HttpResponse:
    if request.GET.get("format") == "json":
        return JsonResponse(claims, json_dumps_params={"indent": 2})
    # W3C registered the first type; Open Badges 3.0 would rather have the second.
    plain = "text/plain" in request.headers.get("Accept", "")
    response = HttpResponse(sign(), content_type="text/plain" if plain else "application/vc+jwt")
    response["Content-Disposition"] = f'inline; filename="{name}.jwt"'
    response["Vary"] = "Accept"
    return response


def _svg(drawn: str) -> HttpResponse:
    response = HttpResponse(drawn, content_type="image/svg+xml")
    response["Content-Security-Policy"] = _IMAGE_POLICY
    return response


def _html(response: HttpResponse) -> HttpResponse:
    response["Content-Security-Policy"] = _PAGE_POLICY
    response["Cache-Control"] = "no-cache"
    return response


def _unsigned() -> HttpResponse:
    problem = Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, code="no_badge_key", detail="This service has no key to sign badges with."
    )
    return JsonResponse(problem.body(), status=problem.status.value, content_type=CONTENT_TYPE)
