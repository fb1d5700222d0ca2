"""Choose what a drawn training mask looks like: all that masks are, the rare and misleading ones often."""

from __future__ import annotations

import numpy as np

from ml.training.draw_masks import LONG, STIFF, SURGICAL_COLOURS, MaskStyle
from ml.training.draw_prints import PATTERNS

SKIN_COLOURS = ((241, 205, 175), (224, 172, 140), (198, 134, 98), (141, 85, 60), (90, 56, 40))


def wild_style(rng: np.random.Generator, position: str = "full", patterned: float = 0.4) -> MaskStyle:
    """Draw a style at random, rare ones often; `patterned` is the share of printed cloth."""
    # On the chin alone, a scarf is a scarf.
    plain = ("surgical", "surgical", "cloth", "cup", "vented", *(LONG if position in ("full", "under_nose") else ()))
    kind = "patterned" if rng.random() < patterned else str(rng.choice(plain))
    if position == "hanging" and kind not in ("surgical", "patterned"):
        kind = "cloth"
    colour = tuple(int(c) for c in rng.integers(10, 250, 3))
    if kind == "surgical" or (kind in STIFF and rng.random() < 0.4):
        colour = SURGICAL_COLOURS[rng.integers(len(SURGICAL_COLOURS))]
    elif kind in STIFF:
        colour = (240, 240, 238)
    elif rng.random() < 0.2:
        colour = tuple(int(c) for c in SKIN_COLOURS[rng.integers(len(SKIN_COLOURS))] + rng.integers(-12, 12, 3))
    elif rng.random() < 0.45:
        colour = tuple(int(c) for c in np.full(3, rng.choice([15, 25, 35, 60, 120, 245])) + rng.integers(-10, 10, 3))
    accent = tuple(int(c) for c in rng.integers(0, 256, 3))
    if abs(sum(accent) - sum(colour)) < 150:
        accent = (250, 250, 245) if sum(colour) < 380 else (20, 20, 30)
    red, green, blue = (int(np.clip(c, 0, 255)) for c in colour)
    white = (235, 235, 235)
    top = float(rng.normal(0, 0.04))
    if position == "under_nose":  # from under the tip, where only it shows, to the upper lip
        top = float(rng.uniform(-0.14, 0.0) if rng.random() < 0.3 else rng.uniform(0.0, 0.12))
    return MaskStyle(
        kind=kind,
        position=position,
        colour=(red, green, blue),
        accent=(accent[0], accent[1], accent[2]),
        pattern="" if kind in LONG and rng.random() < 0.4 else str(rng.choice(PATTERNS)),
        loops=white if rng.random() < 0.6 else (red, green, blue),
        top=top,
        bottom=float(rng.normal(0.0, 0.08)),
        width=float(np.clip(rng.normal(0.97, 0.05), 0.85, 1.1)),
        seed=int(rng.integers(2**31)),
    )
