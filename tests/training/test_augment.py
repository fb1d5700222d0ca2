"""What varying a training face changes, and what it must leave."""

import numpy as np

from ml.training.augment import varied
from ml.training.crops import MARGIN, SIDE

FACE = SIDE / MARGIN
BOX = np.array([(SIDE - FACE) / 2, (SIDE - FACE) / 2, (SIDE + FACE) / 2, (SIDE + FACE) / 2], np.float32)
BOXES = np.tile(BOX, (3, 1))


def face(mouth: int) -> np.ndarray:
    """Return a grey crop with noise whose nose and mouth are of one brightness."""
    crop = np.random.default_rng(0).integers(80, 150, (SIDE, SIDE, 3), dtype=np.uint8)
    crop[70:102, 55:89] = mouth
    return crop


def test_nose_and_mouth_are_never_hidden() -> None:
    for seed in range(300):
        dark, bright = (varied(face(m), BOXES, 96, 1.35, np.random.default_rng(seed), 72) for m in (20, 230))
        apart = np.abs(bright.astype(int) - dark).mean(axis=2)[44:68, 40:56]
        assert (apart > 8).mean() > 0.6, seed


def test_each_draw_is_another_picture_of_the_same_size() -> None:
    rng = np.random.default_rng(0)
    made = [varied(face(200), BOXES, 96, 1.35, rng) for _ in range(40)]
    assert {one.shape for one in made} == {(96, 96, 3)}
    assert len({one.tobytes() for one in made}) == 40


def test_the_face_stays_in_the_middle_on_average() -> None:
    rng = np.random.default_rng(0)
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[66:78, 66:78] = 255
    seen = sum(varied(crop, BOXES, 96, 1.35, rng).mean(axis=2) for _ in range(400))
    rows, columns = np.mgrid[:96, :96]
    inner = (np.abs(rows - 47.5) < 24) & (np.abs(columns - 47.5) < 24)
    weight = (seen - np.median(seen)).clip(0) * inner
    assert abs((rows * weight).sum() / weight.sum() - 47.5) < 1.5
    assert abs((columns * weight).sum() / weight.sum() - 47.5) < 1.5
