"""The whole service in processes of its own, as `make run` starts it, and what its processes and stores use."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
import urllib3

from mask_social.env import var_directory
from mask_social.stack import BASE, PARTS, Stack

CLIENTS = 4
_LIFTED = str(10**9)
SETTINGS = {
    "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",  # the listener is on this machine
    "MASK_SOCIAL_LOG_LEVEL": "WARNING",
    **dict.fromkeys(("MASK_SOCIAL_RATE_KEY", "MASK_SOCIAL_RATE_AUTHOR", "MASK_SOCIAL_MAX_QUEUED"), _LIFTED),
    "MASK_SOCIAL_MAX_QUEUE_SECONDS": _LIFTED,
}
_BOOT_SECONDS = 120.0
_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upload was answered, and after how many milliseconds."""

    status: int
    milliseconds: float
    retry_after: str | None
    code: str


class Service:
    """A running service without analysis workers, a platform on it, and a listener to its events."""

    def __init__(self, stack: Stack, listener: subprocess.Popen[bytes]) -> None:
        # Only now: the settings are read from the environment that the stack has found.
        from mask_social.bench.furnish import furnish

        self.stack = stack
        self.listener = listener
        assert listener.stdout is not None  # noqa: S101 - asked for by its starter
        self.furniture = furnish(listener.stdout.readline().decode().strip())
        self._pool = urllib3.PoolManager(maxsize=64, retries=False, timeout=120)
        self._number = 0

    def post(self, photo: Path) -> Answer:
        """Send one photo as a post."""
        self._number += 1
        return send(
            self._pool, f"{self.stack.url}/api/v1/posts", photo, f"author-{self._number % 97}", self.furniture.key
        )

    def post_all(self, photos: Sequence[Path], clients: int = CLIENTS) -> list[Answer]:
        """Send photos by so many clients at once."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.post, photos))

    @contextmanager
    def analysts(self, count: int = 1, environment: Mapping[str, str] | None = None) -> Iterator[int]:
        """Run a worker with so many processes for the queue of photos; give the process id of their parent."""
        ready = self.stack.var / "ready" / "analysts"
        ready.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "celery", "--app", "mask_social.celery", "--quiet", "worker"),
            *("--queues", "analysis", "--hostname", "analysis@%h", "--loglevel", "INFO", "--pool", "prefork"),
            *("--concurrency", str(count), "--without-gossip", "--without-mingle"),
        ]
        added = {**self.stack.environment, "MASK_SOCIAL_WORKER_FILE": str(ready), **(environment or {})}
        with (self.stack.var / "log" / "analysts.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command, cwd=BASE, env=added, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until(lambda: ready.exists() or process.poll() is not None, _BOOT_SECONDS)
            yield process.pid
        finally:
            end(process)

    @contextmanager
    def held(self, *names: str) -> Iterator[None]:
        """Keep some parts from running for a while, as though they were on another machine."""
        groups = [self.stack.process(name).pid for name in names]
        try:
            for group in groups:
                os.killpg(group, signal.SIGSTOP)
            yield
        finally:
            for group in groups:
                os.killpg(group, signal.SIGCONT)

    def await_verdicts(self, seconds: float) -> None:
        """Wait until every post has its verdict."""
        from moderation.models import Post

        pending = Post.objects.filter(status=Post.Status.PENDING)
        wait_until(lambda: not pending.exists(), seconds, _POLL_SECONDS)

    def drain(self, seconds: float) -> None:
        """Wait until every post has its verdict, its rewards, and no event is on its way."""
        wait_until(lambda: not _has_work(), seconds, _POLL_SECONDS)

    def processor(self) -> dict[str, float]:
        """Return the seconds of processor that each kind of process has had so far."""
        roots = {name: self.stack.process(name).pid for name in PARTS if name != "analysis"}
        found = {name: tree_seconds(pid) for name, pid in roots.items()}
        found["listener"] = tree_seconds(self.listener.pid)
        with redis.Redis.from_url(self.stack.environment["REDIS_URL"]) as client:
            found["redis"] = tree_seconds(client.info("server")["process_id"])
        found["postgres"] = tree_seconds(_postmaster())
        return found

    def stores(self) -> dict[str, float]:
        """Return how much was written and asked so far: log bytes, commits, commands."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_current_wal_lsn() - '0/0', xact_commit, pg_database_size(datname) FROM pg_stat_database "
                "WHERE datname = current_database()"
            )
            log, commits, size = cursor.fetchone()
        with redis.Redis.from_url(self.stack.environment["REDIS_URL"]) as client:
            commands = client.info("stats")["total_commands_processed"]
        media = sum(path.stat().st_size for path in (self.stack.var / "media").rglob("*") if path.is_file())
        return {
            "WAL bytes": float(log),
            "commits": commits,
            "Redis commands": commands,
            "database bytes": size,
            "photo bytes": media,
        }


