"""A PostgreSQL and a Redis of the test run's own, up before Django reads its settings.

pytest-django would load the settings before this file if they were named in pyproject.toml; so they are named here.
"""

import fcntl
import itertools
import os
from collections.abc import Generator
from pathlib import Path
from typing import IO, TypeVar

import pytest
from django.conf import settings

from mask_social import broker, clock, embedded
from tests.hands import Hands

ROOT = Path(__file__).resolve().parent.parent
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
NO_SKIP = os.environ.get("MASK_SOCIAL_NO_SKIP") == "1"


def free_var() -> tuple[Path, IO[str]]:
    """Take var/test, or the next one where another run has it, and keep it for as long as the file is open."""
    (ROOT / "var").mkdir(exist_ok=True)
    for number in itertools.count(1):
        var = ROOT / "var" / ("test" if number == 1 else f"test-{number}")
        lock = var.with_suffix(".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return var, lock
    raise AssertionError("unreachable")


VAR, _lock = free_var()
os.environ["MASK_SOCIAL_VAR"] = str(VAR)
os.environ["DJANGO_SETTINGS_MODULE"] = "mask_social.settings"
os.environ["MASK_SOCIAL_RATE_ADDRESS"] = "1000000"  # every test calls from one address


def pytest_configure() -> None:
    """Start the services: ``pytest --help`` does not come here."""
    try:
        embedded.ensure(VAR, durable=False)
    except embedded.ServicesError as error:
        pytest.exit(f"error: {error}", returncode=2)
    assert settings.DATABASES, "reading one has them loaded, which pytest-django's own hook then waits for"


def pytest_unconfigure() -> None:
    """Stop them and wait, so that the folder can be deleted at once."""
    embedded.stop(VAR)


def forbid_skip(report: Report) -> Report:
    """Turn a skip into a failure: where MASK_SOCIAL_NO_SKIP is set, nothing that a test needs may be missing."""
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped although MASK_SOCIAL_NO_SKIP is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    return forbid_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module, as pytest.importorskip does it."""
    return forbid_skip((yield))


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """Hold the clock: the time is what the test makes it."""
    held = Hands()
    monkeypatch.setattr(clock, "_clock", held)
    return held


@pytest.fixture(autouse=True)
def broker_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that another test's broker was away: for some seconds nothing would be sent."""
    monkeypatch.setattr(broker, "_away_until", float("-inf"))
