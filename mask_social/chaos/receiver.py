"""A platform's receiver, in every mood: it takes what is well signed, keeps a log, and answers as it feels."""

import json
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook

from mask_social.chaos.clock import TrialClock

QUIET_SECONDS = 2  # what a busy one asks for


class Mood(Enum):
    """How it answers; the value says it in words."""

    WELL = "takes it"
    DOWN = "hangs up"
    SLOW = "takes it, and answers too late"
    LYING = "takes it, and answers 500"
    CUTTING = "takes it, and cuts the line"
    GARBLED = "takes it, and answers 200 with half a body"
    GONE = "answers 410"
    BUSY = "answers 429"


TAKES = frozenset({Mood.WELL, Mood.SLOW, Mood.LYING, Mood.CUTTING, Mood.GARBLED})


@dataclass(slots=True)
class Log:
    """What came: each event once, with what its first message said."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    came_at: dict[str, float] = field(default_factory=dict)
    repeats: Counter[str] = field(default_factory=Counter)
    moods: Counter[str] = field(default_factory=Counter)
    # What a receiver may hold against the sender.
    complaints: list[str] = field(default_factory=list)


class Receiver:
    """Serve on a free port of 127.0.0.1; a context manager."""

    def __init__(self, name: str, clock: TrialClock, *, late_seconds: float) -> None:
        self.name = name
        self.endpoint_id = ""
        self.mood = Mood.WELL
        self._clock = clock
        self._late_seconds = late_seconds
        self._webhook: Webhook | None = None
        self._lock = threading.Lock()
        self._log = Log()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/{name}"

    def trust(self, endpoint_id: str, secret: str) -> None:
        """Expect the messages of this endpoint, signed with this secret."""
        self.endpoint_id = endpoint_id
        self._webhook = Webhook(secret)

    def log(self) -> Log:
        """Return a copy of what came so far."""
        with self._lock:
            log = self._log
            return Log(dict(log.bodies), dict(log.came_at), log.repeats.copy(), log.moods.copy(), [*log.complaints])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name=self.name, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes, headers: dict[str, str], mood: Mood) -> bool:
        """Check a message and keep it; False where it is not well signed."""
        event_id = headers.get("webhook-id", "")
        complaint = self._complaint(event_id, body, headers)
        with self._lock:
            self._log.moods[mood.name] += 1
            if complaint:
                self._log.complaints.append(f"{event_id or 'a message'}: {complaint}")
                return False
            if mood in TAKES:
                said = json.loads(body)
                if self._log.bodies.setdefault(event_id, said) != said:
                    self._log.complaints.append(f"{event_id}: came again with another body")
                if event_id in self._log.came_at:
                    self._log.repeats[event_id] += 1
                self._log.came_at.setdefault(event_id, time.monotonic())
        return True

    def _complaint(self, event_id: str, body: bytes, headers: dict[str, str]) -> str:
        """Verify as the library does, by the clock of the trial in place of the machine's."""
        try:
            timestamp = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            assert self._webhook is not None  # noqa: S101 - trusted before the first message
            right = self._webhook.sign(event_id, timestamp, body.decode())
            signatures = headers["webhook-signature"].split()
        except (KeyError, ValueError) as error:
            return f"no header or none to read: {error}"
        if not any(compare_digest(signature, right) for signature in signatures):
            return "its signature is wrong"
        if not self._clock.agrees(timestamp):
            return f"it was signed at {timestamp:%Y-%m-%d %H:%M:%S}, and it is {self._clock.now():%Y-%m-%d %H:%M:%S}"
        try:
            says = json.loads(body)["id"]
        except (ValueError, KeyError, TypeError):
            return "its body is no event"
        return "" if says == event_id else f"its body says {says}"

    def _handler(receiver: Self) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request's inside
        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                mood = receiver.mood
                if mood is Mood.DOWN:
                    receiver._note(mood)
                    self._hang_up()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                well_signed = receiver._take(body, headers, mood)
                # The other side may be gone: killed, or out of patience.
                with suppress(OSError):
                    self._answer(mood if well_signed else None)

            def _answer(self, mood: Mood | None) -> None:
                match mood:
                    case None:
                        self._say(HTTPStatus.UNAUTHORIZED)
                    case Mood.WELL:
                        self._say(HTTPStatus.NO_CONTENT)
                    case Mood.SLOW:
                        time.sleep(receiver._late_seconds)
                        self._say(HTTPStatus.NO_CONTENT)
                    case Mood.LYING:
                        self._say(HTTPStatus.INTERNAL_SERVER_ERROR)
                    case Mood.GARBLED:
                        self.send_response(HTTPStatus.OK)
                        self.send_header("Content-Type", "application/json")
                        self.send_header("Content-Length", "1000")
                        self.end_headers()
                        self.wfile.write(b'{"ok": tr')
                        self._hang_up()
                    case Mood.GONE:
                        self._say(HTTPStatus.GONE)
                    case Mood.BUSY:
                        self._say(HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(QUIET_SECONDS)})
                    case _:
                        self._hang_up()

            def _say(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": "0", **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()

            def _hang_up(self) -> None:
                self.close_connection = True
                with suppress(OSError):
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, format: str, *args: Any) -> None:
                """Stay silent: the report tells what came."""

        return Handler

    def _note(self, mood: Mood) -> None:
        with self._lock:
            self._log.moods[mood.name] += 1
