"""Run one server for as long as any process holds it.

Started by file, with an isolated interpreter and the standard library alone, so that it costs some 20 ms. It reads
``spec.json`` in the folder it is given and keeps the flock on ``guard.lock`` there while it lives: that lock, which the
kernel drops even on kill -9, is how others know. A holder is an open connection to the control socket; the first one
comes as standard input. When the last is gone (closed, or its process killed) the server is stopped. A server that
dies by itself is started again.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SETTLED_SECONDS = 5.0  # a server that lived this long was well; its death is a new story
QUICK_DEATHS = 5  # a killed PostgreSQL leaves backends that block its successor for a moment
PR_SET_PDEATHSIG = 1


def dies_with_parent() -> Callable[[], None] | None:
    """Return a hook that has Linux end the server should even this guard be killed."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    guard = os.getpid()

    def hook() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != guard:  # it died in between
            os._exit(1)

    return hook


class Guard:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.spec: dict[str, Any] = json.loads((home / "spec.json").read_text())
        self.selector = selectors.DefaultSelector()
        self.holders: set[socket.socket] = set()
        self.server: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.deaths = 0
        self.start_at: float | None = None
        self.leaving = False
        self.hook = dies_with_parent()

    def run(self) -> int:
        """Serve until nobody holds; return 1 where the server would not stay up."""
        lock = os.open(self.home / "guard.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            take_lock(lock)
            waker = self._signals()
            listener = self._listen()
            self._start_server()
            self._hold(self._first_holder())
            while not self.leaving and self.deaths < QUICK_DEATHS:
                for key, _ in self.selector.select(self._patience()):
                    if key.fileobj is listener:
                        self._hold(listener.accept()[0])
                    elif key.fileobj == waker:
                        with contextlib.suppress(BlockingIOError):
                            os.read(waker, 512)
                    elif isinstance(key.fileobj, socket.socket):
                        self._hear(key.fileobj)
                self._mind_server()
            listener.close()  # from here on a newcomer is refused, and starts a server of its own
            control = Path(self.spec["control"])
            control.unlink(missing_ok=True)
            self._stop_server()
            with contextlib.suppress(OSError):
                control.parent.rmdir()
            return 1 if self.deaths >= QUICK_DEATHS else 0
        finally:
            os.close(lock)

    def _signals(self) -> int:
        """Turn signals into readiness of a pipe: SIGTERM stops, SIGCHLD only wakes."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "leaving", True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.selector.register(read_end, selectors.EVENT_READ)
        return read_end

    def _listen(self) -> socket.socket:
        control = Path(self.spec["control"])
        control.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(control))
        listener.listen(16)
        self.selector.register(listener, selectors.EVENT_READ)
        return listener

    def _first_holder(self) -> socket.socket:
        """Take standard input for it, so that closing it closes it."""
        holder = socket.socket(fileno=os.dup(0))
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        return holder

    def _hold(self, holder: socket.socket) -> None:
        self.holders.add(holder)
        self.selector.register(holder, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            holder.sendall(b"held\n")

    def _hear(self, holder: socket.socket) -> None:
        """Take one word from a holder: nothing means that it is gone."""
        try:
            word = holder.recv(64)
        except OSError:
            word = b""
        if word == b"stop\n":
            self.leaving = True
            return
        self.selector.unregister(holder)
        self.holders.discard(holder)
        self.leaving = self.leaving or not self.holders
        if word:  # "release": tell whether to wait for the end
            with contextlib.suppress(OSError):
                holder.sendall(b"last\n" if self.leaving else b"kept\n")
        holder.close()

    def _patience(self) -> float | None:
        return None if self.start_at is None else max(0.0, self.start_at - time.monotonic())

    def _start_server(self) -> None:
        other = self.spec["uid"] is not None
        log = os.open(self.spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.server = subprocess.Popen(  # noqa: S603 - the command is the one our own process wrote
                self.spec["argv"],
                cwd=self.spec["cwd"],
                env=self.spec["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self.hook,  # safe: this process has one thread
                user=self.spec["uid"] if other else None,
                group=self.spec["gid"] if other else None,
                extra_groups=[] if other else None,
            )
        finally:
            os.close(log)
        self.started = time.monotonic()
        self.start_at = None
        draft = self.home / "guard.json.new"
        draft.write_text(json.dumps({"guard": os.getpid(), "server": self.server.pid}))
        draft.replace(self.home / "guard.json")

    def _mind_server(self) -> None:
        """Start the server again when it died, later each time."""
        if self.leaving:
            return
        if self.start_at is not None:
            if time.monotonic() >= self.start_at:
                self._start_server()
        elif self.server is not None and self.server.poll() is not None:
            self.deaths = 1 if time.monotonic() - self.started > SETTLED_SECONDS else self.deaths + 1
            self.start_at = time.monotonic() + 0.05 * 2**self.deaths

    def _stop_server(self) -> None:
        """Ask in ever harsher ways."""
        assert self.server is not None  # noqa: S101 - started before the first holder was heard
        for number, seconds in [*self.spec["stop"], [signal.SIGKILL, 5]]:
            if self.server.poll() is not None:
                return
            self.server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(seconds)


def take_lock(descriptor: int) -> None:
    """Take the lock of the guard; whoever only looks at it holds it for an instant."""
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)
    raise SystemExit("another guard is at work here")


if __name__ == "__main__":
    if os.fork():  # the starter waits for this half; the guard itself is no child of it, so never its zombie
        os._exit(0)
    sys.exit(Guard(Path(sys.argv[1])).run())
