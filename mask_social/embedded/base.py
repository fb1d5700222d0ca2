"""What a PostgreSQL and a Redis have in common here."""

import os
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Unix sockets have room for 104 bytes of path on macOS and the BSDs, 108 on Linux, and PostgreSQL appends its own name.
SOCKET_DIRECTORY_BYTES = 80


class ServicesError(RuntimeError):
    """The databases cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Services:
    database_url: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as, where that is not ourselves."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """A server, ready to be started."""

    url: str
    argv: Sequence[str]
    env: Mapping[str, str]
    sockets: Path
    stop: Sequence[tuple[int, float]]  # signals and the seconds given to each
    account: Account | None = None


class Service(Protocol):
    """A kind of server; ``home`` is its folder under ``var/``."""

    name: str
    variable: str

    def home(self, var: Path) -> Path: ...

    def prepare(self, home: Path, *, durable: bool) -> Program: ...

    def ready(self, url: str) -> bool: ...


def given(variable: str) -> bool:
    """Say whether the environment names a real server, itself or by file."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def socket_directory(home: Path, account: Account | None) -> Path:
    """Return a private folder with a path short enough for a Unix socket."""
    near = home / "run"
    if _plain_and_short(near):
        near.mkdir(mode=0o700, exist_ok=True)
        _hand_over(near, account)
        if _takes_sockets(near):
            return near
    far = Path(tempfile.mkdtemp(prefix="mask_social-", dir=_short_temporary()))
    _hand_over(far, account)
    return far


def _plain_and_short(path: Path) -> bool:
    """Refuse what would need quoting in PostgreSQL's list of socket folders."""
    text = str(path)
    plain = all(character.isalnum() or character in "/._-" for character in text)
    return text.isascii() and plain and len(text) <= SOCKET_DIRECTORY_BYTES


def _takes_sockets(directory: Path) -> bool:
    """Try: some shared and network folders refuse sockets."""
    probe = directory / f"probe.{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.bind(str(probe))
        except OSError:
            return False
        finally:
            probe.unlink(missing_ok=True)
    return True


def _short_temporary() -> str:
    """Return the temporary folder, or /tmp where that is too long as well (macOS, CI)."""
    here = Path(tempfile.gettempdir())
    return str(here) if _plain_and_short(here / "mask_social-12345678") else "/tmp"  # noqa: S108 - mkdtemp makes it private


def _hand_over(directory: Path, account: Account | None) -> None:
    if account is not None and directory.stat().st_uid != account.uid:
        os.chown(directory, account.uid, account.gid)
    directory.chmod(stat.S_IRWXU)
