"""The trial itself: round after round a fault strikes, everything settles, and the oracle is asked."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http import HTTPStatus
from itertools import islice

import psutil
import psycopg
import redis

from mask_social.chaos import facts, oracle
from mask_social.chaos.facts import Evidence
from mask_social.chaos.faults import Fault
from mask_social.chaos.plan import Step
from mask_social.chaos.report import Report, Round
from mask_social.chaos.scene import Scene
from mask_social.chaos.settling import POLL_SECONDS, Unsettled, settle
from mask_social.chaos.tally import Tally

SAMPLE = 10  # posts that are read through the API after each round
PAGE = 100
READY_SECONDS = 60.0  # once everything is settled
LEFT_OVER = timedelta(days=2)  # older than any file that a request may still be at work on
AFTER_SECONDS = 4.0  # requests go on coming in when the fault is over

Tell = Callable[[str], None]


class Feed:
    """A reader of GET /api/v1/events that never looks back."""

    def __init__(self, scene: Scene) -> None:
        self.ids: list[str] = []
        self._scene = scene
        self._after = ""

    def read_on(self) -> None:
        """Read what is new, page by page."""
        while True:
            answer = self._scene.web.ask("GET", f"/api/v1/events?limit={PAGE}{self._after}")
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                time.sleep(answer.retry_after or 1)
                continue
            if answer.status != HTTPStatus.OK or not answer.body["data"]:
                return
            self.ids += [event["id"] for event in answer.body["data"]]
            if not answer.body["next"]:
                return
            self._after = f"&after={answer.body['next']}"


class Trial:
    """Strike, settle, ask, and write down what came of it."""

    def __init__(self, scene: Scene, report: Report, tell: Tell, status: Tell) -> None:
        self._scene, self._report = scene, report
        self._tell, self._status = tell, status
        self._feed = Feed(scene)
        self._swept = 0

    def run(self, steps: Iterable[Step], minutes: float, *, at_most: int | None = None) -> None:
        """Go through the steps until the time is over, or so many are done."""
        began = time.monotonic()
        self._calm()
        for step in _while(lambda: time.monotonic() - began < minutes * 60, islice(steps, at_most)):
            if not self._round(step):
                break
        self._end()
        self._report.seconds = time.monotonic() - began

    def _calm(self) -> None:
        """Begin with a moment in which nothing goes wrong: what is found then is no fault's doing."""
        self._status("posts flow in")
        self._scene.traffic.flow()
        time.sleep(AFTER_SECONDS)
        settle(self._scene, lambda left: self._status(f"before any fault: {left}"))
        self._ask()

    def _round(self, step: Step) -> bool:
        scene, report = self._scene, self._report
        posts = len(scene.traffic.accepted)
        scene.traffic.flow()
        self._status(f"{step.name}: posts flow in")
        time.sleep(step.after_seconds)
        began = time.monotonic()
        self._status(f"{step.name}: strikes")
        problems, recovery = 0, None
        try:
            with ThreadPoolExecutor(len(step.faults)) as pool:
                did = "; ".join(pool.map(self._strike, step.faults))
            lasted = time.monotonic() - began
            time.sleep(AFTER_SECONDS)
            settle(scene, lambda left: self._status(f"{step.name}: {left or 'calm'}"))
            recovery = time.monotonic() - began
        except Unsettled as unsettled:
            did, lasted = str(unsettled), time.monotonic() - began
            tally = Tally("everything settles", 1, [f"{step.name}: {unsettled}"])
            problems += report.add(tally)
        else:
            report.add(Tally("everything settles", 1))
            problems += report.add(self._ready()) + self._ask()
        new = len(scene.traffic.accepted) - posts
        report.rounds.append(Round(tuple(f.name for f in step.faults), did, recovery, lasted, new, problems))
        took = "did not recover" if recovery is None else f"all settled after {recovery:.1f} s"
        found = f"[red]{problems} promises broken[/]" if problems else "every promise holds"
        self._tell(f"{step.name}: {did}; {new} posts meanwhile; {took}; {found}")
        return recovery is not None

    def _strike(self, fault: Fault) -> str:
        try:
            return fault.strike(self._scene)
        except (OSError, psutil.Error, psycopg.Error, redis.RedisError) as error:  # its target was just gone
            missed = f"{fault.name} missed its target ({type(error).__name__}: {error})"
            self._report.notes.append(missed)
            return missed

    def _ready(self) -> Tally:
        """Ask for readiness until it is there: its canaries go through Redis and every worker."""
        tally, deadline = Tally("the service is ready again"), time.monotonic() + READY_SECONDS
        while (answer := self._scene.web.ask("GET", "/readyz")).status != HTTPStatus.OK:
            self._status(f"not ready: {answer.body}")
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        tally.expect(answer.status == HTTPStatus.OK, f"after {READY_SECONDS:.0f} s more: {answer.status} {answer.body}")
        return tally

    def _end(self) -> None:
        """Prove the books by the command too, and count what was done."""
        scene, report = self._scene, self._report
        proof = scene.staff.manage("prove_ledgers")
        report.add(_one("the ledgers prove", proof.status == HTTPStatus.OK, f"prove_ledgers: {proof.body}"))
        report.killed.update(scene.killed)
        report.traffic.update(scene.traffic.did)
        report.traffic["retries"] = scene.traffic.caller.retries
        report.traffic["posts accepted"] = len(scene.traffic.accepted)
        report.answers.update(scene.traffic.caller.answers)
        report.hours_ahead = scene.clock.ahead.total_seconds() / 3600
        for receiver in scene.receivers:
            log = receiver.log()
            report.deliveries["events"] += len(log.bodies)
            report.deliveries["repeats"] += log.repeats.total()
            for mood, count in log.moods.items():
                report.deliveries[f"answered while {mood}"] += count
        for tally in scene.tallies.values():
            report.add(tally)
        report.notes.append(f"{self._swept} files were left over by requests that were cut off, and swept.")

    def _ask(self) -> int:
        self._status("asking the oracle")
        found = sum(self._report.add(tally) for tally in oracle.ask(self._evidence()))
        self._report.times_asked += 1
        return found

    def _evidence(self) -> Evidence:
        scene = self._scene
        scene.disk.age(LEFT_OVER)  # no request is at work now, so whatever has no row will never have one
        swept = scene.staff.sweep_files()
        self._swept += int(swept.body) if swept.status == HTTPStatus.OK else 0
        self._feed.read_on()
        with scene.database() as connection:
            rows = facts.read(connection)
        traffic = scene.traffic
        chosen = scene.random.sample(rows.posts, min(SAMPLE, len(rows.posts)))
        answers = {post.id: scene.web.ask("GET", f"/api/v1/posts/{post.id}") for post in chosen}
        proof = scene.staff.prove()
        digest = scene.web.ask("GET", "/api/v1/boosts/digest?buckets=16")
        return Evidence(
            facts=rows,
            accepted=dict(traffic.accepted),
            offered=frozenset(traffic.offered),
            withdrawn=frozenset(traffic.withdrawn),
            wrongs=[*traffic.wrongs],
            logs={receiver.endpoint_id: receiver.log() for receiver in scene.receivers},
            files=facts.stored_files(scene.disk.folder),
            feed=self._feed.ids,
            told={
                post_id: str(answer.body["status"] if answer.status == HTTPStatus.OK else answer.status)
                for post_id, answer in answers.items()
            },
            digest=digest.body if digest.status == HTTPStatus.OK else None,
            proof=str(proof.body),
        )


def _one(promise: str, holds: bool, otherwise: str) -> Tally:
    tally = Tally(promise)
    tally.expect(holds, otherwise)
    return tally


def _while(holds: Callable[[], bool], steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if not holds():
            return
        yield step
