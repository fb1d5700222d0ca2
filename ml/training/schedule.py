"""Decide how fast to learn and when to end, from the clock of the run and from what it scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("cosine", "plateau")
CUT = 0.4  # what is left of the learning rate after each plateau
LEAST = 1e-3  # of the top rate; lower ones learn nothing more


def rate_at(progress: float, top: float, warm: float = 0.03) -> float:
    """Return the learning rate at 0..1 of the run: a short rise, then half a cosine."""
    if progress < warm:
        return top * max(progress / warm, 0.02)
    return top * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))


@dataclass(slots=True)
class Schedule:
    """Give the learning rate and the end of a run; all of it goes into the checkpoint.

    cosine: follows the progress, whatever is scored. plateau: falls when `wait` epochs brought nothing better.
    patience: epochs without a better score after which the run ends; 0 means never.
    """

    top: float
    kind: str = "cosine"
    patience: int = 0
    wait: int = 4
    best: float = math.inf
    stale: int = 0
    cuts: int = 0
    since_cut: int = 0

    def rate(self, progress: float) -> float:
        """Return the learning rate at 0..1 of the run."""
        if self.kind == "cosine":
            return rate_at(progress, self.top)
        rise = min(1.0, max(progress / 0.03, 0.02))
        return float(self.top * max(LEAST, rise * CUT**self.cuts))

    def note(self, loss: float) -> bool:
        """Take an epoch's loss on held-out data in; tell whether it is the best so far."""
        better = loss < self.best
        self.best = min(self.best, loss)
        self.stale = 0 if better else self.stale + 1
        self.since_cut = 0 if better else self.since_cut + 1
        if self.kind == "plateau" and self.since_cut >= self.wait:
            self.cuts, self.since_cut = self.cuts + 1, 0
        return better

    @property
    def over(self) -> bool:
        """Tell whether waiting longer is useless."""
        return 0 < self.patience <= self.stale
