"""Photos per second by one and by two analysing processes, by turns; and what two bare loops make of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mask_social.bench import end_to_end
from mask_social.bench.service import Service, refuse_failures

_PATIENCE_SECONDS = 900.0
_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """Photos per second: verdicts by one process and by two, bare loops by one and by two."""

    one: float
    two: float
    bare_one: float
    bare_two: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the turns came to; `alone` says that only verdicts were worked on, rewards and webhooks later."""

    alone: bool
    turns: Sequence[Turn]

    @property
    def ratio(self) -> float:
        """Return the median of two by one."""
        return median(turn.two / turn.one for turn in self.turns)

    @property
    def bare_ratio(self) -> float:
        """Return the same of the bare loop: what the machine itself has to give."""
        return median(turn.bare_two / turn.bare_one for turn in self.turns)


def measure(service: Service, photos: Sequence[Path], turns: int, *, alone: bool) -> Report:
    """Let one process and two work off as many posts, by turns.

    With `alone` the workers of rewards and webhooks are held meanwhile, as though they were on other machines.
    """
    each = (len(photos) - _WARM_UP) // (2 * turns)
    with service.analysts():
        refuse_failures(service.post_all(photos[:_WARM_UP]))
        service.drain(_PATIENCE_SECONDS)
    found, start = [], _WARM_UP
    for _ in range(turns):
        rates = []
        for processes in (1, 2):
            refuse_failures(service.post_all(photos[start : start + each]))
            start += each
            rates.append(_rate(service, each, processes, alone=alone))
        stored = end_to_end.stored(each)
        bares = [end_to_end.bare(stored, processes) for processes in (1, 2)]
        found.append(Turn(rates[0], rates[1], bares[0], bares[1]))
    return Report(alone, found)


def _rate(service: Service, count: int, processes: int, *, alone: bool) -> float:
    with service.held("default", "webhooks", "beat") if alone else service.held():
        with service.analysts(processes):
            service.await_verdicts(_PATIENCE_SECONDS)
        rate = count / end_to_end.lengths(count)[1]
    with service.analysts():
        service.drain(_PATIENCE_SECONDS)
    return rate
