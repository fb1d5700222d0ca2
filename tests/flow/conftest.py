"""One whole stack for the folder, in processes of its own, with the demonstration's client and feed service."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mask_social.demo.client import Client
from mask_social.demo.feed_service import FeedService
from mask_social.stack import Stack
from tests.flow.analyzers import GATE_VARIABLE

BASE = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Scene:
    """The stack, and the platform that talks to it."""

    stack: Stack
    client: Client
    feed: FeedService
    gate: Path
    admin: str
    password: str

    def manage(self, *arguments: str) -> str:
        """Run a management command against the stack and return what it printed."""
        command = [sys.executable, str(BASE / "manage.py"), *arguments]
        done = subprocess.run(command, env=self.stack.environment, check=True, capture_output=True, text=True)
        return done.stdout

    def shell(self, code: str) -> Any:
        """Run Python inside the project; it prints one JSON value."""
        return json.loads(self.manage("shell", "--no-imports", "-c", code))

    def judge_duplicates(self, judged: bool) -> None:
        """Let repeats count, or not, and authors post without limit."""
        self.shell(
            "from incentives.models import EarningRules\n"
            f"print(EarningRules.objects.update(judges_duplicates={judged}, posts_per_day=None))"
        )

    def finished_post(self, post_id: str) -> dict[str, Any]:
        """Wait until nothing more will come of a post."""
        found: dict[str, Any] = eventually(
            lambda: (
                (post := self.client.wait_for_post(post_id))
                and (post["status"] == "failed" or post["rewards"] is not None)
                and post
            )
        )
        return found


def eventually(check: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Call `check` until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"nothing came of it in {seconds} s"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Start everything; leases are short, so that a lost worker is noticed while a test waits."""
    folder = tmp_path_factory.mktemp("flow")
    gate = folder / "gate"
    environment = {
        "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",
        "MASK_SOCIAL_ANALYZER": "tests.flow.analyzers.GatedAnalyzer",
        "MASK_SOCIAL_ANALYSIS_SECONDS": "4",
        "MASK_SOCIAL_SWEEP_SECONDS": "1",
        "MASK_SOCIAL_LOG_FORMAT": "json",
        "MASK_SOCIAL_RATE_AUTHOR": "1000000",
        GATE_VARIABLE: str(gate),
    }
    with FeedService() as feed, Stack(folder / "var", env=environment, analysis_workers=1) as stack:
        bootstrap = subprocess.run(
            [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json"],
            env=stack.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        made = json.loads(bootstrap.stdout)
        client = Client(stack.url, made["api_key"])
        feed.trust(client.create_webhook_endpoint(feed.url)["secret"])
        found = Scene(stack, client, feed, gate, made["admin"], made["password"])
        # Most tests post the same few pictures again and again; the one about repeats has it judged.
        found.judge_duplicates(False)
        yield found


@pytest.fixture(autouse=True)
def open_gate(scene: Scene) -> Iterator[None]:
    """Leave the gate open for the next test."""
    yield
    scene.gate.unlink(missing_ok=True)
    scene.gate.with_suffix(".reached").unlink(missing_ok=True)


@pytest.fixture
def author() -> str:
    """An author of whom nobody has heard."""
    return f"author-{threading.get_ident()}-{time.time_ns()}"
