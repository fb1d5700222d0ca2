"""Which faults, in which order: all from one seed, so that a trial can be repeated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mask_social.chaos.faults import FAULTS, Fault

# From the second time round on, so many of the faults come two at once.
TWO_AT_ONCE = 0.4
# They take the clock or all time, and go alone.
ALONE = frozenset({"clock", "clock-retries", "everything", "receiver-gone", "receiver-slow"})
RECEIVERS = "receiver-"  # there is one that has moods


@dataclass(frozen=True, slots=True)
class Step:
    """Faults that strike together, so many seconds into their round."""

    faults: tuple[Fault, ...]
    after_seconds: float

    @property
    def name(self) -> str:
        """Name them."""
        return " + ".join(fault.name for fault in self.faults)


def read(text: str) -> tuple[Fault, ...]:
    """Read the names of faults that strike together: ``web`` or ``web+redis``. Raises ValueError where one is none."""
    try:
        return tuple(FAULTS[name] for name in text.split("+"))
    except KeyError as error:
        raise ValueError(f"no fault is named {error}; --list names them") from error


def steps(seed: int, only: Sequence[tuple[Fault, ...]] = ()) -> Iterator[Step]:
    """Yield steps without end: every fault once in random order, then again, some of them in pairs.

    Where some are chosen they come in the order given, and then again in that order.
    """
    random = Random(f"plan {seed}")  # noqa: S311 - it is to be repeatable
    while only:
        for faults in only:
            yield Step(faults, random.uniform(1, 4))
    chosen = [*FAULTS.values()]
    share = 0.0
    while True:
        random.shuffle(chosen)
        for fault in chosen:
            second = random.choice(chosen)
            pair = random.random() < share and _together(fault, second)
            yield Step((fault, second) if pair else (fault,), random.uniform(1, 4))
        share = TWO_AT_ONCE


def _together(one: Fault, other: Fault) -> bool:
    both = {one.name, other.name}
    receivers = sum(name.startswith(RECEIVERS) for name in both)
    return len(both) == 2 and not both & ALONE and receivers < 2
