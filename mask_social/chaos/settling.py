"""Waiting until nothing is on its way: every request answered, every post at its end, every event delivered."""

import time
from collections.abc import Callable

import psycopg

from mask_social.chaos import facts
from mask_social.chaos.scene import Scene

POLL_SECONDS = 0.25
CALM_LOOKS = 3  # one look may fall between a message and the next
PATIENCE_SECONDS = 150.0


class Unsettled(Exception):  # noqa: N818 - what it is, no error of ours
    """Something is still on its way after all patience; the message says what."""


def settle_calls(scene: Scene, patience: float = PATIENCE_SECONDS) -> None:
    """Send nothing new, and wait until every request has its final answer."""
    scene.traffic.stop()
    deadline = time.monotonic() + patience
    while scene.traffic.caller.outstanding:
        if time.monotonic() > deadline:
            raise Unsettled(f"{scene.traffic.caller.outstanding} requests of a good client found no answer")
        time.sleep(POLL_SECONDS)


def settle(scene: Scene, tell: Callable[[str], None], patience: float = PATIENCE_SECONDS) -> None:
    """Send nothing new, and wait until nothing is on its way. Raises Unsettled after all patience."""
    scene.traffic.stop()
    deadline = time.monotonic() + patience
    calm, left = 0, ""
    while calm < CALM_LOOKS:
        left = _left(scene)
        calm = 0 if left else calm + 1
        tell(left)
        if left and time.monotonic() > deadline:
            raise Unsettled(f"after {patience:.0f} s there are still {left}")
        time.sleep(POLL_SECONDS)


def _left(scene: Scene) -> str:
    if calls := scene.traffic.caller.outstanding:
        return f"{calls} requests"
    try:
        with scene.database() as connection:
            found = facts.unsettled(connection, scene.clock.now())
    except psycopg.Error as error:
        return f"no database ({type(error).__name__})"
    return str(found) if found.total else ""
