"""Stored photos over HTTP: a platform asks for a link, and whoever holds it sees the photo for some minutes."""

import logging
from datetime import timedelta
from http import HTTPStatus

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.storage.filesystem import FileSystemStorage
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mask_social import clock
from mask_social.errors import CONTENT_TYPE, Problem
from moderation import links, schema, staff
from moderation.authentication import platform_of
from moderation.models import ApiKey, Photo, Post

logger = logging.getLogger(__name__)

_SWITCH = {"false": False, "true": True}


class PhotoLinkSerializer(serializers.Serializer[links.Link]):
    url = serializers.CharField(help_text="shows the photo to whoever holds it; do not keep it")
    expires_at = serializers.DateTimeField()


class PhotoLinkView(APIView):
    required_scope = ApiKey.Scope.POSTS_READ

    @extend_schema(
        operation_id="get_photo_link",
        summary="A link to a stored photo",
        description="For eyes that must see what was judged: upright, without metadata, for five minutes.",
        parameters=[
            OpenApiParameter("photo_id", str, OpenApiParameter.PATH),
            OpenApiParameter("thumbnail", bool, description="a small version, 160 pixels at most"),
        ],
        responses={200: OpenApiResponse(PhotoLinkSerializer)}
        | schema.errors({HTTPStatus.BAD_REQUEST: ("invalid",), HTTPStatus.NOT_FOUND: ("not_found",)}),
    )
    def get(self, request: Request, photo_id: str) -> Response:
        """Return a fresh link."""
        asked = request.query_params.get("thumbnail", "false")
        if asked not in _SWITCH:
            raise serializers.ValidationError({"thumbnail": ["Say true or false."]})
        own = Photo.objects.filter(post__platform=platform_of(request)).exclude(post__status=Post.Status.WITHDRAWN)
        photo = own.filter(pk=photo_id).first()
        if photo is None:
            raise Http404("There is no such photo.")
        lifetime = timedelta(seconds=settings.PHOTO_LINK_SECONDS)
        link = links.new_link(photo, thumbnail=_SWITCH[asked], lifetime=lifetime)
        path = reverse("photo", args=[links.token_of(link)])
        url = settings.PUBLIC_URL + path if settings.PUBLIC_URL else request.build_absolute_uri(path)
        return Response({"url": url, "expires_at": link.expires_at}, headers={"Cache-Control": "no-store"})


@require_safe
def photo(request: HttpRequest, token: str) -> HttpResponse:
    """Show the photo that a link leads to; a bucket shows it itself, by an address that dies sooner still."""
    try:
        link = links.read(token)
        found = links.photo_of(link)
        if not link.is_thumbnail and not isinstance(default_storage, FileSystemStorage):
            return HttpResponseRedirect(default_storage.url(str(found.file.name)), headers=_HEADERS)
        content = staff.read_photo(found, thumbnail=link.is_thumbnail)
    except links.LinkError as error:
        return _refusal(str(error), expired=error.expired)
    except FileNotFoundError:
        return _refusal("There is no such photo.", expired=False)
    except OSError as error:
        logger.error("A photo could not be read: %s.", type(error).__name__)
        return _unavailable()
    seconds = max(0, int((link.expires_at - clock.now()).total_seconds()))
    headers = _HEADERS | {"Cache-Control": f"private, max-age={seconds}"}
    return HttpResponse(content, content_type="image/jpeg", headers=headers)


_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    # The address is the key: it must not travel on to others.
    "Referrer-Policy": "no-referrer",
}


def _refusal(detail: str, *, expired: bool) -> JsonResponse:
    status, code = (HTTPStatus.GONE, "link_expired") if expired else (HTTPStatus.NOT_FOUND, "not_found")
    return _sent(Problem(status, code, detail))


def _unavailable() -> JsonResponse:
    status, detail = HTTPStatus.SERVICE_UNAVAILABLE, "The photo cannot be read at the moment."
    response = _sent(Problem(status, "storage_unavailable", detail, headers={"Retry-After": "30"}))
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log the address, which is the key
    return response


def _sent(problem: Problem) -> JsonResponse:
    headers = _HEADERS | dict(problem.headers)
    return JsonResponse(problem.body(), status=problem.status.value, content_type=CONTENT_TYPE, headers=headers)
