"""What the detector counts with arrays, once more in plain loops."""

import math
from collections.abc import Mapping, Sequence

from ml.geometry import Floats


def overlap(a: Floats | Sequence[float], b: Floats | Sequence[float]) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def greedy(boxes: Floats, scores: Floats, iou: float, limit: int) -> list[int]:
    """Return the rows that suppression keeps, best first."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        if len(kept) < limit and all(overlap(boxes[row], boxes[other]) <= iou for other in kept):
            kept.append(row)
    return kept


def proposals(maps: Mapping[int, Floats], threshold: float) -> list[tuple[float, list[float]]]:
    """Return logit and box of each cell that is sure enough; maps: [5, h, w] by stride."""
    found = []
    for stride, (logits, x, y, wide, tall) in maps.items():
        for row in range(logits.shape[0]):
            for column in range(logits.shape[1]):
                logit = float(logits[row, column])
                if 1 / (1 + math.exp(-logit)) <= threshold:
                    continue
                middle_x = (column + 0.5 + float(x[row, column])) * stride
                middle_y = (row + 0.5 + float(y[row, column])) * stride
                half_x = math.exp(float(wide[row, column])) * stride / 2
                half_y = math.exp(float(tall[row, column])) * stride / 2
                found.append((logit, [middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y]))
    return found
