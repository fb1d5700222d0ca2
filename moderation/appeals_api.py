"""Appeals over HTTP: an author's word against a verdict, brought by the platform."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from moderation import idempotency, pagination, reviews, schema
from moderation.authentication import platform_of
from moderation.models import ApiKey, Appeal
from moderation.parsers import JsonParser
from moderation.representation import appeal_view
from moderation.serializers import AppealPageSerializer, AppealSerializer, NewAppealSerializer
from moderation.views import own_post, plain


class AppealListView(APIView):
    required_scope = {"POST": ApiKey.Scope.POSTS_WRITE, "GET": ApiKey.Scope.POSTS_READ}
    parser_classes = [JsonParser]

    @extend_schema(
        operation_id="create_appeal",
        summary="Appeal against a verdict",
        description="Once per verdict. Staff decide; the events `appeal.opened` and `appeal.decided` tell of it.",
        request=NewAppealSerializer,
        parameters=[schema.POST_PATH_ID, schema.IDEMPOTENCY_KEY, schema.REPLAYED, schema.RETRY_AFTER],
        responses={
            201: OpenApiResponse(
                AppealSerializer,
                description="Staff will look at the post.",
                examples=[OpenApiExample("open", value=schema.EXAMPLE_APPEAL, response_only=True)],
            )
        }
        | schema.errors(
            {
                HTTPStatus.BAD_REQUEST: ("required", "unknown_field", "blank", "max_length", "invalid_idempotency_key"),
                HTTPStatus.NOT_FOUND: ("not_found",),
                HTTPStatus.CONFLICT: ("already_appealed", "no_verdict", "post_withdrawn", "idempotency_in_flight"),
                HTTPStatus.UNPROCESSABLE_ENTITY: ("idempotency_mismatch",),
            }
        ),
    )
    def post(self, request: Request, post_id: str) -> Response:
        """Take an appeal in."""
        platform = platform_of(request)
        key = idempotency.check_key(request.headers.get("Idempotency-Key"))
        post = own_post(platform, post_id)
        asked = NewAppealSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        lock = idempotency.begin(
            platform, key, idempotency.fingerprint("POST", request.path, asked.validated_data, files=[])
        )
        if isinstance(lock, idempotency.Replay):
            return Response(lock.body, status=lock.status, headers={"Idempotency-Replayed": "true"})
        with idempotency.held(lock), transaction.atomic():
            appeal = reviews.open_appeal(post, asked.validated_data["statement"])
            body: dict[str, Any] = plain(AppealSerializer(appeal_view(appeal)).data)
            idempotency.complete(lock, HTTPStatus.CREATED, body)
        return Response(body, status=HTTPStatus.CREATED)

    @extend_schema(
        operation_id="list_appeals",
        summary="List a post's appeals, the newest first",
        parameters=[schema.POST_PATH_ID, *pagination.PARAMETERS],
        responses={200: AppealPageSerializer}
        | schema.errors(
            {HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor"), HTTPStatus.NOT_FOUND: ("not_found",)}
        ),
    )
    def get(self, request: Request, post_id: str) -> Response:
        """List the post's appeals."""
        appeals = Appeal.objects.filter(post=own_post(platform_of(request), post_id))
        page = pagination.paginate(appeals, pagination.read_query(request))
        return Response(page.body(_listed))


def _listed(appeals: Sequence[Appeal]) -> Any:
    return AppealSerializer([appeal_view(appeal) for appeal in appeals], many=True).data
