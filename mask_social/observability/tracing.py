"""OpenTelemetry traces, sent to a collector where a setting names one; elsewhere nothing of it is even loaded."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from mask_social import __version__
from mask_social.observability import paths

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

logger = logging.getLogger(__name__)

_FLUSH_MILLISECONDS = 5000
# Where the old and the new conventions tell what was asked for.
_PATHS = ("http.target", "url.path")
_ADDRESSES = ("http.url", "url.full")
_QUERIES = ("url.query",)
_provider: "TracerProvider | None" = None


def start(role: str) -> None:
    """Trace this process from here on, where a collector is named; to be called after a fork, and once."""
    global _provider
    if not settings.OTLP_ENDPOINT or _provider is not None:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.celery import CeleryInstrumentor
        from opentelemetry.instrumentation.django import DjangoInstrumentor
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ImproperlyConfigured(
            f"MASK_SOCIAL_OTLP_ENDPOINT needs the extra otel: pip install '.[otel]' ({error})."
        ) from error

    attributes = {"service.name": f"mask_social-{role}", "service.version": __version__}
    _provider = TracerProvider(resource=Resource.create(attributes))
    exporter = OTLPSpanExporter(endpoint=f"{settings.OTLP_ENDPOINT}/v1/traces")
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(_provider)
    DjangoInstrumentor().instrument(request_hook=_hide, response_hook=_hide)  # only after the answer the route is known
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # theirs is untyped
    # Statements are told with their placeholders, never with what is put in.
    PsycopgInstrumentor().instrument()


def _hide(span: "Span", request: HttpRequest, response: HttpResponse | None = None) -> None:
    """Tell of a request what its line in the log tells: neither what opens a photo nor the query."""
    told: Mapping[str, object] = getattr(span, "attributes", None) or {}  # one that is not sampled has none
    path = paths.shown(request)
    span.set_attributes({name: path for name in _PATHS if name in told})
    span.set_attributes({name: "" for name in _QUERIES if name in told})
    for name in _ADDRESSES:
        if name in told:
            parts = urlsplit(str(told[name]))
            span.set_attribute(name, f"{parts.scheme}://{parts.netloc}{path}")


def flush() -> None:
    """Send what waits to be sent; a process that ends would take it along."""
    if _provider is not None:
        _provider.force_flush(_FLUSH_MILLISECONDS)


def trace_id() -> str:
    """Return the id of the trace that is under way; empty where there is none."""
    if _provider is None:
        return ""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def tell_stages(milliseconds: Mapping[str, float]) -> None:
    """Add to the trace the parts of something that just ended, in order and one right after the other."""
    if _provider is None:
        return
    tracer = _provider.get_tracer(__name__)
    at = time.time_ns() - int(sum(milliseconds.values()) * 1e6)
    for name, length in milliseconds.items():
        span = tracer.start_span(name, start_time=at)
        at += int(length * 1e6)
        span.end(end_time=at)
