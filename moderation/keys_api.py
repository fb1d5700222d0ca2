"""A key looks at itself and is replaced: no scope is asked for, and no other key can be reached."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from moderation import api_keys, schema, throttling
from moderation.authentication import api_key_of
from moderation.models import ApiKey
from moderation.serializers import StrictSerializer


class KeyLimitsSerializer(serializers.Serializer[ApiKey]):
    calls_per_minute = serializers.SerializerMethodField()
    posts_per_author_and_hour = serializers.SerializerMethodField()

    def get_calls_per_minute(self, api_key: ApiKey) -> int:
        """Return how many calls the key may make."""
        return throttling.key_limit(api_key).quota

    def get_posts_per_author_and_hour(self, api_key: ApiKey) -> int:
        """Return how many posts of one author are taken."""
        return throttling.author_limit().quota


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    scopes = serializers.ListField(child=serializers.ChoiceField(ApiKey.Scope.choices))
    successor = serializers.SerializerMethodField(help_text="the prefix of the key that takes its place")
    limits = KeyLimitsSerializer(source="*")

    class Meta:
        model = ApiKey
        fields = ("name", "prefix", "scopes", "created_at", "last_used_at", "expires_at", "successor", "limits")

    def get_successor(self, api_key: ApiKey) -> str | None:
        """Return by what the successor is recognised."""
        return api_key.successor.prefix if api_key.successor else None


class KeyRotationSerializer(StrictSerializer):
    overlap_hours = serializers.IntegerField(
        default=api_keys.DEFAULT_OVERLAP_HOURS,
        min_value=0,
        max_value=api_keys.MAX_OVERLAP_HOURS,
        help_text="for how long the key that makes this call still works",
    )


class RotatedKeySerializer(serializers.Serializer[Any]):
    """What is shown once."""

    api_key = serializers.CharField(help_text="the new key; it cannot be read again")
    key = KeySerializer()
    old_key_expires_at = serializers.DateTimeField()


class KeyView(APIView):
    required_scope: dict[str, str] = {}

    @extend_schema(
        operation_id="get_api_key",
        summary="The key that makes this call",
        description="Any key may ask, about itself alone.",
        responses={
            200: OpenApiResponse(
                KeySerializer, examples=[OpenApiExample("a key", value=schema.EXAMPLE_KEY, response_only=True)]
            )
        }
        | schema.errors({}),
    )
    def get(self, request: Request) -> Response:
        """Return what is known of the key."""
        return Response(KeySerializer(api_key_of(request)).data)


class KeyRotationView(APIView):
    required_scope: dict[str, str] = {}

    @extend_schema(
        operation_id="rotate_api_key",
        summary="Replace the key that makes this call",
        description=(
            "The new key has the same scopes and limits, and lives no longer than the old one would have. It is shown "
            "once: an answer that is lost cannot be had again, and staff must issue another key."
        ),
        request=KeyRotationSerializer,
        responses={
            201: OpenApiResponse(
                RotatedKeySerializer,
                examples=[OpenApiExample("rotated", value=schema.EXAMPLE_ROTATED_KEY, response_only=True)],
            )
        }
        | schema.errors(
            {
                HTTPStatus.BAD_REQUEST: ("invalid", "unknown_field", "min_value", "max_value"),
                HTTPStatus.CONFLICT: ("already_rotated",),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("request_too_large",),
            }
        ),
    )
    def post(self, request: Request) -> Response:
        """Make a key that takes its place."""
        asked = KeyRotationSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        api_key = api_key_of(request)
        issued = api_keys.rotate(api_key, overlap=timedelta(hours=asked.validated_data["overlap_hours"]))
        api_key.refresh_from_db(fields=["expires_at"])
        body = {"api_key": issued.plaintext, "key": issued.api_key, "old_key_expires_at": api_key.expires_at}
        answer = RotatedKeySerializer(body)
        return Response(answer.data, status=HTTPStatus.CREATED, headers={"Cache-Control": "no-store"})
