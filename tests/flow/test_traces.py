"""Traces: one of them goes from the request through the workers, and a collector that speaks OTLP understands it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mask_social.demo.client import Client
from mask_social.demo.feed_service import FeedService
from mask_social.demo.pictures import PHOTOS
from mask_social.stack import Stack
from tests.flow.conftest import eventually

BASE = Path(__file__).resolve().parents[2]
CAPTION = "a caption that nobody should find in a trace"


@dataclass(frozen=True, slots=True)
class Span:
    """What a collector gets to know of a step."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    text: str


@dataclass(slots=True)
class Collector:
    """Takes what is sent by OTLP over HTTP."""

    spans: list[Span] = field(default_factory=list)
    url: str = ""

    def take(self, body: bytes) -> None:
        """Read one message."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += [
                    Span(service, span.name, span.trace_id, span.span_id, span.parent_span_id, str(span))
                    for span in scope.spans
                ]

    def trace_with(self, name: str) -> list[Span]:
        """Return the spans of the first trace that has one of this name."""
        trace = next((span.trace for span in self.spans if span.name == name), None)
        return [span for span in self.spans if span.trace == trace]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            found.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.mark.flow
def test_one_trace_goes_from_the_request_through_the_workers(collector: Collector, tmp_path: Path) -> None:
    environment = {
        "MASK_SOCIAL_OTLP_ENDPOINT": collector.url,
        "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",
        "MASK_SOCIAL_LOG_FORMAT": "json",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with FeedService() as feed, Stack(tmp_path / "var", env=environment) as stack:
        made = subprocess.run(
            [sys.executable, str(BASE / "manage.py"), "bootstrap"],
            env=stack.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        key = next(word for word in made.stdout.split() if word.startswith("msk_"))
        client = Client(stack.url, key)
        feed.trust(client.create_webhook_endpoint(feed.url)["secret"])
        client.create_post(PHOTOS / "surgical.jpg", author_id="author", caption=CAPTION)

        def is_whole() -> bool:
            return {span.service for span in collector.trace_with("POST api/v1/posts")} == {
                "mask_social-web",
                "mask_social-analysis",
                "mask_social-default",
                "mask_social-webhooks",
            }

        eventually(is_whole)
        logged = (stack.var / "log" / "analysis.log").read_text()
    spans = collector.trace_with("POST api/v1/posts")
    assert f'"trace_id": "{spans[0].trace.hex()}"' in logged  # from a line of the log to its trace
    names = {span.name for span in spans}
    assert {
        "run/moderation.tasks.analyze_photo",
        "run/incentives.tasks.apply_verdict",
        "run/incentives.tasks.send_webhooks",
        "decode",
        "detect",
        "classify",
    } <= names
    assert any(name.startswith(("SELECT", "INSERT", "UPDATE")) for name in names)
    known = {span.id for span in spans}
    assert [span.name for span in spans if span.parent and span.parent not in known] == []
    assert [span.name for span in spans if not span.parent] == ["POST api/v1/posts"]
    everything = "".join(span.text for span in collector.spans)
    assert CAPTION not in everything
    assert key not in everything
