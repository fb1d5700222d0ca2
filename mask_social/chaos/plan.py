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


def steps(seed: int, only: Sequence[str] = ()) -> Iterator[Step]:
    """Yield steps without end: every fault once in random order, then again, some of them in pairs.

    Where some are chosen they come in the order given, and then again in that order.
    """
    random = Random(f"plan {seed}")  # noqa: S311 - it is to be repeatable
    chosen = [FAULTS[name] for name in only or FAULTS]
    first = True
    while True:
        if not only:
            random.shuffle(chosen)
        for fault in chosen:
            second = random.choice(chosen)
            pair = not only and not first and random.random() < TWO_AT_ONCE and _together(fault, second)
            yield Step((fault, second) if pair else (fault,), random.uniform(1, 4))
        first = False


def _together(one: Fault, other: Fault) -> bool:
    both = {one.name, other.name}
    receivers = sum(name.startswith(RECEIVERS) for name in both)
    return len(both) == 2 and not both & ALONE and receivers < 2
