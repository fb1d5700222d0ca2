"""A platform's feed service in small: it takes webhooks, believes those well signed, and keeps each once."""

import json
import threading
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError


class FeedService:
    """Serve on a free port of 127.0.0.1 in a thread; a context manager."""

    def __init__(self) -> None:
        self._webhook: Webhook | None = None
        self._changed = threading.Condition()
        self._events: dict[str, dict[str, Any]] = {}
        self._refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def trust(self, secret: str) -> None:
        """Verify what comes from now on with `secret` (``whsec_…``)."""
        self._webhook = Webhook(secret)

    @property
    def refused(self) -> int:
        """How many requests had no valid signature."""
        return self._refused

    def verified_ids(self) -> set[str]:
        """Return the ids of the events that came with a valid signature."""
        with self._changed:
            return set(self._events)

    def wait_for(self, event_ids: Collection[str], seconds: float) -> set[str]:
        """Wait until all of `event_ids` have come; return those that have not."""
        wanted = set(event_ids)
        with self._changed:
            self._changed.wait_for(lambda: wanted <= self._events.keys(), timeout=seconds)
            return wanted - self._events.keys()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="feed-service", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _receive(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            if self._webhook is None:
                raise WebhookVerificationError("no secret yet")
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            with self._changed:
                self._refused += 1
            return 401
        with self._changed:
            # A webhook may come twice; its id says so.
            self._events.setdefault(headers["webhook-id"], json.loads(body))
            self._changed.notify_all()
        return 204

    def _handler(service: Self) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request's inside
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(service._receive(body, headers))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent: the table tells what came."""

        return Handler
