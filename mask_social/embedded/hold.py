"""Hold a server: connect to its guard, or start one."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import psutil

from mask_social.embedded.base import Program, Service, ServicesError

GUARD = Path(__file__).with_name("guard.py")
PATIENCE_SECONDS = 30.0  # recovery after a crash replays the log
POLL_SECONDS = 0.01
LOG_BYTES = 5_000_000

Action = Callable[[Service, Path], None]


class Spec(TypedDict):
    """What guard.py reads."""

    url: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    control: str
    stop: list[tuple[int, float]]
    uid: int | None
    gid: int | None


@dataclass(frozen=True, slots=True)
class Hold:
    connection: socket.socket
    url: str


_holds: dict[Path, Hold] = {}
_lock = threading.Lock()


def take(service: Service, var: Path, *, durable: bool) -> str:
    """Return the address of a server that answers, held by this process."""
    try:
        _make_var(var)
        home = service.home(var)
        with _one_at_a_time(home):
            try:
                return _take(service, home, durable=durable)
            except ServicesError as error:
                if "in use" not in str(error):
                    raise
                return _take(service, home, durable=durable)  # somebody took the port that was free
    except PermissionError as error:
        raise ServicesError(
            f"{error.filename} belongs to another user: run as that user, or set MASK_SOCIAL_VAR to a folder of yours."
        ) from error
    except OSError as error:
        raise ServicesError(f"The embedded {service.name} cannot work in {var}: {error}.") from error


def _make_var(var: Path) -> None:
    """Make the folder; of root's, one that PostgreSQL's account can enter whatever the umask."""
    if not var.exists():
        var.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            var.chmod(0o755)


def _take(service: Service, home: Path, *, durable: bool) -> str:
    hold = _holds.get(home)
    if hold is None or _hung_up(hold.connection):
        hold = _attach(home) or _start(service, home, durable=durable)
        with _lock:
            _holds[home] = hold
    return _await_ready(service, home, hold)


def look(service: Service, var: Path) -> str | None:
    """Return the address of the live server, if there is one; touch nothing."""
    home = (var / service.name).resolve()
    return _address(home) if _alive(home) else None


def release(service: Service, var: Path) -> None:
    """Let go; where this was the last holder, wait for the end."""
    home = (var / service.name).resolve()
    with _lock:
        hold = _holds.pop(home, None)
    if hold is None:
        return
    with hold.connection as connection, contextlib.suppress(OSError):
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(b"release\n")
        while word := connection.recv(64):
            if word.endswith(b"kept\n"):
                return
    _await_end(home)


def end(service: Service, var: Path) -> None:
    """Stop the server, whoever holds it."""
    home = (var / service.name).resolve()
    with _lock:
        hold = _holds.pop(home, None)
    if hold is not None:
        hold.connection.close()
    if _alive(home):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(_spec(home)["control"])
            connection.sendall(b"stop\n")
        _await_end(home)


def _alive(home: Path) -> bool:
    """Say whether a guard lives: it keeps its lock until it dies, however it dies."""
    try:
        descriptor = os.open(home / "guard.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _attach(home: Path) -> Hold | None:
    """Join the holders of a live server; None where there is none, waiting for one that is being stopped."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _alive(home):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(5)
            spec = _spec(home)
            connection.connect(spec["control"])
            if connection.recv(5) == b"held\n":
                connection.settimeout(None)
                return Hold(connection, spec["url"])
        except (OSError, ValueError):
            pass
        connection.close()
        if time.monotonic() > deadline:
            raise ServicesError(f"The {home.name} of {home.parent} is being stopped by another process; try again.")
        time.sleep(POLL_SECONDS)
    return None


def _start(service: Service, home: Path, *, durable: bool) -> Hold:
    """Start a guard and, through it, the server; the first hold is the guard's standard input."""
    _end_orphan(home)
    program = service.prepare(home, durable=durable)
    log = home / "log"
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(home / "log.1")
    _write_spec(home, program, log)
    ours, theirs = socket.socketpair()
    with theirs, log.open("ab") as output:
        # -I -S: neither the environment nor site-packages; it must start at once and depend on nothing.
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(GUARD), str(home)],
            cwd="/",
            stdin=theirs.fileno(),
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal must not reach the databases before the app has stopped
            check=True,
        )
    ours.settimeout(10)
    if ours.recv(5) != b"held\n":
        raise ServicesError(_failure(service, home))
    ours.settimeout(None)
    return Hold(ours, program.url)


def _await_ready(service: Service, home: Path, hold: Hold) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not service.ready(hold.url):
        if _hung_up(hold.connection) or time.monotonic() > deadline:
            with _lock:
                _holds.pop(home, None)
            hold.connection.close()
            raise ServicesError(_failure(service, home))
        time.sleep(POLL_SECONDS)
    return hold.url


def _hung_up(connection: socket.socket) -> bool:
    """Say whether the guard is gone: it never speaks unasked, so anything readable is the end."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _end_orphan(home: Path) -> None:
    """End the server of a guard that was killed, where the system did not do it, and drop their sockets."""
    try:
        spec = _spec(home)
        server = psutil.Process(json.loads((home / "guard.json").read_text())["server"])
        if server.exe() == os.path.realpath(spec["argv"][0]):
            server.send_signal(spec["stop"][0][0])
            server.wait(PATIENCE_SECONDS)
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    except psutil.TimeoutExpired as error:
        raise ServicesError(f"A {home.name} without a guard does not end: {error}.") from error
    with contextlib.suppress(OSError, ValueError):
        shutil.rmtree(Path(_spec(home)["control"]).parent, ignore_errors=True)


def _await_end(home: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _alive(home):
        if time.monotonic() > deadline:
            raise ServicesError(f"The {home.name} of {home.parent} does not stop; its log is {home / 'log'}.")
        time.sleep(POLL_SECONDS)


def _failure(service: Service, home: Path) -> str:
    log = home / "log"
    tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
    return f"The embedded {service.name} did not start; the end of {log}: " + " / ".join(tail)


def _write_spec(home: Path, program: Program, log: Path) -> None:
    spec: Spec = {
        "url": program.url,
        "argv": list(program.argv),
        "env": dict(program.env),
        "cwd": "/",
        "log": str(log),
        "control": str(program.sockets / "guard.sock"),
        "stop": [(int(number), seconds) for number, seconds in program.stop],
        "uid": program.account.uid if program.account else None,
        "gid": program.account.gid if program.account else None,
    }
    draft = home / "spec.json.new"
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)  # the address has the password in it
    draft.write_text(json.dumps(spec))
    draft.replace(home / "spec.json")


def _spec(home: Path) -> Spec:
    spec: Spec = json.loads((home / "spec.json").read_text())
    return spec


def _address(home: Path) -> str | None:
    try:
        return _spec(home)["url"]
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Let one thread of one process attach or start at a time."""
    descriptor = os.open(home / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _forget_in_child() -> None:
    """Drop what a fork copied: a child must not keep the servers alive after its parent was killed."""
    for hold in _holds.values():
        hold.connection.close()
    _holds.clear()


os.register_at_fork(after_in_child=_forget_in_child)
