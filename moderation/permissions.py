"""What a key may do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mask_social.errors import ApiError
from moderation.authentication import api_key_of

if TYPE_CHECKING:  # it imports this module by its name in the settings
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """Ask for the view's `required_scope`: one scope, or one for each method."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Let the call pass, or name the scope that the key lacks."""
        required: str | Mapping[str, str] = getattr(view, "required_scope")  # noqa: B009 - APIView has no such attribute
        if isinstance(required, Mapping):
            method = "GET" if request.method in {"HEAD", "OPTIONS"} else str(request.method)
            scope = required.get(method)
        else:
            scope = required
        # A method without a scope is for every key, or has no handler: the view will answer 405.
        if scope is None or scope in api_key_of(request).scopes:
            return True
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "insufficient_scope",
            f"This API key lacks the scope {scope}.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
        )
