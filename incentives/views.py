"""The API of rewards, money and events: these views only translate."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from incentives import events, examples, selectors
from incentives.models import Campaign
from incentives.serializers import BadgeSerializer, CampaignSerializer, EventSerializer, StandingSerializer
from incentives.view_parts import BAD_PAGE, NOT_FOUND, Codes, found, many, readable
from moderation import pagination, waiting
from moderation.authentication import platform_of
from moderation.models import ApiKey, Author
from moderation.schema import errors

BAD_STREAM: Codes = {HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor", "invalid_wait")}
EXPIRED: Codes = {HTTPStatus.GONE: ("cursor_expired",)}


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
        return Response(page.body(lambda awards: many(BadgeSerializer, [selectors.badge_of(row) for row in awards])))


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
        return Response(page.body(lambda campaigns: many(CampaignSerializer, campaigns)))


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
        campaign: Campaign = found("campaign", rows, pk=readable(campaign_id))
        return Response(CampaignSerializer(campaign).data)


class EventsView(APIView):
    required_scope = ApiKey.Scope.EVENTS_READ

    @extend_schema(
        operation_id="list_events",
        summary="What happened, the oldest first",
        description=(
            "The same events as the webhooks. `next` always leads on from the last event of the page, so that a reader "
            "can ask again later with it; it is null only before the first event. Whoever follows it misses none, or "
            "is told so: events are kept for a time (30 days by default), and a cursor that something deleted would "
            "follow is answered 410."
        ),
        parameters=[*pagination.PARAMETERS, waiting.parameter("an event")],
        responses={200: pagination.page_serializer(EventSerializer, "Event")} | errors(BAD_STREAM | EXPIRED),
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
        return Response(page.body(lambda rows: many(EventSerializer, rows)))


def _author(request: Request, external_id: str) -> Author:
    rows = Author.objects.filter(platform=platform_of(request))
    author: Author = found("author", rows, external_id=readable(external_id))
    return author
