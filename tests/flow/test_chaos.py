"""`make chaos` in short: a worker, the web server and the broker's memory gone at once, a liar, and three days."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mask_social.chaos.oracle import CHECKS
from tests.flow.conftest import BASE

pytestmark = pytest.mark.flow
FAULTS = ("analysis+web+redis-flush", "receiver-500", "clock")


@pytest.fixture(autouse=True)
def open_gate() -> None:
    """Start no stack for the folder: the trial brings its own."""


@pytest.mark.timeout(600)  # a minute where nobody else is at work
def test_nothing_is_lost_and_nothing_doubled_whatever_is_pulled(tmp_path: Path) -> None:
    only = [word for fault in FAULTS for word in ("--only", fault)]
    done = subprocess.run(
        [sys.executable, "-m", "mask_social.chaos", "--seed", "1", "--rounds", str(len(FAULTS)), *only],
        cwd=BASE,
        env=os.environ | {"MASK_SOCIAL_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "chaos" / "report.json").read_text())
    assert (report["problems"], report["broken"]) == (0, {})
    assert ["+".join(round_["faults"]) for round_ in report["rounds"]] == [*FAULTS]
    assert all(round_["recovery_seconds"] for round_ in report["rounds"])
    assert all(round_["posts"] for round_ in report["rounds"])
    assert report["hours_ahead"] == 70
    assert {"analysis", "web", "keys of Redis"} <= report["killed"].keys()
    assert report["deliveries"]["repeats"] > 0  # the liar was told again
    assert report["traffic"]["posts sent again"] > 0
    assert set(CHECKS) <= report["checked"].keys()
    assert all(report["checked"].values())
