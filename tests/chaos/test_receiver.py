"""The receiver of a trial: what it takes, what it complains about, and how it answers in each mood."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from standardwebhooks import Webhook

from mask_social.chaos.clock import TrialClock
from mask_social.chaos.receiver import Mood, Receiver

SECRET = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


@pytest.fixture
def clock(tmp_path: Path) -> TrialClock:
    return TrialClock(tmp_path / "clock")


@pytest.fixture
def receiver(clock: TrialClock) -> Iterator[Receiver]:
    with Receiver("moody", clock, late_seconds=0.3) as receiver:
        receiver.trust("whe_1", SECRET)
        yield receiver


def send(receiver: Receiver, event_id: str = "evt_1", *, secret: str = SECRET, at: datetime | None = None) -> int:
    """Send an event as the service does; 0 where the line is cut."""
    body = json.dumps({"id": event_id})
    at = at or datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1", at, body),
    }
    try:
        with urllib3.PoolManager(retries=False, timeout=5) as pool:
            return int(pool.request("POST", receiver.url, body=body.encode(), headers=headers).status)
    except urllib3.exceptions.HTTPError:
        return 0


def test_it_keeps_what_comes_twice_once_and_counts_it(receiver: Receiver) -> None:
    assert [send(receiver), send(receiver)] == [204, 204]

    log = receiver.log()
    assert (list(log.bodies), log.repeats.total(), log.complaints) == (["evt_1"], 1, [])


@pytest.mark.parametrize("mood", [Mood.LYING, Mood.CUTTING, Mood.GARBLED, Mood.SLOW])
def test_a_liar_has_taken_what_it_denies(receiver: Receiver, mood: Mood) -> None:
    receiver.mood = mood

    send(receiver)

    assert list(receiver.log().bodies) == ["evt_1"]


@pytest.mark.parametrize(("mood", "status"), [(Mood.DOWN, 0), (Mood.GONE, 410), (Mood.BUSY, 429)])
def test_who_refuses_takes_nothing(receiver: Receiver, mood: Mood, status: int) -> None:
    receiver.mood = mood

    assert send(receiver) == status
    assert receiver.log().bodies == {}


def test_it_complains_of_a_wrong_signature(receiver: Receiver) -> None:
    assert send(receiver, secret=f"whsec_{b64encode(secrets.token_bytes(32)).decode()}") == 401

    assert ["signature" in complaint for complaint in receiver.log().complaints] == [True]


def test_it_complains_of_a_body_under_another_id(receiver: Receiver) -> None:
    assert send(receiver, "evt_2") == 401


def test_it_goes_by_the_clock_of_the_trial(receiver: Receiver, clock: TrialClock) -> None:
    later = datetime.now(UTC) + timedelta(hours=70)
    assert send(receiver, at=later) == 401

    clock.advance(timedelta(hours=70))

    assert send(receiver, at=later) == 204
    assert send(receiver) == 204  # signed before the clock was moved, and on its way meanwhile
