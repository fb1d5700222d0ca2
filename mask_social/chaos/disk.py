"""Where photos are kept during a trial: a small disk of its own, that can be filled to the last byte."""

import errno
import os
import resource
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

MEGABYTES = 256
SMALL = 1024  # bytes that a file may have where a full disk cannot be had


class Disk:
    """A file system in memory where root may mount one, else a plain folder; a context manager.

    It is detached as soon as it is mounted, and reached through our open descriptor: when this process is gone, however
    it went, so is the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._plain = folder
        self._descriptor: int | None = None

    @property
    def is_own(self) -> bool:
        """Say whether it is a file system of its own."""
        return self._descriptor is not None

    @property
    def folder(self) -> Path:
        """Where it is found, by other processes of ours too."""
        return self._plain if self._descriptor is None else Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    def __enter__(self) -> Self:
        self._plain.mkdir(parents=True, exist_ok=True)
        if sys.platform.startswith("linux") and os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700", "chaos", str(self._plain)]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:  # noqa: S603 - our own command
                self._descriptor = os.open(self._plain, os.O_RDONLY | os.O_DIRECTORY)
                subprocess.run(["umount", "--lazy", str(self._plain)], check=True)  # noqa: S603, S607 - as above
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fill(self) -> int:
        """Leave no byte free; return how many were."""
        chunk, taken = bytes(1024**2), 0
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            while chunk:
                try:
                    taken += ballast.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk = chunk[: len(chunk) // 2]
        return taken

    def clear(self) -> None:
        """Give the space back."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def age(self, by: timedelta) -> None:
        """Let every file be older: time enough for the sweep to take what is left over."""
        then = time.time() - by.total_seconds()
        for path in self.folder.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))


def limit_files(process: int, size: int | None) -> None:
    """Let a process and its children write no file longer than `size`; None: as before."""
    for each in [psutil.Process(process), *psutil.Process(process).children(recursive=True)]:
        _, hard = resource.prlimit(each.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(each.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
