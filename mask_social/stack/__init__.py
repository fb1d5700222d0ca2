"""The whole service on one machine: databases, web, workers and beat, each a process of its own.

    with Stack(var) as stack:
        requests.get(stack.url + "/readyz")

What ``make run``, ``make demo`` and the flow tests stand on. Nothing of it outlives its supervisor.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import environ
import psycopg
import redis

from mask_social import embedded
from mask_social.stack import reaper

__all__ = ["Stack", "StackError"]

BASE = Path(__file__).resolve().parents[2]
BOOT_SECONDS = 120.0  # a cold disk and one busy core included
END_SECONDS = 10.0
POLL_SECONDS = 0.05
SERVER_SECONDS = 5  # for a server that was given to answer
LOG_BYTES = 5_000_000
PARTS = ("web", "analysis", "default", "webhooks", "beat")
STOP_ORDER = (("beat", "web"), ("analysis", "default", "webhooks"))  # nothing new comes in while what is there ends


class StackError(RuntimeError):
    """The service could not be brought up; the message says which part and ends with its log."""


@dataclass(slots=True)
class Part:
    """One kind of process and how to tell that it works."""

    command: Sequence[str]
    ready_file: Path | None = None  # it is there once it took a canary
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0


class Stack:
    """Start everything on entry, stop everything on exit.

    With some of the `parts` alone it is one host of several, which meet at the addresses that the environment names.
    """

    def __init__(
        self,
        var: Path,
        *,
        env: Mapping[str, str] | None = None,
        analysis_workers: int = 1,
        port: int = 0,
        parts: Collection[str] = PARTS,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.var = var.resolve()
        self.environment: dict[str, str] = {}
        self._extra = dict(env or {})
        self._analysis_workers = analysis_workers
        self._port = port
        self._wanted = frozenset(parts)
        self._progress = progress
        self._listener: socket.socket | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._parts: dict[str, Part] = {}
        self._holds_services = False

    @property
    def url(self) -> str:
        """Return the address of the web server, without a slash at its end."""
        if self._listener is None:
            raise StackError("The stack has not been started.")
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up; return when a post would be answered and analysed."""
        shutil.rmtree(self.var / "metrics", ignore_errors=True)  # those of an earlier run
        for folder in ("log", "ready"):
            (self.var / folder).mkdir(parents=True, exist_ok=True)
        self._listener = socket.create_server(("127.0.0.1", self._port))
        try:
            self._start_reaper()
            self._progress("PostgreSQL and Redis")
            self._find_services()
            self._parts = self._plan()
            if "web" in self._parts:
                self._launch("web")  # it boots while the tables are made, and is not ready before they are
            self._progress("tables")
            self._migrate()
            self._progress("web server and workers")
            for name in self._parts:
                if name != "web":
                    self._launch(name)
            for name in self._parts:
                self._await_ready(name)
            if self._wanted == set(PARTS):
                self._await_whole()
        except BaseException as error:
            self._shut_down()
            if isinstance(error, embedded.ServicesError):
                raise StackError(str(error)) from error
            raise

    def stop(self) -> None:
        """End everything in order; on a stack that was never started, clear up after one that was killed."""
        if self._listener is None:
            self._await_reaper_of_another()
            embedded.stop_for_all(self.var)
        else:
            self._shut_down()

    def _shut_down(self) -> None:
        for names in STOP_ORDER:
            self._end(names)
        if self._reaper is not None:
            self._pipe_to_reaper().close()
            self._reaper.wait()
            self._reaper = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._holds_services:
            self._holds_services = False
            embedded.stop(self.var)

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """Return the running process of a part: web, analysis, default, webhooks or beat."""
        process = self._parts[name].process
        if process is None:
            raise StackError(f"{name} has not been started.")
        return process

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a part and all its children, and wait for its end."""
        process = self.process(name)
        reaper.send(process.pid, number)
        process.wait(END_SECONDS)

    def restart(self, name: str) -> None:
        """Start a part again, ending it first if it lives."""
        self._end([name])
        self._launch(name)
        self._await_ready(name)

    def dead(self) -> list[str]:
        """Return the parts that ended without being asked."""
        return [name for name, part in self._parts.items() if part.process and part.process.poll() is not None]

    def revive(self, name: str) -> None:
        """Start a dead part again without waiting for it, and clear away what is left of its children."""
        reaper.send(self.process(name).pid, signal.SIGKILL)
        self._forget(name)
        self._launch(name)

    def uptime(self, name: str) -> float:
        """Return for how many seconds a part has run, or had when it was last started."""
        return time.monotonic() - self._parts[name].started

    def _find_services(self) -> None:
        self._holds_services = True
        services = embedded.ensure(self.var)
        _refuse_unreachable()
        found = {"DATABASE_URL": services.database_url, "REDIS_URL": services.redis_url}
        self.environment = {
            **os.environ,
            **{name: url for name, url in found.items() if url},  # one given by file stays so
            "DJANGO_SETTINGS_MODULE": "mask_social.settings",
            "MASK_SOCIAL_VAR": str(self.var),
            "PYTHONUNBUFFERED": "1",
            "PROMETHEUS_MULTIPROC_DIR": str(self.var / "metrics"),  # so that the web tells of all
            **self._extra,
        }

    def _plan(self) -> dict[str, Part]:
        assert self._listener is not None  # noqa: S101 - start() has made it
        threads = ("--pool", "threads", "--concurrency")
        beat = ("beat", "--schedule", str(self.var / "beat-schedule"), "--loglevel", "INFO")
        parts = {
            "web": Part(
                [
                    *(sys.executable, "-m", "gunicorn", "mask_social.wsgi:application"),
                    *("--bind", f"fd://{self._listener.fileno()}"),
                    *("--worker-class", "mask_social.web_worker.PatientWorker", "--workers", "1", "--threads", "16"),
                    *("--graceful-timeout", "5", "--no-control-socket"),
                    *("--config", "python:mask_social.observability.gunicorn"),
                ]
            ),
            "analysis": self._worker("analysis", "--pool", "prefork", "--concurrency", str(self._analysis_workers)),
            "default": self._worker("default", *threads, "2"),
            "webhooks": self._worker("webhooks", *threads, "16"),
            "beat": Part(self._celery(*beat)),
        }
        return {name: part for name, part in parts.items() if name in self._wanted}

    def _worker(self, queue: str, *pool: str) -> Part:
        ready = self.var / "ready" / queue
        alone = ("--without-gossip", "--without-mingle")
        command = self._celery("worker", "--queues", queue, "--hostname", f"{queue}@%h", "--loglevel", "INFO", *pool)
        return Part([*command, *alone], ready)

    def _celery(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "celery", "--app", "mask_social.celery", "--quiet", *arguments]

    def _migrate(self) -> None:
        command = [sys.executable, str(BASE / "manage.py"), "migrate", "--no-input"]
        with self._log("migrate") as log:
            done = subprocess.run(  # noqa: S603 - our own command
                command, cwd=BASE, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise self._failure("migrate")

    def _launch(self, name: str) -> None:
        assert self._listener is not None  # noqa: S101 - start() has made it
        part = self._parts[name]
        environment = self.environment
        if part.ready_file is not None:
            part.ready_file.unlink(missing_ok=True)
            environment = environment | {"MASK_SOCIAL_WORKER_FILE": str(part.ready_file)}
        with self._log(name) as log:
            part.process = subprocess.Popen(  # noqa: S603 - our own command
                part.command,
                cwd=BASE,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._listener.fileno()] if name == "web" else [],
                # A group of its own: signals reach all its children, and Ctrl-C only the supervisor.
                start_new_session=True,
            )
        part.started = time.monotonic()
        self._tell_reaper("+", part.process.pid)

    def _await_ready(self, name: str) -> None:
        part = self._parts[name]
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._is_ready(name, part):
            if self.process(name).poll() is not None or time.monotonic() > deadline:
                raise self._failure(name)
            time.sleep(POLL_SECONDS)

    def _is_ready(self, name: str, part: Part) -> bool:
        if name == "web":
            return self._ask("/readyz?only=web")[0]
        return part.ready_file is None or part.ready_file.exists()

    def _await_whole(self) -> None:
        """Wait for a canary of each worker, and for beat."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            ready, said = self._ask("/readyz")
            if ready:
                return
            if time.monotonic() > deadline:
                raise StackError(f"The service did not get ready: {said}")
            time.sleep(POLL_SECONDS)

    def _ask(self, path: str) -> tuple[bool, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - http, ours
                return answer.status == 200, ""
        except urllib.error.HTTPError as error:
            return False, error.read().decode(errors="replace")
        except OSError as error:
            return False, str(error)

    def _end(self, names: Sequence[str]) -> None:
        """End some parts together: a word, then force."""
        living = {name: part.process for name in names if (part := self._parts.get(name)) and part.process}
        for process in living.values():
            if process.poll() is None:
                process.terminate()  # the parent alone: it tells its children
        deadline = time.monotonic() + END_SECONDS
        for name, process in living.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            reaper.send(process.pid, signal.SIGKILL)
            process.wait()
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._tell_reaper("-", self.process(name).pid)
        self._parts[name].process = None

    def _start_reaper(self) -> None:
        self._reaper = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", reaper.__file__, str(self.var / "stack.lock")],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._reaper.stdout is not None  # noqa: S101 - asked for above
        with self._reaper.stdout as stdout:
            ready = stdout.readline()
        if not ready:
            self._reaper.wait()
            self._reaper = None
            raise StackError(f"Another process runs the service in {self.var}.")

    def _tell_reaper(self, change: str, group: int) -> None:
        pipe = self._pipe_to_reaper()
        pipe.write(f"{change}{group}\n".encode())
        pipe.flush()

    def _pipe_to_reaper(self) -> IO[bytes]:
        assert self._reaper is not None and self._reaper.stdin is not None  # noqa: S101 - start() has made it
        return self._reaper.stdin

    @contextlib.contextmanager
    def _log(self, name: str) -> Iterator[IO[bytes]]:
        path = self.var / "log" / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            yield log

    def lost_services(self) -> bool:
        """Say whether the embedded servers were ended by somebody else; those of a deployment are not ours to watch."""
        return embedded.running(self.var) is None

    def _failure(self, name: str) -> StackError:
        path = self.var / "log" / f"{name}.log"
        tail = path.read_text(errors="replace").strip().splitlines()[-12:]
        return StackError("\n".join([f"{name} did not come up; the end of {path}:", *tail]))

    def _await_reaper_of_another(self) -> None:
        lock = self.var / "stack.lock"
        if not lock.exists():
            return
        deadline = time.monotonic() + 2 * END_SECONDS
        with lock.open() as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StackError(f"Another process runs the service in {self.var}.") from None
                    time.sleep(POLL_SECONDS)


def _refuse_unreachable() -> None:
    """Name a given server that does not answer, before anything waits for it."""
    env = environ.FileAwareEnv()
    if url := env.str("DATABASE_URL", default=""):
        try:
            psycopg.connect(url, connect_timeout=SERVER_SECONDS).close()
        except psycopg.Error as error:
            raise StackError(f"DATABASE_URL: PostgreSQL cannot be reached: {str(error).strip()}") from error
    if url := env.str("REDIS_URL", default=""):
        try:
            with redis.Redis.from_url(
                url, socket_timeout=SERVER_SECONDS, socket_connect_timeout=SERVER_SECONDS
            ) as client:
                client.ping()
        except (redis.RedisError, ValueError) as error:
            raise StackError(f"REDIS_URL: Redis cannot be reached: {error}") from error
