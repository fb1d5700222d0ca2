"""The disk of a trial: full to the last byte, and then as before."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mask_social.chaos.disk import Disk, limit_files

WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(line.strip(), "wb") as file:
            file.write(bytes(10_000))
        print("written", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path / "photos") as disk:
        yield disk


def test_a_full_disk_takes_no_byte_and_a_cleared_one_does(disk: Disk) -> None:
    if not disk.is_own:
        pytest.skip("only root may mount a file system")
    (disk.folder / "before").write_bytes(b"kept")

    assert disk.fill() > 0
    with pytest.raises(OSError) as full:
        (disk.folder / "photo").write_bytes(bytes(10_000))
    assert full.value.errno == errno.ENOSPC

    disk.clear()
    (disk.folder / "photo").write_bytes(bytes(10_000))
    assert (disk.folder / "before").read_bytes() == b"kept"


def test_other_processes_find_it_and_nothing_is_left_mounted(disk: Disk, tmp_path: Path) -> None:
    (disk.folder / "photo").write_bytes(b"here")

    seen = subprocess.run(["cat", str(disk.folder / "photo")], capture_output=True, check=True)

    assert seen.stdout == b"here"
    assert not os.path.ismount(tmp_path / "photos")


def test_files_can_be_aged(disk: Disk) -> None:
    (disk.folder / "photo").write_bytes(b"old")

    disk.age(timedelta(days=2))

    assert time.time() - (disk.folder / "photo").stat().st_mtime > 47 * 3600


def test_where_no_disk_can_be_had_a_process_can_be_kept_from_writing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def write() -> str:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{tmp_path / 'photo'}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert write() == "written"
        limit_files(process.pid, 1024)
        assert write() == str(errno.EFBIG)
        limit_files(process.pid, None)
        assert write() == "written"
        process.stdin.close()
