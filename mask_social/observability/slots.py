"""Which files of numbers are this process's own, where several on a machine share a folder for them.

prometheus_client names its files by process id. Workers come and go for weeks, so the files, each of which every scrape
reads, would become ever more. Here a process takes the first free number instead, and keeps it by a lock that the
kernel drops with it, also after kill -9. The next process to take the number goes on counting where that one ended.
"""

import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

#: prometheus_client knows the folder by this name; without it each process tells of itself alone.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Reserved at once: a file that grew by need could meet a full disk, which kills a process that writes to mapped memory.
_FILE_BYTES = 256 * 1024
_KINDS = ("counter", "histogram", "gauge_max", "gauge_liveall")

_held: tuple[int, int, IO[bytes]] | None = None  # process id, number, lock


def folder() -> Path | None:
    """Return the folder that the processes of this machine share; None: each is on its own."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def number() -> int:
    """Return the number of this process; one that was forked takes another than its parent."""
    global _held
    if _held is None or _held[0] != os.getpid():
        _held = (os.getpid(), *_take())
    return _held[1]


def forget_the_dead(shared: Path) -> None:
    """Take away what only the living say of themselves, such as the memory they use."""
    for lock in shared.glob("slot-*.lock"):
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            (shared / f"gauge_liveall_{lock.stem.removeprefix('slot-')}.db").unlink(missing_ok=True)


def _take() -> tuple[int, IO[bytes]]:
    shared = folder()
    if shared is None:
        raise RuntimeError(f"{VARIABLE} is not set.")
    shared.mkdir(parents=True, exist_ok=True)
    for free, file in _locks(shared):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        (shared / f"gauge_liveall_{free}.db").unlink(missing_ok=True)  # what the last one said of itself
        for kind in _KINDS:
            _reserve(shared / f"{kind}_{free}.db")
        return free, file
    raise AssertionError("unreachable")


def _locks(shared: Path) -> Iterator[tuple[int, IO[bytes]]]:
    for candidate in itertools.count():
        yield candidate, (shared / f"slot-{candidate}.lock").open("ab")


def _reserve(path: Path) -> None:
    with path.open("ab") as file:
        if file.tell() == 0 and hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
