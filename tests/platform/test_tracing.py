"""Tracing is off until a collector is named, and then costs nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from mask_social.observability import tracing

BASE = Path(__file__).resolve().parents[2]
LOADED = """
import sys
from mask_social.wsgi import application
from mask_social.celery import app
from mask_social.observability import tracing
app.loader.import_default_modules()
tracing.tell_stages({"detect": 3.0})
tracing.flush()
# redis-py loads the interfaces by itself where they are installed; what traces are these.
parts = ("opentelemetry.instrumentation", "opentelemetry.exporter", "opentelemetry.sdk.trace")
print(sorted(name for name in sys.modules if name.startswith(parts)), repr(tracing.trace_id()))
"""
TRACED = """
import json
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
trace_exporter.OTLPSpanExporter = lambda endpoint: kept
from mask_social.wsgi import application
from mask_social.observability import tracing
from django.test import Client
ask = Client(SERVER_NAME="localhost", raise_request_exception=False)
for address in ("/photos/a-token-that-opens-something?size=a-secret-size", "/nowhere?a-secret-size=1"):
    ask.get(address, RAW_URI=address)  # as gunicorn has it
    ask.get(address)
tracing.flush()
print(json.dumps([dict(span.attributes) for span in kept.get_finished_spans()]))
"""


@pytest.mark.parametrize("conventions", ["", "http", "http/dup"])
def test_a_trace_tells_neither_what_opens_a_photo_nor_the_query(conventions: str) -> None:
    environment = os.environ | {
        "MASK_SOCIAL_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_SEMCONV_STABILITY_OPT_IN": conventions,
    }
    done = subprocess.run(
        [sys.executable, "-c", TRACED], cwd=BASE, env=environment, capture_output=True, text=True, check=True
    )
    spans = done.stdout
    photo, photo_by_url, nowhere, nowhere_by_url = json.loads(spans)
    if conventions != "http":
        assert (photo["http.target"], nowhere["http.target"]) == ("/photos/…", "/nowhere")
        assert photo_by_url["http.url"] == "http://localhost/photos/…"
        assert nowhere_by_url["http.url"] == "http://localhost/nowhere"
    if conventions:
        assert (photo["url.path"], nowhere["url.path"]) == ("/photos/…", "/nowhere")
    assert photo["http.route"] == "photos/<str:token>"
    assert "a-token-that-opens" not in spans
    assert "a-secret-size" not in spans


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "MASK_SOCIAL_OTLP_ENDPOINT"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=BASE, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] ''"


def test_it_says_what_to_install_where_a_collector_is_named_and_the_packages_are_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTLP_ENDPOINT = "http://collector:4318"
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install '\.\[otel\]'"):
        tracing.start("web")
