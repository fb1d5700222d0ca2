"""Authors whose true lift is known, so that what the report would say of them can be checked.

`python -m incentives.experiments.simulation` prints how often the intervals hold the truth; docs/experiments.md has
that table. Nothing here is imported by the service.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from incentives.experiments import statistics
from incentives.experiments.assignment import is_held_out
from incentives.experiments.statistics import Interval, Sample

Counts = NDArray[np.int64]
Arms = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """How authors behave: few post much and most post little, some like masks and some do not.

    The post that exposes an author is one that the treatment could not touch; `lift` [share, 0 or more] is how many
    more masked posts the treatment brings among those that follow.
    """

    authors: int = 1_000
    holdout_percent: float = 20.0
    posts_per_author: float = 6.0
    masked_share: float = 0.3
    lift: float = 0.3

    @property
    def absolute_lift(self) -> float:
        """The true difference in masked posts per author."""
        return self.lift * (self.posts_per_author - 1) * self.masked_share

    @property
    def relative_lift(self) -> float:
        """The true difference as a share of what the holdout does."""
        return self.absolute_lift / (self.posts_per_author * self.masked_share)


@dataclass(frozen=True, slots=True)
class People:
    """What each author would do, int64 [authors]: posts without treatment, masked ones of them, and what it adds."""

    posts: Counts
    masked: Counts
    added: Counts


@dataclass(frozen=True, slots=True)
class Coverage:
    """In which share of the runs there was an interval; in which of those it held the truth, the absolute one zero."""

    told: float
    absolute: float
    relative: float
    zero: float


#: Who is held out, of people in a run: the real assignment, or a broken one that tests must catch.
Assign = Callable[[World, People, int], Arms]
#: The absolute and the relative lift, of masked posts and who is held out.
Estimate = Callable[[Counts, Arms], tuple[Interval | None, Interval | None]]


def meet(world: World, run: int) -> People:
    """Return the people of a run; the same run has the same people."""
    rng = np.random.default_rng(run)
    activity = rng.exponential(world.posts_per_author - 1, world.authors)
    taste = rng.beta(2 * world.masked_share, 2 * (1 - world.masked_share), world.authors)
    first_is_masked = rng.random(world.authors) < taste
    masked = rng.poisson(activity * taste)
    posts = 1 + rng.poisson(activity * (1 - taste)) + masked
    added = rng.poisson(activity * taste * world.lift)
    return People(posts, first_is_masked + masked, added)


def by_salt(world: World, people: People, run: int) -> Arms:
    """Assign the people as the service does."""
    names = range(len(people.posts))
    return np.array([is_held_out(f"salt {run}", "plt_1", f"author {name}", world.holdout_percent) for name in names])


def live(people: People, held_out: Arms) -> tuple[Counts, Counts]:
    """Return the posts and the masked posts of each author."""
    added = np.where(held_out, 0, people.added)
    return people.posts + added, people.masked + added


def sample(values: Counts) -> Sample:
    """Sum up one arm."""
    return Sample(len(values), int(values.sum()), int((values**2).sum()))


def compare(masked: Counts, held_out: Arms) -> tuple[Interval | None, Interval | None]:
    """Return the absolute and the relative lift as the report states them."""
    treatment, holdout = sample(masked[~held_out]), sample(masked[held_out])
    return statistics.contrast(treatment, holdout), statistics.relative(treatment, holdout)


def coverage(world: World, runs: int, *, assign: Assign = by_salt, estimate: Estimate = compare) -> Coverage:
    """Run an experiment many times."""
    held = []
    for run in range(runs):
        people = meet(world, run)
        held_out = assign(world, people, run)
        absolute, relative = estimate(live(people, held_out)[1], held_out)
        if absolute is not None and relative is not None:
            holds = absolute.holds(world.absolute_lift), relative.holds(world.relative_lift), absolute.holds(0)
            held.append(holds)
    return Coverage(len(held) / runs, *np.mean(held, axis=0).tolist())


def main(runs: int = 2_000) -> None:
    """Print how often the intervals hold the truth, for small and large experiments."""
    sys.stdout.write("authors  held out  lift   told  absolute holds it  relative holds it  absolute holds zero\n")
    for authors in (300, 1_000, 3_000):
        for percent in (10.0, 50.0):
            for lift in (0.0, 0.3):
                world = replace(World(), authors=authors, holdout_percent=percent, lift=lift)
                found = coverage(world, runs)
                row = f"{authors:>7}  {percent:>6.0f} %  {lift:>4.0%}  {found.told:>5.0%}  {found.absolute:>17.1%}"
                sys.stdout.write(f"{row}  {found.relative:>17.1%}  {found.zero:>19.1%}\n")


if __name__ == "__main__":
    main()
