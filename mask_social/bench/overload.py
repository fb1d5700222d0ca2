"""More is sent than can be looked at: refusals say when to come again, and then the queue drains."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mask_social.bench.service import Answer, Service

REFUSALS = (429, 503)
SETTINGS = {"MASK_SOCIAL_MAX_QUEUED": "20"}
_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.5


@dataclass(slots=True)
class Report:
    """What was answered, in the order of time."""

    accepted: int = 0
    refused: int = 0
    statuses: set[int] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    # Of the refusals, in seconds; None among them where one said nothing.
    retry_after: list[str | None] = field(default_factory=list)
    other: int = 0
    # After the workers began: until an upload was accepted again, and until nothing was left to do.
    resumed_seconds: float = 0.0
    drained_seconds: float = 0.0
    # The slowest answer of all, milliseconds.
    slowest: float = 0.0

    def note(self, answer: Answer) -> None:
        """Count an answer."""
        self.slowest = max(self.slowest, answer.milliseconds)
        if answer.status == 202:
            self.accepted += 1
        elif answer.status in REFUSALS:
            self.refused += 1
            self.statuses.add(answer.status)
            self.codes.add(answer.code)
            self.retry_after.append(answer.retry_after)
        else:
            self.other += 1


def measure(service: Service, photos: Sequence[Path]) -> Report:
    """Send all photos while nobody looks at any, then let a worker begin and try until one is accepted."""
    report = Report()
    half = len(photos) // 2
    for chunk in (photos[:half], photos[half:]):
        for answer in service.post_all(chunk):
            report.note(answer)
        time.sleep(1.5)  # the queue is counted once in a second
    began = time.monotonic()
    with service.analysts():
        while (answer := service.post(photos[0])).status != 202:
            report.note(answer)
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise TimeoutError("Nothing was accepted again.")
            time.sleep(_PAUSE_SECONDS)
        report.note(answer)
        report.resumed_seconds = time.monotonic() - began
        service.drain(_PATIENCE_SECONDS)
        report.drained_seconds = time.monotonic() - began
    return report
