"""Authors that nobody has met, whose lift is known: what the report says of them can be checked.

`python -m incentives.experiments.simulation` prints how often the intervals hold the truth; docs/experiments.md shows it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from incentives.experiments import statistics
from incentives.experiments.assignment import is_held_out
from incentives.experiments.statistics import Interval, Sample

Counts = NDArray[np.int64]
Arms = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """How authors behave. Few post much and most post little: activity is gamma, the taste for masks beta distributed.

    The post that exposes an author is one that treatment could not touch; `lift` is by which share the treatment
    raises the masked posts after it.
    """

    authors: int = 1_000
    holdout_percent: float = 20.0
    posts_per_author: float = 6.0
    masked_share: float = 0.3
    lift: float = 0.3
    #: Of the gamma distribution: 1 is the exponential, less is more unequal.
    shape: float = 1.0

    @property
    def absolute_lift(self) -> float:
        """The true difference in masked posts per author."""
        return self.lift * (self.posts_per_author - 1) * self.masked_share

    @property
    def relative_lift(self) -> float:
        """The true difference as a share of what the holdout does."""
        return self.absolute_lift / (self.posts_per_author * self.masked_share)


@dataclass(frozen=True, slots=True)
class Authors:
    """What came of one run: per author the arm, the posts, and how many of them are masked."""

    held_out: Arms
    posts: Counts
    masked: Counts


@dataclass(frozen=True, slots=True)
class Coverage:
    """In which share of the runs the interval held the truth, and in which it held zero."""

    absolute: float
    relative: float
    zero: float


#: Takes the run's number, and how active each author would be; returns who is held out.
Assign = Callable[[int, Counts], Arms]
Estimate = Callable[[Authors], tuple[Interval | None, Interval | None]]


def draw(world: World, run: int, assign: Assign | None = None) -> Authors:
    """Let the authors of a world live once; the same run is the same life."""
    rng = np.random.default_rng(run)
    activity = rng.gamma(world.shape, (world.posts_per_author - 1) / world.shape, world.authors)
    taste = rng.beta(2 * world.masked_share, 2 * (1 - world.masked_share), world.authors)
    first = rng.random(world.authors) < taste
    bare = rng.poisson(activity * (1 - taste))
    masked = rng.poisson(activity * taste)
    added = rng.poisson(activity * taste * abs(world.lift))  # a falling lift is not drawn
    held_out = (assign or (lambda run, _: by_salt(world, run)))(run, bare + masked)
    masked = first + masked + np.where(held_out, 0, added)
    return Authors(held_out, 1 + bare + (masked - first), masked)
