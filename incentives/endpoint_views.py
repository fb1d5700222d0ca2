"""The API of webhook endpoints: register, try out, rotate, replay; these views only translate."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from incentives import endpoints, examples, replay
from incentives.models import WebhookEndpoint
from incentives.serializers import (
    EndpointChangeSerializer,
    EndpointDetailSerializer,
    EndpointRequestSerializer,
    EndpointSecretSerializer,
    EndpointSerializer,
    ReplayedSerializer,
    ReplayRequestSerializer,
    RotatedSerializer,
    RotationRequestSerializer,
    TestSentSerializer,
)
from incentives.view_parts import BAD_PAGE, NOT_FOUND, Codes, found, many, readable
from moderation import pagination
from moderation.authentication import platform_of
from moderation.models import ApiKey
from moderation.schema import errors

DISABLED: Codes = {HTTPStatus.CONFLICT: ("endpoint_disabled",)}
TOO_MANY: Codes = {HTTPStatus.CONFLICT: ("too_many_endpoints",)}
BAD_ENDPOINT: Codes = {
    HTTPStatus.BAD_REQUEST: (
        *("validation_error", "required", "unknown_field"),
        *("invalid_url", "insecure_url", "forbidden_address", "forbidden_port"),
    )
}
BAD_FIELDS: Codes = {HTTPStatus.BAD_REQUEST: ("validation_error", "invalid", "invalid_choice", "unknown_field")}
BAD_REPLAY: Codes = {HTTPStatus.BAD_REQUEST: (*BAD_FIELDS[HTTPStatus.BAD_REQUEST], "event_or_since", "invalid_cursor")}
CANNOT_REPLAY: Codes = {HTTPStatus.CONFLICT: ("endpoint_disabled", "event_type_not_wanted")}


class EndpointsView(APIView):
    required_scope = ApiKey.Scope.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="list_webhook_endpoints",
        summary="Your webhook endpoints",
        parameters=pagination.PARAMETERS,
        responses={200: pagination.page_serializer(EndpointSerializer, "Endpoint")} | errors(BAD_PAGE),
    )
    def get(self, request: Request) -> Response:
        """Return them, the youngest first, without their secrets."""
        page = pagination.paginate(_own(request), pagination.read_query(request))
        return Response(page.body(lambda rows: many(EndpointSerializer, rows)))

    @extend_schema(
        operation_id="create_webhook_endpoint",
        summary="Listen to events",
        request=EndpointRequestSerializer,
        responses={201: EndpointSecretSerializer} | errors(BAD_ENDPOINT | TOO_MANY),
        examples=[
            OpenApiExample("every event", examples.ENDPOINT_REQUEST, request_only=True),
            OpenApiExample("with its secret", examples.ENDPOINT, response_only=True, status_codes=["201"]),
        ],
    )
    def post(self, request: Request) -> Response:
        """Make an endpoint; the answer holds the secret that signs its webhooks, this once."""
        serializer = EndpointRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        endpoint = endpoints.create(
            platform_of(request),
            serializer.validated_data["url"],
            serializer.validated_data.get("event_types", ()),
            **_reach(),
        )
        return Response(EndpointSecretSerializer(endpoint).data, status=HTTPStatus.CREATED)


class EndpointView(APIView):
    required_scope = ApiKey.Scope.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="get_webhook_endpoint",
        summary="A webhook endpoint and its youngest deliveries",
        responses={200: EndpointDetailSerializer} | errors(NOT_FOUND),
    )
    def get(self, request: Request, endpoint_id: str) -> Response:
        """Return one endpoint."""
        return Response(EndpointDetailSerializer(_endpoint(request, endpoint_id)).data)

    @extend_schema(
        operation_id="change_webhook_endpoint",
        summary="Change, disable or enable a webhook endpoint",
        request=EndpointChangeSerializer,
        responses={200: EndpointSerializer} | errors(BAD_ENDPOINT | NOT_FOUND),
    )
    def patch(self, request: Request, endpoint_id: str) -> Response:
        """Change what is given; what happens while it is disabled is kept, and sent when it is enabled."""
        endpoint = _endpoint(request, endpoint_id)
        serializer = EndpointChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        changed = endpoints.change(endpoint, **serializer.validated_data, **_reach())
        return Response(EndpointSerializer(changed).data)

    @extend_schema(
        operation_id="delete_webhook_endpoint",
        summary="Delete a webhook endpoint and the record of its deliveries",
        responses={204: None} | errors(NOT_FOUND),
    )
    def delete(self, request: Request, endpoint_id: str) -> Response:
        """Delete one endpoint; nothing more is sent to it."""
        endpoints.delete(_endpoint(request, endpoint_id))
        return Response(status=HTTPStatus.NO_CONTENT)


class EndpointTestView(APIView):
    required_scope = ApiKey.Scope.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="test_webhook_endpoint",
        summary="Send a test event to a webhook endpoint",
        request=None,
        responses={202: TestSentSerializer} | errors(DISABLED | NOT_FOUND),
    )
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Send `endpoint.test` to it alone; its outcome shows among its deliveries."""
        event = endpoints.send_test(_endpoint(request, endpoint_id))
        return Response(TestSentSerializer(event).data, status=HTTPStatus.ACCEPTED)


