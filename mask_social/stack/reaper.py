"""End process groups when the supervisor is gone, however it went.

Started by file, with an isolated interpreter and the standard library alone. Standard input is a pipe from the
supervisor: a line ``+GROUP`` puts a process group on the list, ``-GROUP`` takes it off, and the end of the pipe, which
also comes of kill -9, ends all that are left.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 5.0  # less than the patience of PostgreSQL's own stop: workers go first
POLL_SECONDS = 0.05


def main(lock_path: str) -> int:
    """Listen until the supervisor is gone, then clear up; the lock tells others that this is not over yet."""
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        (groups.add if change == "+" else groups.discard)(group)
    end(groups)
    return 0


def end(groups: Iterable[int], grace: float = GRACE_SECONDS) -> None:
    """Ask every group to end, and kill what is left of them after the grace."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signal a group; return whether it still has anyone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses for zombies
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
