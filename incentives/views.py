"""The API of rewards, money and events: these views only translate."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from incentives import endpoints, events, examples, selectors
from incentives.models import Campaign, WebhookEndpoint
from incentives.serializers import (
    BadgeSerializer,
    CampaignSerializer,
    EndpointChangeSerializer,
    EndpointDetailSerializer,
    EndpointRequestSerializer,
    EndpointSecretSerializer,
    EndpointSerializer,
    EventSerializer,
    StandingSerializer,
    TestSentSerializer,
)
from moderation import pagination, waiting
from moderation.authentication import platform_of
from moderation.models import ApiKey, Author
from moderation.schema import errors

Codes = dict[HTTPStatus, Sequence[str]]
NOT_FOUND: Codes = {HTTPStatus.NOT_FOUND: ("not_found",)}
BAD_PAGE: Codes = {HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor")}
BAD_STREAM: Codes = {HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor", "invalid_wait")}
DISABLED: Codes = {HTTPStatus.CONFLICT: ("endpoint_disabled",)}
TOO_MANY: Codes = {HTTPStatus.CONFLICT: ("too_many_endpoints",)}
BAD_ENDPOINT: Codes = {
    HTTPStatus.BAD_REQUEST: (
        *("validation_error", "required", "unknown_field"),
        *("invalid_url", "insecure_url", "forbidden_address"),
    )
}


class AuthorView(APIView):
    required_scope = ApiKey.Scope.POSTS_READ

    @extend_schema(
        operation_id="get_author",
        summary="An author's standing",
        responses={200: StandingSerializer} | errors(NOT_FOUND),
        examples=[OpenApiExample("after a first masked post", examples.STANDING, response_only=True)],
    )
    def get(self, request: Request, external_id: str) -> Response:
        """Return what an author's posts add up to."""
        return Response(StandingSerializer(selectors.standing_of(_author(request, external_id))).data)


class AuthorBadgesView(APIView):
    required_scope = ApiKey.Scope.POSTS_READ

    @extend_schema(
        operation_id="list_badges",
        summary="An author's badges, those taken back included",
        parameters=pagination.PARAMETERS,
        responses={200: pagination.page_serializer(BadgeSerializer, "Badge")} | errors(BAD_PAGE | NOT_FOUND),
    )
    def get(self, request: Request, external_id: str) -> Response:
        """Return every award, the youngest first, with the evidence it rests on."""
        query = pagination.read_query(request, parts=(int,))
        page = pagination.paginate(selectors.badges_of(_author(request, external_id)), query)
        return Response(page.body(lambda awards: _many(BadgeSerializer, [selectors.badge_of(row) for row in awards])))


class CampaignsView(APIView):
    required_scope = ApiKey.Scope.CAMPAIGNS_READ

    @extend_schema(
        operation_id="list_campaigns",
        summary="The campaigns that match, or matched, your posts",
        parameters=pagination.PARAMETERS,
        responses={200: pagination.page_serializer(CampaignSerializer, "Campaign")} | errors(BAD_PAGE),
    )
    def get(self, request: Request) -> Response:
        """Return them, the youngest first, with what is left of each budget."""
        page = pagination.paginate(selectors.campaigns_for(platform_of(request)), pagination.read_query(request))
        return Response(page.body(lambda campaigns: _many(CampaignSerializer, campaigns)))


class CampaignView(APIView):
    required_scope = ApiKey.Scope.CAMPAIGNS_READ

    @extend_schema(
        operation_id="get_campaign",
        summary="A campaign and what is left of its budget",
        responses={200: CampaignSerializer} | errors(NOT_FOUND),
        examples=[OpenApiExample("a third given", examples.CAMPAIGN, response_only=True)],
    )
    def get(self, request: Request, campaign_id: str) -> Response:
        """Return one campaign; the figures are of this moment."""
        rows = selectors.campaigns_for(platform_of(request))
        campaign: Campaign = _found("campaign", rows, pk=_readable(campaign_id))
        return Response(CampaignSerializer(campaign).data)


class EventsView(APIView):
    required_scope = ApiKey.Scope.EVENTS_READ

    @extend_schema(
        operation_id="list_events",
        summary="What happened, the oldest first",
        description=(
            "The same events as the webhooks. `next` always leads on from the last event of the page, so that a reader "
            "can ask again later with it; it is null only before the first event. Whoever follows it misses none."
        ),
        parameters=[*pagination.PARAMETERS, waiting.parameter("an event")],
        responses={200: pagination.page_serializer(EventSerializer, "Event")} | errors(BAD_STREAM),
        examples=[OpenApiExample("a verdict", examples.EVENTS, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """Return the events after a cursor; with `wait`, as soon as there is one."""
        query = pagination.read_query(request, parts=(int, int))
        platform = platform_of(request)
        found = waiting.read_until(
            bool, lambda: events.after(platform, query.after, query.limit), waiting.read_wait(request)
        )
        last: Any = (found[-1].transaction_id, found[-1].position) if found else query.after
        page = pagination.Page(found, None if last is None else pagination.encode(last))
        return Response(page.body(lambda rows: _many(EventSerializer, rows)))


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
        page = pagination.paginate(_endpoints(request), pagination.read_query(request))
        return Response(page.body(lambda rows: _many(EndpointSerializer, rows)))

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
            allow_private=settings.ALLOW_PRIVATE_ADDRESSES,
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
        """Change what is given; what is missed while disabled can be read from the events."""
        endpoint = _endpoint(request, endpoint_id)
        serializer = EndpointChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        changed = endpoints.change(
            endpoint, **serializer.validated_data, allow_private=settings.ALLOW_PRIVATE_ADDRESSES
        )
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


def _many(serializer: type[BaseSerializer[Any]], rows: Sequence[object]) -> Any:
    return serializer(rows, many=True).data


def _author(request: Request, external_id: str) -> Author:
    rows = Author.objects.filter(platform=platform_of(request))
    author: Author = _found("author", rows, external_id=_readable(external_id))
    return author


def _endpoints(request: Request) -> Any:
    return WebhookEndpoint.objects.filter(platform=platform_of(request))


def _endpoint(request: Request, endpoint_id: str) -> WebhookEndpoint:
    endpoint: WebhookEndpoint = _found("endpoint", _endpoints(request), pk=_readable(endpoint_id))
    return endpoint


def _found(what: str, rows: Any, **key: str) -> Any:
    row = rows.filter(**key).first()
    if row is None:
        raise Http404(f"There is no such {what}.")
    return row


def _readable(name: str) -> str:
    """Return a name from a path, unless it holds what PostgreSQL cannot even look for."""
    if "\0" in name:
        raise Http404
    return name
