"""What the demonstration does when all has come: take a post back, and ask what a badge and the books are worth."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mask_social.demo.client import Client
from mask_social.demo.feed_service import FeedService
from mask_social.demo.report import PhotoResult, Portable, Undone
from mask_social.stack import Stack

BASE = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.2


def withdraw(client: Client, feed: FeedService, results: Sequence[PhotoResult]) -> Undone | None:
    """Withdraw the last post that was matched, and wait until everything is taken back."""
    matched = [result for result in results if result.rewards.get("match")]
    if not matched:
        return None
    chosen = matched[-1]
    client.withdraw(str(chosen.post_id))
    deadline = time.monotonic() + PATIENCE_SECONDS
    told: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        about = [event for event in client.events() if event["data"].get("post_id") == chosen.post_id]
        cause = next((event["id"] for event in about if event["type"] == "post.withdrawn"), None)
        told = [event for event in about if event["causation_id"] == cause]
        if any(event["type"] == "boost.ended" for event in told):  # the last step of taking back
            break
        time.sleep(POLL_SECONDS)
    missing = feed.wait_for([event["id"] for event in told], max(0.0, deadline - time.monotonic()))
    cause_id = told[0]["causation_id"] if told else ""
    return Undone(chosen.file, cause_id, [event["type"] for event in told], bool(told) and not missing)


def portable(client: Client, results: Sequence[PhotoResult]) -> Portable | None:
    """Look at a badge as somebody without a key would."""
    for result in results:
        for badge in result.rewards.get("badges") or ():
            page = client.public(badge["verify_url"]).data.decode()
            if badge["title"] not in page:
                raise ValueError(f"{badge['verify_url']} does not show the badge.")
            algorithm = client.algorithm_of(badge["credential_url"])
            return Portable(badge["title"], result.author_id, client.absolute(badge["verify_url"]), algorithm)
    return None


def prove(stack: Stack) -> str:
    """Return what the command that proves the books prints. Raises CalledProcessError where they do not agree."""
    command = [sys.executable, str(BASE / "manage.py"), "prove_ledgers"]
    done = subprocess.run(command, env=stack.environment, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    return done.stdout.strip()
