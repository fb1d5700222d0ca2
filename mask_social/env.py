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


def whole(name: str, default: int) -> int:
    """Read a whole number above zero."""
    value = int(env.int(name, default=default))
    if value < 1:
        raise ImproperlyConfigured(f"{name} must be above zero, got {value}.")
    return value


def log_format() -> str:
    """Read how log lines look: JSON in a deployment, text in a checkout."""
    given = str(env.str("MASK_SOCIAL_LOG_FORMAT", default="")) or (
        "json" if env.str("MASK_SOCIAL_SECRET_KEY", default="") else "text"
    )
    if given not in ("json", "text"):
        raise ImproperlyConfigured(f"MASK_SOCIAL_LOG_FORMAT must be json or text, got {given!r}.")
    return given


def log_level() -> str:
    """Read from which level on lines are logged."""
    return str(env.str("MASK_SOCIAL_LOG_LEVEL", default="INFO"))


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
