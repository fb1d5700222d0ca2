"""The OpenAPI document as it is served: made once per process, for it takes half a second and nobody needs a key."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from moderation.throttling import StrangerThrottle


class SchemaView(SpectacularAPIView):
    throttle_classes = [StrangerThrottle]

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer the document, as YAML or JSON."""
        media_type = request.accepted_renderer.media_type
        return HttpResponse(_document(media_type), content_type=media_type)


@cache
def _document(media_type: str | None) -> str | bytes:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # theirs is untyped
    [renderer] = [one for one in SchemaView.renderer_classes if one.media_type == media_type]
    return renderer().render(schema, renderer_context={})
