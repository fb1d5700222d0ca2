"""Who calls: a platform, by the API key it bears."""

import hmac
import re
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.db.models import Q
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.request import Request

from mask_social import clock
from mask_social.errors import ApiError
from moderation import throttling
from moderation.api_keys import digest
from moderation.models import ApiKey, Platform

if TYPE_CHECKING:  # it imports rest_framework.views, which in turn imports this module by its name in the settings
    from drf_spectacular.openapi import AutoSchema

_FORM = re.compile(rb"msk_[A-Za-z0-9_-]{43}")
# A write per request would make the row of a busy key a bottleneck.
_LAST_USED_PRECISION = timedelta(minutes=1)


class ApiKeyAuthentication(BaseAuthentication):
    """Read ``Authorization: Bearer msk_…``; request.user is then the Platform and request.auth the ApiKey."""

    def authenticate(self, request: Request) -> tuple[Platform, ApiKey]:
        """Return whom the key belongs to, or say what is wrong with it; both count, before a body is read."""
        try:
            api_key = _key_of(request)
        except (exceptions.APIException, ApiError):
            throttling.count_stranger(request)
            raise
        throttling.count_call(request, api_key)
        _note_use(api_key)
        return api_key.platform, api_key

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge, which makes a refusal a 401."""
        return 'Bearer realm="mask_social"'


def platform_of(request: Request) -> Platform:
    """Return the platform that calls."""
    return api_key_of(request).platform


def api_key_of(request: Request) -> ApiKey:
    """Return the key that the call bears."""
    if not isinstance(request.auth, ApiKey):
        raise TypeError("The view must be behind ApiKeyAuthentication.")
    return request.auth


def _key_of(request: Request) -> ApiKey:
    scheme, _, token = get_authorization_header(request).partition(b" ")
    if scheme.lower() != b"bearer":
        raise exceptions.NotAuthenticated("Send an API key: Authorization: Bearer msk_…", code="missing_api_key")
    token = token.strip()
    if not _FORM.fullmatch(token):
        raise exceptions.AuthenticationFailed("This is no API key of ours.", code="invalid_api_key")
    # The database looks for a hash: how long it takes tells of the hash's first characters at most, and nobody can
    # choose keys of 256 random bits by what their hashes begin with. What it found is compared in constant time.
    asked = digest(token.decode("ascii"))
    api_key = ApiKey.objects.select_related("platform").filter(digest=asked).first()
    if api_key is None or not hmac.compare_digest(api_key.digest, asked):
        raise exceptions.AuthenticationFailed("This is no API key of ours.", code="invalid_api_key")
    if api_key.revoked_at is not None:
        raise exceptions.AuthenticationFailed("This API key has been revoked.", code="revoked_api_key")
    if api_key.expires_at is not None and api_key.expires_at <= clock.now():
        raise exceptions.AuthenticationFailed("This API key has expired.", code="expired_api_key")
    if not api_key.platform.is_active:
        raise ApiError(HTTPStatus.FORBIDDEN, "inactive_platform", "This platform has been switched off.")
    return api_key


def _note_use(api_key: ApiKey) -> None:
    now = clock.now()
    if api_key.last_used_at is None or now - api_key.last_used_at >= _LAST_USED_PRECISION:
        stale = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_PRECISION)
        ApiKey.objects.filter(stale, pk=api_key.pk).update(last_used_at=now)
        api_key.last_used_at = now


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass hook has no types
    """Describe the key in the schema; drf-spectacular finds this class by its import."""

    target_class = "moderation.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: "AutoSchema") -> dict[str, str]:
        """Return the OpenAPI security scheme."""
        return {"type": "http", "scheme": "bearer", "description": "An API key, `msk_…`, made in the admin."}
