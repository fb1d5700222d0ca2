"""A process that grows is changed for a fresh one, and nothing that it had in hand is lost."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from mask_social.embedded.redis import Redis
from moderation.models import Analysis
from tests import cast
from tests.platform.waiting import eventually

BASE = Path(__file__).resolve().parents[2]


def test_a_web_process_that_grows_answers_what_it_has_and_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "log").open("wb") as log:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "tests.platform.growing:application", "--no-control-socket"),
                *("--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread", "--threads", "2"),
                *("--config", "python:mask_social.observability.gunicorn"),
            ],
            cwd=BASE,
            env=os.environ | {"MASK_SOCIAL_WEB_MIB": "200"},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            answered = [urllib.request.urlopen(url, timeout=20).read() for _ in range(12)]
        finally:
            server.terminate()
            server.wait(20)
    seen = Counter(answered)
    assert len(seen) >= 2, "it was replaced"
    assert max(seen.values()) > 1, "and not for each request"
    assert "and makes room for another" in (tmp_path / "log").read_text()


@pytest.mark.django_db(transaction=True)
def test_an_analysis_process_that_leaks_is_replaced_and_loses_no_photo(tmp_path: Path, settings: Settings) -> None:
    media, seen_by = tmp_path / "media", tmp_path / "seen-by"
    settings.STORAGES = settings.STORAGES | {
        "default": settings.STORAGES["default"] | {"OPTIONS": {"location": media, "base_url": None}}
    }
    photos = [post.photos.get().pk for post in (cast.make_post() for _ in range(6))]
    (tmp_path / "redis").mkdir()
    program = Redis().prepare(tmp_path / "redis", durable=False)
    parameters = connection.get_connection_params()
    environment = os.environ | {
        "DATABASE_URL": f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={parameters['host']}",
        "REDIS_URL": program.url,
        "STORAGE_URL": f"file://{media}",
        "MASK_SOCIAL_ANALYZER": "tests.moderation.analyzers.Leaking",
        "MASK_SOCIAL_ANALYSIS_WORKER_MIB": "400",
        "MASK_SOCIAL_WORKER_FILE": str(tmp_path / "life"),
        "TEST_SEEN_BY": str(seen_by),
    }
    broker = subprocess.Popen(program.argv, stdout=subprocess.DEVNULL)
    with (tmp_path / "log").open("wb") as log:
        eventually(lambda: Redis().ready(program.url))
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "--app", "mask_social.celery", "--quiet", "worker"),
                *("--queues", "analysis", "--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO"),
            ],
            cwd=BASE,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            send = (
                "import sys; from moderation.tasks import analyze_photo; list(map(analyze_photo.delay, sys.argv[1:]))"
            )
            command = [
                sys.executable,
                "manage.py",
                "shell",
                "--no-imports",
                "-c",
                send.replace("sys.argv[1:]", repr(photos)),
            ]
            subprocess.run(command, cwd=BASE, env=environment, check=True)
            eventually(lambda: Analysis.objects.filter(status=Analysis.Status.DONE).count() == len(photos), seconds=60)
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(20)
            finally:
                worker.kill()
                broker.kill()
                broker.wait()
    assert set(Analysis.objects.values_list("attempts", flat=True)) == {1}
    by = Counter(seen_by.read_text().split())
    assert sum(by.values()) == len(photos)
    assert 2 <= len(by) <= 5, "each served several"
