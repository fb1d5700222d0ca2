"""The probe of a container."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mask_social import probe


class Answers(BaseHTTPRequestHandler):
    """Be ready for one host name alone."""

    def do_GET(self) -> None:
        ready = (self.path, self.headers["Host"]) == ("/readyz?only=web", "masks.example.org")
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setenv("PORT", str(server.server_address[1]))
        yield server
        server.shutdown()


def test_the_web_is_asked_under_a_name_it_answers_to(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_SOCIAL_ALLOWED_HOSTS", ".masks.example.org, other.example.org")
    assert probe.main(["web"]) == 0


def test_a_web_that_is_not_ready_is_not_healthy(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_SOCIAL_ALLOWED_HOSTS", "*")
    assert probe.main(["web"]) == 1


def test_nobody_at_home_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9")
    assert probe.main(["web"]) == 1


@pytest.mark.parametrize(
    ("part", "variable"), [("worker", "MASK_SOCIAL_WORKER_FILE"), ("beat", "MASK_SOCIAL_BEAT_FILE")]
)
def test_a_process_that_shows_no_life_is_not_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, variable: str
) -> None:
    file = tmp_path / "life"
    assert probe.main([part]) == 1
    monkeypatch.setenv(variable, str(file))
    assert probe.main([part]) == 1
    file.touch()
    assert probe.main([part]) == 0
    old = time.time() - 1000
    os.utime(file, (old, old))
    assert probe.main([part]) == 1


def test_another_word_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["everything"]) == 2
    assert "usage:" in capsys.readouterr().err
