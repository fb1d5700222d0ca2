"""The API by which a receiver checks that it knows every boost."""

from http import HTTPStatus

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from incentives import digest, examples
from incentives.serializers import ActiveBoostSerializer, DigestSerializer
from incentives.view_parts import BAD_PAGE, Codes, many
from mask_social import clock
from mask_social.errors import ApiError
from moderation import pagination
from moderation.authentication import platform_of
from moderation.models import ApiKey
from moderation.schema import errors

BAD_BUCKETS: Codes = {HTTPStatus.BAD_REQUEST: ("invalid_buckets",)}
BAD_BUCKET: Codes = {HTTPStatus.BAD_REQUEST: (*BAD_PAGE[HTTPStatus.BAD_REQUEST], "invalid_bucket")}

_HEXADECIMAL = frozenset("0123456789abcdef")


class BoostDigestView(APIView):
    required_scope = ApiKey.Scope.EVENTS_READ

    @extend_schema(
        operation_id="digest_boosts",
        summary="A digest of the active boosts, to compare yours with",
        parameters=[
            OpenApiParameter(
                "buckets",
                {"type": "integer", "enum": list(digest.DIGITS), "default": 16},
                description="how many parts to tell apart",
            )
        ],
        responses={200: DigestSerializer} | errors(BAD_BUCKETS),
        examples=[OpenApiExample("of one bucket", examples.DIGEST, response_only=True)],
    )
    def get(self, request: Request) -> Response:
        """Return count and digest of each bucket, as the events up to `cursor` tell them."""
        asked = request.query_params.get("buckets", "16")
        if asked not in {str(number) for number in digest.DIGITS}:
            raise _refusal("invalid_buckets", "buckets must be 1, 16 or 256.", "/buckets")
        found = digest.digest_of(platform_of(request), int(asked), clock.now())
        return Response(DigestSerializer(found).data)


class BoostsView(APIView):
    required_scope = ApiKey.Scope.EVENTS_READ

    @extend_schema(
        operation_id="list_boosts",
        summary="The active boosts, or those of one bucket of the digest",
        parameters=[
            OpenApiParameter("bucket", OpenApiTypes.STR, description="0 to 2 hexadecimal digits; none: all of them"),
            *pagination.PARAMETERS,
        ],
        responses={200: pagination.page_serializer(ActiveBoostSerializer, "ActiveBoost")} | errors(BAD_BUCKET),
    )
    def get(self, request: Request) -> Response:
        """Return them by the id of their post."""
        bucket = request.query_params.get("bucket", "")
        if len(bucket) > max(digest.DIGITS.values()) or not _HEXADECIMAL.issuperset(bucket):
            raise _refusal("invalid_bucket", "bucket must be up to two digits of 0 to 9 and a to f.", "/bucket")
        query = pagination.read_query(request)
        after = None if query.after is None else str(query.after[0])
        rows = digest.boosts_in(platform_of(request), bucket, clock.now(), after=after, limit=query.limit + 1)
        page = pagination.page_of(rows, query, lambda row: (row.post_id,))
        return Response(page.body(lambda shown: many(ActiveBoostSerializer, shown)))


def _refusal(code: str, detail: str, pointer: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, code, detail, pointer=pointer)
