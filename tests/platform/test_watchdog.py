"""A worker that no longer takes messages, or too much memory, makes room for another; one that works does not."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from mask_social import watchdog
from mask_social.embedded.base import Program
from mask_social.embedded.redis import Redis
from tests.platform.waiting import eventually

BASE = Path(__file__).resolve().parents[2]
SILENCE = 2.0
PERIOD = 0.3


class Broker:
    """A Redis that can be taken away."""

    def __init__(self, home: Path) -> None:
        self._kind = Redis()
        self._program: Program = self._kind.prepare(home, durable=False)
        self.url = self._program.url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._program.argv, stdout=subprocess.DEVNULL)
        eventually(lambda: self._kind.ready(self.url))

    def stop(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("redis"))
    broker.start()
    yield broker
    broker.stop()


class Worker:
    """A worker in a process of its own."""

    def __init__(self, broker: Broker, folder: Path, pool: str, **settings: str) -> None:
        self.life = folder / "life"
        self.log = folder / "log"
        self.app = Celery(broker=broker.url)
        command = [sys.executable, "-m", "celery", "--app", "tests.platform.slow_worker", "--quiet", "worker"]
        options = ["--queues", "default", "--hostname", f"{folder.name}@here", "--pool", pool, "--concurrency", "1"]
        environment = {
            "REDIS_URL": broker.url,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
            "MASK_SOCIAL_WORKER_FILE": str(self.life),
            "MASK_SOCIAL_CANARY_SECONDS": str(PERIOD),
            "MASK_SOCIAL_SILENCE_SECONDS": str(SILENCE),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options, "--without-gossip", "--without-mingle", "--loglevel", "INFO"],
                cwd=BASE,
                env=os.environ | environment | settings,
                stdout=log,
                stderr=log,
            )
        eventually(self.life.exists, seconds=40)

    def send(self, task: str, *arguments: object) -> None:
        self.app.send_task(f"tests.platform.slow_worker.{task}", arguments, queue="default")

    def shows_life(self) -> bool:
        return time.time() - self.life.stat().st_mtime < SILENCE / 2

    def stop_taking_messages(self) -> None:
        """Have it drop its queues: it lives on, heartbeat and all, as after the reconnects of celery issue 8091."""
        for queue in ("default", f"canary.{self.hostname}"):
            self.app.control.cancel_consumer(queue, destination=[self.hostname])

    @property
    def hostname(self) -> str:
        return f"{self.life.parent.name}@here"


@contextmanager
def working(broker: Broker, folder: Path, pool: str = "threads", **settings: str) -> Iterator[Worker]:
    with redis.Redis.from_url(broker.url) as client:
        client.flushall()  # what another test left
    worker = Worker(broker, folder, pool, **settings)
    try:
        yield worker
    finally:
        for child in psutil.Process(worker.process.pid).children() if worker.process.poll() is None else []:
            child.kill()
        worker.process.kill()
        worker.process.wait()


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_that_takes_no_messages_ends_with_all_its_processes(broker: Broker, tmp_path: Path, pool: str) -> None:
    with working(broker, tmp_path, pool) as worker:
        children = psutil.Process(worker.process.pid).children(recursive=True)
        assert bool(children) == (pool == "prefork")
        eventually(worker.shows_life)

        worker.stop_taking_messages()
        began = time.monotonic()

        assert worker.process.wait(SILENCE + 10) == watchdog.EXIT_STATUS
        assert SILENCE * 0.8 < time.monotonic() - began < SILENCE + 5
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert "CRITICAL" in worker.log.read_text()
        assert "takes no messages: the broker answers" in worker.log.read_text()
        assert not worker.shows_life()


def test_a_worker_behind_a_long_task_goes_on(broker: Broker, tmp_path: Path) -> None:
    with working(broker, tmp_path) as worker:
        worker.send("sleep", SILENCE * 2)
        time.sleep(SILENCE * 1.7)
        assert worker.process.poll() is None
        assert worker.shows_life(), "it has its hands full"
        eventually(worker.shows_life, seconds=SILENCE * 2)


def test_a_task_that_hangs_in_every_place_ends_its_worker_all_the_same(broker: Broker, tmp_path: Path) -> None:
    with working(broker, tmp_path, MASK_SOCIAL_SILENCE_SECONDS="0.5") as worker:
        worker.send("sleep", 600)
        assert worker.process.wait(0.5 * watchdog.BUSY_FACTOR + 10) == watchdog.EXIT_STATUS
        assert "with every place taken; 1 tasks run" in worker.log.read_text()


def test_a_worker_outlives_its_broker_and_takes_messages_again(broker: Broker, tmp_path: Path) -> None:
    with working(broker, tmp_path, MASK_SOCIAL_SILENCE_SECONDS="12") as worker:  # longer than a pause of Celery's
        broker.stop()
        try:
            time.sleep(SILENCE * 1.5)
            assert worker.process.poll() is None
            assert not worker.shows_life(), "it cannot work"
        finally:
            broker.start()
        eventually(worker.shows_life, seconds=20)
        assert worker.process.poll() is None


def test_a_flushed_broker_is_no_silence(broker: Broker, tmp_path: Path) -> None:
    with working(broker, tmp_path) as worker, redis.Redis.from_url(broker.url) as client:
        for _ in range(20):
            client.flushall()
            time.sleep(SILENCE / 10)
        assert worker.process.poll() is None
        eventually(worker.shows_life)


def test_a_worker_of_threads_that_grows_ends_after_its_tasks(broker: Broker, tmp_path: Path) -> None:
    done = tmp_path / "done"
    with working(broker, tmp_path, MASK_SOCIAL_WORKER_MIB="350") as worker, redis.Redis.from_url(broker.url) as client:
        worker.send("keep", 1, str(done))
        eventually(done.exists)
        time.sleep(2 * PERIOD)
        assert worker.process.poll() is None, "the control"

        for mebibytes in (400, 1, 1, 1):
            worker.send("keep", mebibytes, str(done))
        assert worker.process.wait(15) == 0

        assert "MiB, more than 350" in worker.log.read_text()
        finished = done.read_text().count("done")
        assert 2 <= finished < 5
        assert finished + client.llen("default") == 5, "what it had not begun waits for the next worker"


def test_time_that_a_process_did_not_see_is_no_silence() -> None:
    silence = watchdog.Silence(patience=10)
    for _ in range(10):
        silence.note(1, reachable=True, heard=False, busy=False)
    assert not silence.is_too_long
    silence.note(1, reachable=False, heard=False, busy=False)
    silence.note(10, reachable=True, heard=False, busy=False)
    assert not silence.is_too_long
    silence.note(1, reachable=True, heard=False, busy=False)
    assert silence.is_too_long
    silence.note(1, reachable=True, heard=True, busy=False)
    assert not silence.is_too_long
