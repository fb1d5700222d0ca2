"""Tell which found face is which labelled one, by the rule that the project's score is counted by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.index import Corners

#: A found face is the labelled one if they overlap by this or more: intersection over union.
HIT = 0.4
#: A found face that overlaps no labelled one by this is a stray.
NEAR = 0.3

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Match:
    """Hold which found face each hit labelled one is, by their positions, and the positions of the strays."""

    hits: dict[int, int]
    strays: tuple[int, ...]


def overlaps(labelled: Sequence[Corners], found: Sequence[Corners]) -> Shares:
    """Return the intersection over union float64 [labelled, found] of boxes x1, y1, x2, y2."""
    a = np.asarray(labelled, np.float64).reshape(-1, 1, 4)
    b = np.asarray(found, np.float64).reshape(1, -1, 4)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    areas = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def match(shares: Shares, among: Sequence[int] | None = None) -> Match:
    """Pair labelled and found faces one to one, those that overlap most first.

    shares: what `overlaps` returns. among: the columns, found faces, to look at; all of them by default.
    """
    columns = range(shares.shape[1]) if among is None else among
    looked_at = set(columns)
    rows, others = np.nonzero(shares >= HIT)
    pairs = sorted(((shares[i, j], i, j) for i, j in zip(rows.tolist(), others.tolist(), strict=True)), reverse=True)
    hits: dict[int, int] = {}
    used: set[int] = set()
    for _, i, j in pairs:
        if j in looked_at and i not in hits and j not in used:
            hits[i] = j
            used.add(j)
    far = np.asarray((shares < NEAR).all(axis=0), np.bool_)
    return Match(hits, tuple(j for j in columns if j not in used and far[j]))