class EndpointRotationView(APIView):
    required_scope = ApiKey.Scope.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="rotate_webhook_secret",
        summary="Replace what signs the webhooks of an endpoint",
        request=RotationRequestSerializer,
        responses={201: RotatedSerializer} | errors(BAD_FIELDS | NOT_FOUND),
        examples=[OpenApiExample("the new secret", examples.ROTATED, response_only=True, status_codes=["201"])],
    )
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Sign by a new secret or key, told this once; the former one signs too for a day, unless it leaked."""
        endpoint = _endpoint(request, endpoint_id)
        serializer = RotationRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key = endpoints.rotate(endpoint, **serializer.validated_data)
        return Response(RotatedSerializer(key).data, status=HTTPStatus.CREATED)


class EndpointReplayView(APIView):
    required_scope = ApiKey.Scope.WEBHOOKS_MANAGE

    @extend_schema(
        operation_id="replay_webhooks",
        summary="Send an endpoint again what it missed",
        request=ReplayRequestSerializer,
        responses={202: ReplayedSerializer} | errors(BAD_REPLAY | CANNOT_REPLAY | NOT_FOUND),
        examples=[
            OpenApiExample("one event", examples.REPLAY_EVENT, request_only=True),
            OpenApiExample("what failed since yesterday", examples.REPLAY_FAILED, request_only=True),
        ],
    )
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Send one event, or up to ten thousand of a range, under their ids; what is under way is left alone."""
        endpoint = _endpoint(request, endpoint_id)
        serializer = ReplayRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        if "event_id" in asked:
            replayed = replay.replay_event(endpoint, asked["event_id"])
        else:
            if "after" in asked:
                [asked["after"]] = pagination.decode(asked["after"], (int,))
            replayed = replay.replay_range(endpoint, replay.Range(**asked))
        following = None if replayed.next is None else pagination.encode([replayed.next])
        body = ReplayedSerializer({"deliveries": replayed.deliveries, "next": following}).data
        return Response(body, status=HTTPStatus.ACCEPTED)


def _reach() -> dict[str, Any]:
    """Read from the settings where webhooks may go."""
    return {"allow_private": settings.ALLOW_PRIVATE_ADDRESSES, "ports": settings.OUTGOING_PORTS}


def _own(request: Request) -> Any:
    return WebhookEndpoint.objects.filter(platform=platform_of(request)).prefetch_related("signing_keys")


def _endpoint(request: Request, endpoint_id: str) -> WebhookEndpoint:
    endpoint: WebhookEndpoint = found("endpoint", _own(request), pk=readable(endpoint_id))
    return endpoint
