"""Typed readers of the environment; a secret may be given in a file (``NAME_FILE``)."""

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.FileAwareEnv()


def var_directory(base: Path) -> Path:
    """Return the folder for everything this checkout writes."""
    return Path(os.environ.get("MASK_SOCIAL_VAR") or base / "var").resolve()


def positive(name: str, default: float) -> float:
    """Read a number above zero."""
    value = float(env.float(name, default=default))
    if not value > 0:
        raise ImproperlyConfigured(f"{name} must be above zero, got {value}.")
    return value


def public_url(name: str) -> str:
    """Read the address this service is known by, such as ``https://masks.example.org``; empty where none is set."""
    url = str(env.str(name, default="")).rstrip("/")
    if url and not re.fullmatch(r"https?://[^/?#\s]+", url):
        raise ImproperlyConfigured(f"{name} must look like https://masks.example.org, got {url!r}.")
    return url


def _new_secret() -> str:
    return secrets.token_urlsafe(50)


def local_secret(path: Path, make: Callable[[], str] = _new_secret) -> str:
    """Return a secret of a local checkout, made once and readable by its owner alone."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_text(make())
    try:
        path.hardlink_to(draft)  # whoever links first wins; the others read the winner's
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
