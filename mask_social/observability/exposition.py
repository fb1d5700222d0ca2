"""Where Prometheus asks: /metrics of the web, and a port of its own for a worker on another machine."""

import ipaddress
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import resolve
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mask_social.observability import metrics
from mask_social.observability.state import StateCollector

PATH = "/metrics"
# A proxy adds one of these, so that what came through it is not taken for a neighbour's.
_OF_PROXIES = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")

_state = StateCollector()


@require_safe
def metrics_page(request: HttpRequest) -> HttpResponse:
    """Show the numbers to whom they are for."""
    refusal = refused(request.META, settings.METRICS_TOKEN)
    if refusal is not None:
        headers = {"WWW-Authenticate": "Bearer"} if refusal == HTTPStatus.UNAUTHORIZED else {}
        return HttpResponse(f"{refusal.phrase}\n", status=refusal, content_type="text/plain", headers=headers)
    metrics.measure_memory()
    state = CollectorRegistry()
    state.register(_state)
    body = generate_latest(metrics.registry()) + generate_latest(state)
    return HttpResponse(body, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def metrics_first(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer for the numbers before anybody looks at the name that was asked for or redirects to https."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path_info != PATH:
            return get_response(request)
        request.resolver_match = resolve(PATH)
        return metrics_page(request)

    return answer


def refused(environ: Mapping[str, Any], token: str) -> HTTPStatus | None:
    """Say why somebody may not see the numbers: no token where one is set, else one from outside."""
    if token:
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        right = scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), token.encode())
        return None if right else HTTPStatus.UNAUTHORIZED
    if any(name in environ for name in _OF_PROXIES) or not _is_near(environ.get("REMOTE_ADDR", "")):
        return HTTPStatus.FORBIDDEN
    return None


def _is_near(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none: only a proxy on this machine comes that way
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_private)


def serve(port: int, token: str) -> WSGIServer:
    """Show this machine's numbers at a port, in a thread; for a worker, which has no web."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refusal = HTTPStatus.NOT_FOUND if environ["PATH_INFO"] != PATH else refused(environ, token)
        if refusal is not None:
            start_response(f"{refusal.value} {refusal.phrase}", [("Content-Type", "text/plain")])
            return [f"{refusal.phrase}\n".encode()]
        metrics.measure_memory()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)])
        return [generate_latest(metrics.registry())]

    server = make_server("", port, answer, server_class=_Server, handler_class=_Silent)
    os.register_at_fork(after_in_child=server.socket.close)  # a child that outlives its parent must not keep the port
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = 10  # of somebody who connects and says nothing

    def address_string(self) -> str:
        """Ask no name server who that is."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape comes every few seconds."""
