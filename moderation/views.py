"""Posts over HTTP: translate, call, answer."""

import json
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import Http404
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mask_social import clock
from mask_social.errors import ApiError
from moderation import (
    fetching,
    idempotency,
    overload,
    pagination,
    posts,
    schema,
    selectors,
    throttling,
    uploads,
    waiting,
)
from moderation.authentication import platform_of
from moderation.extensions import post_sections
from moderation.models import ApiKey, Platform, Post
from moderation.parsers import PHOTOS_FIELD, JsonParser, PhotoMultiPartParser, ReceivedFile
from moderation.representation import post_view
from moderation.serializers import (
    NewPostFormSerializer,
    NewPostSerializer,
    PostPageSerializer,
    PostSerializer,
    PostSummarySerializer,
)
from moderation.tasks import analysis_terms

MAX_PIXELS = 50_000_000
_SCOPES = {
    "POST": ApiKey.Scope.POSTS_WRITE,
    "DELETE": ApiKey.Scope.POSTS_WRITE,
    "GET": ApiKey.Scope.POSTS_READ,
}


class PostListView(APIView):
    required_scope = _SCOPES
    parser_classes = [JsonParser, PhotoMultiPartParser]

    @extend_schema(
        operation_id="create_post",
        summary="Send a post",
        description="Photos by multipart, or URLs of photos; what is refused changes nothing.",
        request={"multipart/form-data": NewPostFormSerializer, "application/json": NewPostSerializer},
        parameters=[schema.IDEMPOTENCY_KEY, schema.LOCATION, schema.REPLAYED, schema.RETRY_AFTER],
        examples=[
            OpenApiExample(
                "by URL",
                value={
                    "author_id": "u-1042",
                    "caption": "Back at work",
                    "region": "DE",
                    "author_time_zone": "Europe/Berlin",
                    "author_registered_at": "2024-05-01T12:00:00Z",
                    "photo_urls": ["https://cdn.example.org/p/1.jpg"],
                },
                request_only=True,
                media_type="application/json",
            )
        ],
        responses={
            202: OpenApiResponse(
                PostSerializer,
                description="The post is stored and will be looked at.",
                examples=[OpenApiExample("accepted", value=schema.PENDING_POST, response_only=True)],
            )
        }
        | schema.errors(
            {
                HTTPStatus.BAD_REQUEST: (
                    "validation_error",
                    "required",
                    "unknown_field",
                    "invalid_author_id",
                    "invalid_region",
                    "invalid_time_zone",
                    "registered_in_future",
                    "photos_required",
                    "too_many_photos",
                    "empty_file",
                    "not_an_image",
                    "format_mismatch",
                    "truncated_image",
                    "too_many_pixels",
                    "bad_dimensions",
                    "too_complex",
                    "animated_image",
                    "svg_not_supported",
                    "unsupported_format",
                    "url_invalid",
                    "url_not_public",
                    "url_port_not_allowed",
                    "url_redirect_not_public",
                    "url_too_large",
                    "url_too_slow",
                    "url_unreachable",
                    "url_bad_status",
                    "url_too_many_redirects",
                    "invalid_idempotency_key",
                ),
                HTTPStatus.CONFLICT: ("idempotency_in_flight",),
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("file_too_large", "request_too_large"),
                HTTPStatus.UNPROCESSABLE_ENTITY: ("idempotency_mismatch",),
                HTTPStatus.SERVICE_UNAVAILABLE: ("overloaded", "storage_unavailable", "database_unavailable"),
            }
        ),
    )
    def post(self, request: Request) -> Response:
        """Take a post in."""
        received_at = clock.now()
        platform = platform_of(request)
        overload.refuse_when_overloaded()
        key = idempotency.check_key(request.headers.get("Idempotency-Key"))
        fields, files = _read_form(request)
        limits = uploads.Limits(settings.MAX_PHOTO_BYTES, MAX_PIXELS, settings.MAX_PHOTOS)
        uploads.check_count(len(files), len(fields["photo_urls"]), limits)

        asked = idempotency.fingerprint("POST", request.path, fields, [file.digest for file in files])
        lock = idempotency.begin(platform, key, asked)
        if isinstance(lock, idempotency.Replay):
            return _accepted(lock.status, lock.body, replayed=True)
        body: dict[str, Any] = {}

        def answer(post: Post) -> None:
            whole = PostSerializer(post_view(selectors.posts_in_full().get(pk=post.pk)))
            body.update(plain(whole.data))
            idempotency.complete(lock, HTTPStatus.ACCEPTED, body)

        with idempotency.held(lock), throttling.counted_post(request, platform, fields["author_id"]):
            found = fetching.fetch_all(
                fields["photo_urls"],
                fetching.FetchTerms(
                    settings.FETCH_DEADLINE_SECONDS,
                    settings.MAX_PHOTO_BYTES,
                    settings.ALLOW_PRIVATE_ADDRESSES,
                    settings.OUTGOING_PORTS,
                ),
            )
            new = posts.NewPost(
                platform=platform,
                author_id=fields["author_id"],
                caption=fields["caption"],
                region=fields["region"],
                received_at=received_at,
                photos=uploads.prepare_all([*files, *found], limits),
                author_time_zone=fields.get("author_time_zone"),
                author_registered_at=fields.get("author_registered_at"),
            )
            posts.create_post(new, analysis_terms(), then=answer)
        return _accepted(HTTPStatus.ACCEPTED, body, replayed=False)

    @extend_schema(
        operation_id="list_posts",
        summary="List posts, the newest first",
        parameters=[
            OpenApiParameter("author_id", OpenApiTypes.STR, description="of this author alone"),
            OpenApiParameter("status", OpenApiTypes.STR, enum=Post.Status.values),
            *pagination.PARAMETERS,
        ],
        responses={200: PostPageSerializer}
        | schema.errors({HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor", "invalid_status")}),
    )
    def get(self, request: Request) -> Response:
        """List the platform's posts."""
        rows = Post.objects.filter(platform=platform_of(request)).select_related("author")
        if author_id := request.query_params.get("author_id"):
            rows = rows.filter(author__external_id=author_id.replace("\0", "\ufffd"))
        if status := request.query_params.get("status"):
            if status not in Post.Status.values:
                raise ApiError(
                    HTTPStatus.BAD_REQUEST,
                    "invalid_status",
                    f"status is one of {', '.join(Post.Status.values)}.",
                    pointer="/status",
                )
            rows = rows.filter(status=status)
        page = pagination.paginate(rows, pagination.read_query(request))
        return Response(page.body(lambda data: PostSummarySerializer(data, many=True).data))


class PostView(APIView):
    required_scope = _SCOPES

    @extend_schema(
        operation_id="get_post",
        summary="Read a post",
        parameters=[schema.POST_PATH_ID, waiting.parameter("a verdict and what it brings")],
        responses={
            200: OpenApiResponse(
                PostSerializer,
                examples=[OpenApiExample("analyzed", value=schema.EXAMPLE_POST, response_only=True)],
            )
        }
        | schema.errors({HTTPStatus.BAD_REQUEST: ("invalid_wait",), HTTPStatus.NOT_FOUND: ("not_found",)}),
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return a post, at once or when there is nothing more to wait for."""
        wait = waiting.read_wait(request)
        platform = platform_of(request)
        waiting.read_until(_is_settled, lambda: own_post(platform, post_id), wait)
        post = selectors.posts_in_full().filter(platform=platform, pk=post_id).first()
        if post is None:
            raise Http404("There is no such post.")
        return Response(PostSerializer(post_view(post)).data)

    @extend_schema(
        operation_id="withdraw_post",
        summary="Withdraw a post",
        description="Takes back what the post earned. Withdrawing again changes nothing.",
        parameters=[schema.POST_PATH_ID],
        responses={204: None} | schema.errors({HTTPStatus.NOT_FOUND: ("not_found",)}),
    )
    def delete(self, request: Request, post_id: str) -> Response:
        """Withdraw a post."""
        posts.withdraw(own_post(platform_of(request), post_id))
        return Response(status=HTTPStatus.NO_CONTENT)


def _read_form(request: Request) -> tuple[dict[str, Any], list[uploads.Upload]]:
    files: list[uploads.Upload] = []
    data: Any = request.data
    if hasattr(data, "getlist"):  # multipart: lists of values, files among them
        data, files = _split(data)
    serializer = NewPostSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data), files


def _split(form: Any) -> tuple[dict[str, Any], list[uploads.Upload]]:
    data: dict[str, Any] = {}
    for name in form:
        values = form.getlist(name)
        if name == PHOTOS_FIELD and all(isinstance(value, ReceivedFile) for value in values):
            continue
        data[name] = values if name == "photo_urls" else values[-1]
    received = [value for value in form.getlist(PHOTOS_FIELD) if isinstance(value, ReceivedFile)]
    return data, [
        uploads.Upload(
            f"/photos/{index}", file.content, file.size or 0, file.digest, file.name or "", file.content_type or ""
        )
        for index, file in enumerate(received)
    ]


def _accepted(status: int, body: dict[str, Any], *, replayed: bool) -> Response:
    headers = {"Location": reverse("post", args=[body["id"]])}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(body, status=status, headers=headers)


def plain(data: Any) -> dict[str, Any]:
    """Return what JSON makes of an answer, so that a replay is the same."""
    made: dict[str, Any] = json.loads(JSONRenderer().render(data))
    return made


def own_post(platform: Platform, post_id: str) -> Post:
    """Return a post of the platform's own. Raises Http404."""
    post = Post.objects.filter(platform=platform, pk=post_id).first()
    if post is None:  # another platform's post is none to this one
        raise Http404("There is no such post.")
    return post


def _is_settled(post: Post) -> bool:
    return post.status != Post.Status.PENDING and all(section.is_settled(post) for section in post_sections)
