"""How much one caller may ask: each key, each author of a platform, and each address that bears no good key.

A limit is never in a good key's way because of others at its address: an office or a proxy may have one in common.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mask_social.addresses import client_address, neighbourhood
from mask_social.errors import ApiError
from mask_social.rate_limits import Limit, Standing, take
from moderation.models import ApiKey, Platform

if TYPE_CHECKING:  # it imports this module by its name in the settings
    from rest_framework.views import APIView

#: RateLimit header fields for HTTP, draft-ietf-httpapi-ratelimit-headers-10.
POLICY_HEADER, STANDING_HEADER = "RateLimit-Policy", "RateLimit"
_QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_FOUND = "mask_social.rate_limits"


def key_limit(api_key: ApiKey) -> Limit:
    """Return how many calls a key may make."""
    return Limit("key", api_key.calls_per_minute or settings.RATE_KEY, 60)


def author_limit() -> Limit:
    """Return how many posts of one author are taken."""
    return Limit("author", settings.RATE_AUTHOR, 3600)


def address_limit() -> Limit:
    """Return how many calls without a good key one address may make."""
    return Limit("address", settings.RATE_ADDRESS, 60)


def count_call(request: Request, api_key: ApiKey) -> None:
    """Count a call of a key, or refuse it."""
    _count(request, key_limit(api_key), api_key.digest, "This API key makes too many calls.")


def count_stranger(request: Request) -> None:
    """Count a call without a good key, or refuse it."""
    where = neighbourhood(client_address(request._request))
    _count(request, address_limit(), where, "Too many calls without a valid API key come from your address.")


@contextmanager
def counted_post(request: Request, platform: Platform, author_id: str) -> Iterator[None]:
    """Count a post of an author, or refuse it; one that is refused for another reason does not count."""
    limit, who = author_limit(), f"{platform.pk}/{author_id}"
    _count(request, limit, who, "This author posts too often.")
    try:
        yield
    except BaseException:
        take(limit, who, cost=-1)
        raise


class StrangerThrottle(BaseThrottle):
    """For views that ask for no key."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Count the call; what is too much raises."""
        count_stranger(request)
        return True


def rate_limit_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Tell every caller how it stands; a middleware, so that refusals tell it as well."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        found: list[Standing] = request.META.get(_FOUND, [])
        if found:
            response[POLICY_HEADER] = ", ".join(
                f'"{one.limit.name}";q={one.limit.quota};w={one.limit.seconds}' for one in found
            )
            response[STANDING_HEADER] = ", ".join(
                f'"{one.limit.name}";r={one.remaining};t={one.wait_seconds}' for one in found
            )
        return response

    return answer


def _count(request: Request, limit: Limit, who: str, refusal: str) -> None:
    standing = take(limit, who)
    request._request.META.setdefault(_FOUND, []).append(standing)
    if not standing.is_allowed:
        raise ApiError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "rate_limited",
            f"{refusal} The limit is {limit.quota} in {limit.seconds} seconds.",
            headers={"Retry-After": str(max(1, standing.wait_seconds))},
            type_=_QUOTA_EXCEEDED,
            members={"violated-policies": [limit.name]},
        )
