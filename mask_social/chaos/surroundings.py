"""Faults around the service: receivers, the clock, the disk, and photos that do harm."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus

import psutil

from mask_social.chaos import disk
from mask_social.chaos.pictures import LEAK_MIB, Kind
from mask_social.chaos.receiver import Mood
from mask_social.chaos.scene import WORKER_MIB, Scene
from mask_social.chaos.settling import settle_calls

# While another endpoint is slow, an event is at the fast one within this time.
PROMPT_SECONDS = 6.0
SLOW_SECONDS = 16.0
ANSWER_SECONDS = 30.0
JUMP = timedelta(hours=70)
# Of an endpoint's silence; the retries go on for 76 hours.
STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 240, 600, 1200, 2000))
STEP_SECONDS = 2.0
LEAK_SECONDS = 60.0
BARE_MIB = 200  # of a process that has its models; at least


def receiver(mood: Mood) -> Callable[[Scene], str]:
    """Let one receiver be in a mood for some seconds."""

    def strike(scene: Scene) -> str:
        seconds = scene.random.uniform(5, 9)
        with_mood(scene, mood, seconds)
        return f"a receiver {mood.value} for {seconds:.1f} s"

    return strike


def with_mood(scene: Scene, mood: Mood, seconds: float) -> None:
    """Put the moody receiver into a mood, and out of it again when some message has met it."""
    before = scene.moody.log().moods[mood.name]
    scene.moody.mood = mood
    try:
        time.sleep(seconds)
        _until(lambda: scene.moody.log().moods[mood.name] > before)
    finally:
        scene.moody.mood = Mood.WELL


def slow_receiver(scene: Scene) -> str:
    """Let one receiver be slower than it may; the other two hear of everything as soon as ever."""
    began = scene.clock.now()
    with_mood(scene, Mood.SLOW, SLOW_SECONDS)
    tally = scene.tally("a slow endpoint delays no other")
    until = scene.clock.now() - timedelta(seconds=PROMPT_SECONDS)
    came = scene.steady.log().bodies.keys()
    with scene.database() as connection:
        statement = "SELECT id, type FROM incentives_event WHERE created_at BETWEEN %s AND %s"
        for event_id, type_ in connection.execute(statement, [began, until]).fetchall():
            late = f"{type_} {event_id} was not at the fast endpoint within {PROMPT_SECONDS:.0f} s"
            tally.expect(event_id in came, late)
    return f"a receiver was slow for {SLOW_SECONDS:.0f} s"


def gone_receiver(scene: Scene) -> str:
    """Let a receiver say that it is gone for good, until its endpoint is disabled; then enable it again."""
    address = f"/api/v1/webhook-endpoints/{scene.moody.endpoint_id}"
    scene.moody.mood = Mood.GONE
    try:
        disabled = _until(lambda: _status(scene, address) == "disabled")
        time.sleep(scene.random.uniform(2, 5))  # what happens meanwhile is kept for it
    finally:
        scene.moody.mood = Mood.WELL
    scene.tally("410 disables an endpoint").expect(disabled, "a receiver that is gone was still sent messages")
    enabled = _until(lambda: scene.web.ask("PATCH", address, json={"status": "active"}).status == HTTPStatus.OK)
    scene.tally("an endpoint can be enabled again").expect(enabled, "an endpoint could not be enabled again")
    return "a receiver was gone, and came back"


def jump(scene: Scene) -> str:
    """Move the clock three days ahead, for everybody at once."""
    settle_calls(scene)  # nobody sends a request again after three days
    scene.move_clock(JUMP)
    scene.traffic.flow()
    time.sleep(3)
    return f"moved the clock by {JUMP.total_seconds() / 3600:.0f} hours"


def days_of_silence(scene: Scene) -> str:
    """Let a receiver be down for three days, and look in at every stage of the retries."""
    scene.moody.mood = Mood.DOWN
    try:
        time.sleep(3)
        settle_calls(scene)
        for step in STEPS:
            scene.move_clock(step)
            time.sleep(STEP_SECONDS)
    finally:
        scene.moody.mood = Mood.WELL
    scene.traffic.flow()
    _catch_up(scene)
    hours = sum((step.total_seconds() for step in STEPS), 0.0) / 3600
    return f"a receiver was down for {hours:.0f} hours, in {len(STEPS)} steps"


def full_disk(scene: Scene) -> str:
    """Take the last byte of the photos' disk for some seconds."""
    seconds = scene.random.uniform(4, 7)
    if scene.disk.is_own:
        try:
            scene.disk.fill()
            time.sleep(seconds)
        finally:
            scene.disk.clear()
        return f"the disk was full for {seconds:.1f} s"
    web = scene.pid("web")
    try:
        disk.limit_files(web, disk.SMALL)
        time.sleep(seconds)
    finally:
        disk.limit_files(web, None)
    return f"the web server could write nothing for {seconds:.1f} s"


def deadly_photo(scene: Scene) -> str:
    """Post a photo that kills every worker that looks at it."""
    scene.traffic.post(Kind.DEADLY)
    time.sleep(2)
    return "posted a deadly photo"


def hanging_photo(scene: Scene) -> str:
    """Post a photo that never ends; one of two kinds does not even hear that its time is over."""
    kind = scene.random.choice((Kind.HANGING, Kind.DEAF))
    scene.traffic.post(kind)
    time.sleep(2)
    return f"posted a photo that is {kind.value}"


def leaking_photos(scene: Scene) -> str:
    """Post photos that leave memory behind in the worker, until each process of the pool has had its fill."""
    before = _pool(scene).keys()
    count = len(before) * math.ceil((WORKER_MIB - BARE_MIB) / LEAK_MIB + 2)
    for _ in range(count):
        scene.traffic.post(Kind.LEAKING)
    # At times none is there: each is being changed.
    _until(lambda: bool(_pool(scene).keys() - before), LEAK_SECONDS)
    pool = _pool(scene)
    changed = len(before - pool.keys())
    held = ", ".join(f"{mib} MB" for mib in pool.values())
    tally = scene.tally("a worker that leaks is changed")
    tally.expect(changed > 0, f"no process was changed after {count} leaks of {LEAK_MIB} MB: {held}")
    return f"posted {count} leaking photos; {changed} of {len(before)} processes were changed; now they hold {held}"


def _pool(scene: Scene) -> dict[int, int]:
    """Return what each process of the analysis pool holds, in MB."""
    held = {}
    for process in psutil.Process(scene.pid("analysis")).children():
        with suppress(psutil.Error):  # it is being changed
            held[int(process.pid)] = int(process.memory_info().rss / 1024**2)
    return held


def _catch_up(scene: Scene) -> None:
    """Move the clock on to each delivery that is due hours from now."""
    statement = "SELECT min(due_at) FROM incentives_delivery WHERE status = 'pending'"
    for _ in range(20):
        time.sleep(STEP_SECONDS)
        with scene.database() as connection:
            (due,) = connection.execute(statement).fetchone() or (None,)
        if due is None:
            return
        if (ahead := due - scene.clock.now()) > timedelta(seconds=30):
            settle_calls(scene)
            scene.move_clock(ahead)
            scene.traffic.flow()


def _status(scene: Scene, address: str) -> str:
    answer = scene.web.ask("GET", address)
    return str(answer.body["status"]) if answer.status == HTTPStatus.OK else ""


def _until(holds: Callable[[], bool], seconds: float = ANSWER_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True
