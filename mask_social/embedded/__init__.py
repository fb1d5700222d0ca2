"""PostgreSQL and Redis for a checkout that was given none, under its ``var/``.

    services = ensure(var)      # attach to the ones of this var, or start them; held until this process ends
    running(var)                # the same, but never starts anything
    stop(var)                   # let go, and wait for the end where nobody else holds them

Each server has a guard (see guard.py) that outlives a kill -9 of its holders just long enough to stop it. Where
``DATABASE_URL`` or ``REDIS_URL`` is set, that server is used and none started for it.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mask_social.embedded import hold
from mask_social.embedded.base import Service, Services, ServicesError, given
from mask_social.embedded.postgres import Postgres
from mask_social.embedded.redis import Redis

__all__ = ["Services", "ServicesError", "ensure", "held", "running", "stop", "stop_for_all"]

KINDS: tuple[Service, ...] = (Postgres(), Redis())


def ensure(var: Path, *, durable: bool = True) -> Services:
    """Return servers that answer, started if need be; without ``durable`` a power cut may spoil new data."""
    var = var.resolve()
    with ThreadPoolExecutor(len(KINDS)) as pool:
        urls = pool.map(lambda kind: None if given(kind.variable) else hold.take(kind, var, durable=durable), KINDS)
        return _services(list(urls))


def running(var: Path) -> Services | None:
    """Return the servers where all are to be had; start nothing."""
    var = var.resolve()
    urls = [None if given(kind.variable) else hold.look(kind, var) for kind in KINDS]
    missing = any(url is None and not given(kind.variable) for kind, url in zip(KINDS, urls, strict=True))
    return None if missing else _services(urls)


def stop(var: Path) -> None:
    """Let go of the servers; where nobody else holds them, return when they have ended."""
    _each(hold.release, var)


def stop_for_all(var: Path) -> None:
    """End the servers of this var, whoever holds them."""
    _each(hold.end, var)


@contextmanager
def held(var: Path, *, durable: bool = True) -> Iterator[Services]:
    """Hold the servers for the length of a block."""
    services = ensure(var, durable=durable)
    try:
        yield services
    finally:
        stop(var)


def _each(action: "hold.Action", var: Path) -> None:
    var = var.resolve()
    with ThreadPoolExecutor(len(KINDS)) as pool:
        list(pool.map(lambda kind: action(kind, var), KINDS))


def _services(urls: list[str | None]) -> Services:
    """Fill in the addresses that the environment gives; one given by file stays in its file."""
    database, broker = (url or os.environ.get(kind.variable, "") for kind, url in zip(KINDS, urls, strict=True))
    return Services(database, broker)