@contextmanager
def serving(
    settings: Mapping[str, str] | None = None, *, parts: Collection[str] = tuple(set(PARTS) - {"analysis"})
) -> Iterator[Service]:
    """Start a service in a folder of its own and take it away again; once in a process."""
    folder = var_directory(BASE) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    listener = subprocess.Popen(
        [sys.executable, "-m", "mask_social.bench.listener"], cwd=BASE, stdout=subprocess.PIPE, start_new_session=True
    )
    stack = Stack(scratch, env={**SETTINGS, **(settings or {})}, parts=parts)
    try:
        with stack:
            os.environ.update(stack.environment)
            import django

            django.setup()
            try:
                yield Service(stack, listener)
            finally:
                from django.db import connections

                connections.close_all()
    finally:
        end(listener)
        shutil.rmtree(scratch, ignore_errors=True)


def send(pool: urllib3.PoolManager, url: str, photo: Path, author: str, key: str = "") -> Answer:
    """Send a photo as a form."""
    fields: dict[str, str | tuple[str, bytes, str]] = {
        "author_id": author,
        "photos": (photo.name, photo.read_bytes(), "image/jpeg"),
    }
    began = time.perf_counter()
    # A connection each: one that waits for longer than the server keeps it is closed as the next photo is sent on it.
    headers = {"Authorization": f"Bearer {key}", "Connection": "close"}
    answer = pool.request("POST", url, fields=fields, headers=headers)
    took = (time.perf_counter() - began) * 1e3
    code = answer.json().get("code", "") if answer.status >= 400 else ""
    return Answer(answer.status, took, answer.headers.get("Retry-After"), code)


def statuses(answers: Sequence[Answer]) -> dict[int, int]:
    """Count answers by status."""
    return dict(Counter(answer.status for answer in answers))


def refuse_failures(answers: Sequence[Answer]) -> None:
    """Stop where an upload was not accepted. Raises RuntimeError."""
    if bad := [answer for answer in answers if answer.status != 202]:
        raise RuntimeError(f"{len(bad)} uploads were refused, the first with {bad[0].status} {bad[0].code}")


def tree_seconds(pid: int) -> float:
    """Return what a process, its children and those that ended have had of the processor."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total


def wait_until(check: Callable[[], bool], seconds: float, pause: float = 0.05) -> None:
    """Look until it is so. Raises TimeoutError."""
    ends = time.monotonic() + seconds
    while not check():
        if time.monotonic() > ends:
            raise TimeoutError(f"It did not come about in {seconds:.0f} s.")
        time.sleep(pause)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process we started: a word, then force."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _postmaster() -> int:
    from django.db import connection

    connection.ensure_connection()
    return int(psutil.Process(connection.connection.info.backend_pid).ppid())


def _has_work() -> bool:
    from incentives.models import Delivery, PendingChange
    from moderation.models import Post

    on_its_way = (Delivery.Status.PENDING, Delivery.Status.SENDING)
    return (
        Post.objects.filter(status=Post.Status.PENDING).exists()
        or PendingChange.objects.exists()
        or Delivery.objects.filter(status__in=on_its_way).exists()
    )
