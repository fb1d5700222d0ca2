"""A service that runs loses its database for a while, and a worker its hearing: it says so and goes on."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from mask_social import canary
from mask_social.demo.client import Client
from mask_social.demo.pictures import PHOTOS
from mask_social.embedded.postgres import Postgres
from mask_social.stack import Stack
from mask_social.stack.__main__ import watch
from mask_social.watchdog import EXIT_STATUS
from tests.platform.waiting import eventually

pytestmark = pytest.mark.flow
BASE = Path(__file__).resolve().parents[2]
PARTS = ("web", "analysis", "default", "webhooks", "beat")


class Database:
    """A PostgreSQL that is ours to stop."""

    def __init__(self, var: Path) -> None:
        self._kind = Postgres()
        self._program = self._kind.prepare(self._kind.home(var), durable=False)
        self.url = self._program.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        account = self._program.account
        self._process = subprocess.Popen(
            self._program.argv,
            env=dict(self._program.env),
            cwd="/",
            stderr=subprocess.DEVNULL,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        eventually(lambda: self._kind.ready(self.url), seconds=30)

    def stop(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


@dataclass(frozen=True, slots=True)
class Service:
    """A whole service on a database of the test's own."""

    database: Database
    stack: Stack
    client: Client
    key: str

    def processes(self) -> dict[str, int]:
        return {name: self.stack.process(name).pid for name in PARTS}

    def is_ready(self) -> bool:
        return ask(f"{self.stack.url}/readyz")[0] == 200

    def analyses(self, author: str) -> str:
        """Post a photo and return its post once it is analyzed."""
        post = self.client.create_post(PHOTOS / "surgical.jpg", author_id=author, caption="")["id"]
        eventually(lambda: self.client.wait_for_post(post)["status"] == "analyzed", seconds=60)
        return str(post)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    var = tmp_path_factory.mktemp("going-on")
    database = Database(var)
    database.start()
    settings = {
        "MASK_SOCIAL_SWEEP_SECONDS": "1",
        "MASK_SOCIAL_CANARY_SECONDS": "1",
        "MASK_SOCIAL_SILENCE_SECONDS": "8",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", database.url)
            with Stack(var, env=settings) as stack:
                bootstrap = [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json"]
                made = subprocess.run(bootstrap, env=stack.environment, check=True, capture_output=True)
                key = json.loads(made.stdout)["api_key"]
                yield Service(database, stack, Client(stack.url, key), key)
    finally:
        database.stop()


def ask(url: str, key: str = "") -> tuple[int, Any, str | None]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
            return answer.status, json.load(answer), None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers["Retry-After"]


def test_a_database_that_restarts_is_missed_and_found_again(service: Service) -> None:
    url, before, processes = service.stack.url, service.analyses("ann"), service.processes()

    service.database.stop()
    try:
        for _ in range(3):  # also where a connection was open
            status, problem, retry_after = ask(f"{url}/api/v1/posts", service.key)
            assert (status, problem["code"], retry_after) == (503, "database_unavailable", "5")
        status, said, _ = ask(f"{url}/readyz")
        assert status == 503
        assert said["checks"]["database"] != "ok"
        assert ask(f"{url}/readyz?only=web")[0] == 503
        assert ask(f"{url}/healthz")[0] == 200
    finally:
        service.database.start()

    eventually(service.is_ready, seconds=30)
    service.analyses("bob")
    assert service.client.wait_for_post(before)["status"] == "analyzed"
    assert service.stack.dead() == []
    assert service.processes() == processes, "none was started again"


def test_a_worker_that_takes_no_messages_is_started_again_and_takes_them(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("mask_social.stack.__main__.say", said.append)
    eventually(service.is_ready, seconds=30)
    old, over = service.processes(), threading.Event()
    supervisor = threading.Thread(target=watch, args=(service.stack, over))
    supervisor.start()
    try:
        worker = f"default@{socket.gethostname()}"
        control = Celery(broker=service.stack.environment["REDIS_URL"]).control
        for queue in ("default", canary.queue_of(worker)):
            control.cancel_consumer(queue, destination=[worker])

        ended = f"default ended unexpectedly ({EXIT_STATUS})"
        eventually(lambda: any(ended in line for line in said), seconds=60)
        eventually(lambda: service.stack.dead() == [] and service.is_ready(), seconds=60)
    finally:
        over.set()
        supervisor.join()

    assert service.processes() | {"default": 0} == old | {"default": 0}, "the others were left alone"
    assert service.processes()["default"] != old["default"]
    post = service.analyses("eve")
    eventually(lambda: service.client.wait_for_post(post)["rewards"] is not None, seconds=30)
