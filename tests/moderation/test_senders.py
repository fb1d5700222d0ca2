"""What a web process answers before it has read a request, and how long it waits for one: gunicorn, over sockets."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from moderation.models import ApiKey, Post
from tests import cast

pytestmark = pytest.mark.django_db(transaction=True)
BASE = Path(__file__).resolve().parents[2]
THREADS = 4
PATIENCE = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


@dataclass(frozen=True, slots=True)
class Server:
    address: tuple[str, int]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def ask(self, head: str, body: bytes = b"") -> tuple[Answer, socket.socket]:
        """Send what there is, and read an answer; the rest of the request never comes."""
        wire = self.connect()
        wire.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return read_answer(wire), wire

    def answers_within(self, seconds: float) -> bool:
        try:
            with socket.create_connection(self.address, timeout=seconds) as wire:
                wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return wire.recv(12) == b"HTTP/1.1 200"
        except TimeoutError:
            return False


def read_answer(wire: socket.socket) -> Answer:
    stream = wire.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip().decode():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Answer(status, headers, stream.read(int(headers.get("content-length", "0"))))


def is_closed(wire: socket.socket, seconds: float) -> bool:
    wire.settimeout(seconds)
    try:
        return wire.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@contextmanager
def serving(worker: str) -> Iterator[Server]:
    """Serve the database of this test by gunicorn, with few threads."""
    with connection.cursor() as cursor:
        assert cursor.connection is not None
        info = cursor.connection.info
    url = f"postgresql://{quote(info.user, safe='')}:{quote(info.password, safe='')}@/{info.dbname}?host={info.host}"
    psycopg.connect(url).close()
    environment = os.environ | {
        "DATABASE_URL": url,
        "REDIS_URL": settings.REDIS_URL,
        "MASK_SOCIAL_PATIENCE_SECONDS": str(PATIENCE),
        "MASK_SOCIAL_RATE_ADDRESS": "1000000",
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # As over a real line: a loopback's grows to megabytes. Connections have what the listener has.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "mask_social.wsgi:application", "--no-control-socket"),
                *("--bind", f"fd://{listener.fileno()}", "--worker-class", worker, "--threads", str(THREADS)),
            ],
            cwd=BASE,
            env=environment,
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            server = Server(listener.getsockname())
            deadline = time.monotonic() + 60
            while not server.answers_within(5):
                assert process.poll() is None
                assert time.monotonic() < deadline
            yield server
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: Any) -> Iterator[Server]:
    with django_db_blocker.unblock(), serving("mask_social.web_worker.PatientWorker") as found:
        yield found


def head(key: str, *, length: str = "Content-Length: 5000000", path: str = "/api/v1/posts") -> str:
    kind = "Content-Type: multipart/form-data; boundary=x"
    return f"POST {path} HTTP/1.1\nHost: localhost\nAuthorization: Bearer {key}\n{kind}\n{length}"


def test_a_refusal_comes_while_the_body_has_not_been_sent(server: Server) -> None:
    platform = cast.make_platform()
    good, narrow, spent = cast.make_key(platform), cast.make_key(platform, ["posts:read"]), cast.make_key(platform)
    ApiKey.objects.filter(prefix=spent[:12]).update(calls_per_minute=1)
    read = f"GET /api/v1/posts HTTP/1.1\nHost: localhost\nAuthorization: Bearer {spent}"
    assert server.ask(read)[0].status == 200
    for request, status, code in (
        (head("msk_" + "a" * 43), 401, "invalid_api_key"),
        (head(narrow), 403, "insufficient_scope"),
        (head(spent), 429, "rate_limited"),
        (head(good, length="Content-Length: 160000000"), 413, "request_too_large"),
        (head(good, length="Content-Length: 99999999999"), 413, "request_too_large"),
        (head(good, length="Transfer-Encoding: chunked"), 411, "length_required"),
    ):
        answer, wire = server.ask(request)
        assert (answer.status, answer.code) == (status, code)
        wire.close()


def test_a_json_body_is_judged_by_its_length_too(server: Server) -> None:
    key = cast.make_key(cast.make_platform())
    for path, most in (("/api/v1/posts", 1024**2), ("/api/v1/feed/rank", 4 * 1024**2)):
        request = head(key, length=f"Content-Length: {most + 1}", path=path).replace(
            "multipart/form-data; boundary=x", "application/json"
        )
        assert server.ask(request)[0].code == "request_too_large"


def test_gigabytes_that_nobody_reads_are_not_swallowed(server: Server) -> None:
    """The connection is closed on a sender who goes on after the refusal."""
    answer, wire = server.ask(head("msk_" + "a" * 43, length="Content-Length: 2000000000"))
    assert answer.status == 401
    sent = 0
    with pytest.raises(OSError):
        while sent < 200 * 1024**2:
            sent += wire.send(bytes(64 * 1024))
    assert sent < 20 * 1024**2


def test_as_many_half_requests_as_there_are_threads_silence_it_for_a_moment_only(server: Server) -> None:
    key = cast.make_key(cast.make_platform())
    halves = [b"GET /healthz HTTP/1.1\r\nHost: loc", head(key).replace("\n", "\r\n").encode() + b"\r\n\r\n--x\r\n"]
    for half in halves:
        with ExitStack() as stack:
            wires = [stack.enter_context(server.connect()) for _ in range(THREADS)]
            for wire in wires:
                wire.sendall(half)
            time.sleep(0.3)
            assert not server.answers_within(0.3), "they hold every thread"
            assert server.answers_within(PATIENCE * 4)
            assert server.answers_within(5)
    assert not Post.objects.exists()


def test_a_sender_of_a_byte_now_and_then_is_cut_off_as_well(server: Server) -> None:
    with server.connect() as wire:
        began = time.monotonic()
        with pytest.raises(OSError):
            for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 4000:
                wire.sendall(bytes([byte]))
                time.sleep(0.05)
                wire.setblocking(False)
                try:
                    if not wire.recv(1):
                        raise ConnectionResetError
                except BlockingIOError:
                    wire.setblocking(True)
        assert PATIENCE * 0.8 < time.monotonic() - began < 20


def test_who_sends_a_post_too_slowly_is_told_so(server: Server) -> None:
    key = cast.make_key(cast.make_platform())
    answer, wire = server.ask(head(key), b'--x\r\nContent-Disposition: form-data; name="author_id"\r\n\r\nann')
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert is_closed(wire, PATIENCE * 6)


def test_as_many_who_read_no_answer_as_there_are_threads_silence_it_for_a_moment_only(server: Server) -> None:
    script = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    with ExitStack() as stack:
        for _ in range(THREADS):
            wire = stack.enter_context(socket.socket())
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.connect(server.address)
            wire.sendall(b"GET " + script + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.5)
        assert not server.answers_within(0.3), "they hold every thread"
        assert server.answers_within(PATIENCE * 6)
        assert server.answers_within(5)


def test_who_has_an_answer_and_does_not_go_keeps_nobody_waiting(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(THREADS * 2):
            wire = stack.enter_context(server.connect())
            wire.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        time.sleep(0.1)
        assert server.answers_within(3)


def test_who_reads_slowly_gets_a_whole_answer(server: Server) -> None:
    with server.connect() as wire:
        wire.sendall(b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.0\r\n\r\n")
        received = 0
        while data := wire.recv(65536):
            received += len(data)
            time.sleep(0.02)
    assert received > 1_500_000


def test_a_whole_post_goes_through_in_pieces(server: Server) -> None:
    key = cast.make_key(cast.make_platform())
    part = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    photo = part.format("photos", '; filename="a.jpg"').encode() + cast.make_jpeg(600, 400)
    body = part.format("author_id", "").encode() + b"ann\r\n" + photo + b"\r\n--x--\r\n"
    with server.connect() as wire:
        wire.sendall(head(key, length=f"Content-Length: {len(body)}").replace("\n", "\r\n").encode() + b"\r\n\r\n")
        for start in range(0, len(body), 1000):
            wire.sendall(body[start : start + 1000])
            time.sleep(0.01)
        answer = read_answer(wire)
    assert answer.status == 202
    assert "ratelimit" in answer.headers


def test_with_gunicorns_own_worker_half_requests_silence_it_for_ever() -> None:
    """The control: why the worker is ours."""
    with serving("gthread") as server, ExitStack() as stack:
        for _ in range(THREADS):
            stack.enter_context(server.connect()).sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        time.sleep(PATIENCE * 2)
        assert not server.answers_within(PATIENCE * 2)
