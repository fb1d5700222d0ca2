"""The supervisor: everything comes up, and nothing outlives it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from mask_social import embedded
from mask_social.stack import Stack, StackError
from tests.platform.waiting import eventually

BASE = Path(__file__).resolve().parents[2]
PARTS = ("web", "analysis", "default", "webhooks", "beat")
SUPERVISOR = """
import sys, time
from pathlib import Path
from mask_social.stack import Stack
with Stack(Path(sys.argv[1])) as stack:
    print(stack.url, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack") / "var") as stack:
        yield stack


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leave nothing to wait for where a test fails."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def members(var: Path) -> list[psutil.Process]:
    """Find what belongs to a stack: by its folder, in the environment or on the command line."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("MASK_SOCIAL_VAR") == str(var) or any(
                str(var) in word or str((var / "postgres").resolve()) in word for word in process.cmdline()
            )
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - http, ours
        return bool(answer.status == 200)


def test_everything_is_up_when_it_has_started(stack: Stack) -> None:
    assert ready(stack.url)
    assert [name for name in PARTS if stack.process(name).poll() is None] == list(PARTS)
    assert stack.dead() == []
    assert {name: os.getpgid(stack.process(name).pid) for name in PARTS} == {
        name: stack.process(name).pid for name in PARTS
    }, "each part leads a group of its own"


@pytest.mark.parametrize("name", ["analysis", "web"])
def test_a_killed_part_takes_its_children_along_and_can_be_started_again(stack: Stack, name: str) -> None:
    old = stack.process(name)
    children = psutil.Process(old.pid).children(recursive=True)
    assert children

    stack.kill(name, signal.SIGKILL)
    assert stack.dead() == [name]
    eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    stack.restart(name)

    assert stack.process(name).pid != old.pid
    assert stack.dead() == []
    assert ready(stack.url)


def test_a_second_one_in_the_same_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(StackError, match="Another process runs the service"), Stack(stack.var):
        pass
    assert ready(stack.url)


def test_what_cannot_come_up_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    broken = Stack(tmp_path / "var", env={"MASK_SOCIAL_SWEEP_SECONDS": "-1"})
    with pytest.raises(StackError, match="MASK_SOCIAL_SWEEP_SECONDS must be above zero"), broken:
        pass
    eventually(lambda: members(tmp_path / "var") == [])  # the last of them may be on its way out


def test_nothing_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    var = tmp_path / "var"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(var)], cwd=BASE, stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout
    with killed_at_the_end(supervisor), supervisor.stdout:
        url = supervisor.stdout.readline().strip()
        assert ready(url)
        assert len(members(var)) > len(PARTS), "the control: they are found"
        supervisor.kill()
    Stack(var).stop()  # waits for it
    eventually(lambda: members(var) == [])


@contextmanager
def make_run(var: Path) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Start what ``make run`` starts, with its errors among what it prints."""
    run = subprocess.Popen(
        [sys.executable, "-m", "mask_social.stack", "--port", "0"],
        cwd=BASE,
        env=os.environ | {"MASK_SOCIAL_VAR": str(var)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout
    with killed_at_the_end(run), run.stdout:
        yield run, run.stdout


def read_until(printed: IO[str], words: str) -> str:
    text = ""
    while words not in text:
        line = printed.readline()
        assert line, text
        text += line
    return text


def test_make_run_says_where_it_serves_revives_what_dies_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    var = tmp_path / "var"
    with make_run(var) as (run, output):
        printed = read_until(output, "Ctrl-C ends it.")
        url = re.search(r"serves at (http://127\.0\.0\.1:\d+)", printed)
        assert url and ready(url[1])
        assert re.search(r"one-time password \S{12,}", printed)
        assert re.search(r"API key +\S{20,}", printed)

        beat = next(process for process in members(var) if "beat" in process.cmdline())
        beat.kill()
        assert "beat ended unexpectedly (-9)" in output.readline()
        eventually(lambda: any("beat" in process.cmdline() for process in members(var)), seconds=20)

        began = time.monotonic()
        os.killpg(run.pid, signal.SIGINT)
        assert output.read() == "Stopping ...\n"
        assert run.wait(20) == 0
    assert time.monotonic() - began < 20
    assert members(var) == []


def test_a_worker_goes_on_showing_life(stack: Stack) -> None:
    """What its container's probe looks at."""
    files = [stack.var / "ready" / name for name in ("analysis", "default", "webhooks")]
    seen = {file: file.stat().st_mtime_ns for file in files}
    eventually(lambda: all(file.stat().st_mtime_ns > seen[file] for file in files))


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_given_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    address = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "REDIS_URL": "redis://127.0.0.1:1/0"}[name]
    monkeypatch.setenv(name, address)
    with pytest.raises(StackError, match=f"^{name}: .* cannot be reached"):
        Stack(tmp_path).start()


def test_ctrl_c_ends_make_run_while_it_is_still_starting(tmp_path: Path) -> None:
    with make_run(tmp_path) as (run, output):
        read_until(output, "Bringing up tables")
        os.killpg(run.pid, signal.SIGINT)
        assert "Ctrl-C ends it." not in output.read()
        assert run.wait(20) == 130
    eventually(lambda: members(tmp_path) == [], seconds=20)


def test_make_run_ends_when_somebody_else_ended_its_databases(tmp_path: Path) -> None:
    with make_run(tmp_path) as (run, output):
        read_until(output, "Ctrl-C ends it.")
        embedded.stop_for_all(tmp_path)
        assert "PostgreSQL or Redis was ended by somebody else" in output.read()
        assert run.wait(30) == 1
    eventually(lambda: members(tmp_path) == [], seconds=20)
