"""Named sets of training choices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """Hold what decides a run; sizes in pixels, the margin in units of the box's longer side."""

    name: str
    widths: tuple[int, ...]
    size: int = 96
    margin: float = 1.35
    epochs: int = 60
    draws: int = 12_288  # faces per epoch
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    smoothing: float = 0.05
    mixed: float = 0.3  # share of batches whose faces are blended in pairs
    average: float = 0.998  # per step, of the averaged weights that are kept


PRESETS = {
    one.name: one
    for one in (
        Preset("tiny", widths=(8, 16, 24, 32, 48), epochs=2, draws=1_024),
        # About 360 faces a second on one core with bfloat16: an hour for all epochs.
        Preset("small", widths=(24, 32, 64, 128, 192)),
        # For a machine with a GPU.
        Preset("large", widths=(32, 64, 128, 256, 320), size=112, epochs=120, batch=128),
    )
}
