"""Each request has an id, a line in the log and a place in the numbers."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from mask_social import correlation, ids
from mask_social.observability import metrics, paths

logger = logging.getLogger("mask_social.http")

HEADER = "X-Request-Id"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds by machines.
_OF_MACHINES = frozenset({"healthz", "readyz", "metrics"})


class FollowMiddleware:
    """Follow each request by an id: the one it brings, where that has the right form, or a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and tell of it."""
        given = request.headers.get(HEADER, "")
        request_id = given if correlation.FORM.fullmatch(given) else ids.new_id("req")
        with correlation.bound(request_id):
            began = time.perf_counter()
            response = self._get_response(request)
            response.headers[HEADER] = request_id
            _tell(request, response.status_code, time.perf_counter() - began)
            return response


def route_of(request: HttpRequest) -> str:
    """Return the name of what was asked for: one of those in the URL configuration, however odd the address."""
    match = request.resolver_match
    if match is not None:
        return match.view_name or match.route
    return "static" if request.path.startswith(settings.STATIC_URL) else "unmatched"


def _tell(request: HttpRequest, status: int, seconds: float) -> None:
    route = route_of(request)
    method = request.method if request.method in _METHODS else "other"
    metrics.HTTP_REQUESTS.labels(route, method, status).inc()
    metrics.HTTP_SECONDS.labels(route, method).observe(seconds)
    metrics.measure_memory()
    path = paths.shown(request)
    logger.log(
        logging.DEBUG if route in _OF_MACHINES else logging.INFO,
        "%s %s %d",
        method,
        path,
        status,
        extra={
            "method": method,
            "path": path,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            **_caller(request),
        },
    )


def _caller(request: HttpRequest) -> dict[str, str]:
    # Set by the API's authentication alone.
    platform = getattr(getattr(request, "auth", None), "platform", None)
    return {"platform": platform.slug} if platform is not None else {}
