"""What a request may carry: its length is judged before a byte of it is read."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from mask_social.errors import ApiError, problem_page

_API = "/api/"


def require_length(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a body that does not say how long it is; a middleware, for Django would take it for no body at all.

    The API judges by key and call what may be large. Elsewhere nobody sends files, and a form is read before anybody
    knows who sends it: Django would write a film to the disk.
    """

    def answer(request: HttpRequest) -> HttpResponse:
        if "HTTP_TRANSFER_ENCODING" in request.META and "CONTENT_LENGTH" not in request.META:
            detail = "Send a Content-Length: a body in chunks is not read."
            return problem_page(HTTPStatus.LENGTH_REQUIRED, "length_required", detail)
        if not request.path_info.startswith(_API):
            try:
                refuse_large(request.META, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
            except ApiError as error:
                return problem_page(error.status, error.code, error.detail)
        return get_response(request)

    return answer


def refuse_large(meta: Mapping[str, Any], max_bytes: int) -> None:
    """Refuse a body that says it is too large."""
    length = str(meta.get("CONTENT_LENGTH") or 0)
    if not length.isdigit() or int(length) > max_bytes:
        detail = f"The request is larger than {max_bytes / 1024**2:g} MB."
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", detail)
