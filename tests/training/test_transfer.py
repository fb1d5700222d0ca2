"""Masks cut off one face and put onto another, and noses put over masks."""

import cv2
import numpy as np
import pytest

from ml.training.draw_masks import MaskStyle, draw_mask
from ml.training.transfer import PLACES, RealMask, bare_nose, likely, put, take

MARKS = np.array([[58, 58], [86, 58], [72, 75], [61, 87], [83, 87]], np.float32)
NOSE, MOUTH = MARKS[2], (MARKS[3] + MARKS[4]) / 2
SKIN, BLUE = (205, 165, 140), (110, 160, 225)


def bare_face(skin: tuple[int, int, int] = SKIN) -> np.ndarray:
    """Return a head of one skin colour before a dark wall, with noise so that no two pixels are alike."""
    face = np.full((144, 144, 3), 40, np.uint8)
    cv2.ellipse(face, (72, 72), (31, 44), 0, 0, 360, skin, -1)
    grain = np.random.default_rng(0).normal(0, 4, face.shape)
    return np.clip(face + grain, 0, 255).astype(np.uint8)


def masked_face(position: str = "full") -> np.ndarray:
    return draw_mask(bare_face(), MARKS, MaskStyle(colour=BLUE, position=position))[0]


def at(picture: np.ndarray, point: np.ndarray) -> np.ndarray:
    x, y = np.round(point).astype(int)
    return np.asarray(picture[y - 1 : y + 2, x - 1 : x + 2].reshape(9, -1).mean(axis=0))


@pytest.fixture(scope="module")
def mask() -> RealMask:
    found = take(masked_face(), MARKS, 72.0)
    assert found is not None
    return found


def test_a_worn_mask_is_found_with_its_edges(mask: RealMask) -> None:
    middle = len(mask.top) // 2
    assert 0.15 < mask.top[middle] < 0.5
    assert 1.4 < mask.bottom[middle] < 2.1
    red, _, blue = mask.cloth.reshape(-1, 3).mean(axis=0)
    assert blue > red + 30
    assert abs(mask.yaw) < 0.1


def test_a_bare_face_and_a_badly_worn_mask_give_no_mask() -> None:
    assert take(bare_face(), MARKS, 72.0) is None
    assert take(masked_face("under_nose"), MARKS, 72.0) is None
    assert take(masked_face("chin"), MARKS, 72.0) is None


@pytest.mark.parametrize("seed", range(12))
def test_a_mask_in_full_covers_nose_and_mouth_but_no_eye(mask: RealMask, seed: int) -> None:
    made, cover = put(bare_face(), MARKS, mask, "full", np.random.default_rng(seed))
    assert at(cover, NOSE) > 0.9
    assert at(cover, MOUTH) > 0.9
    assert all(at(cover, eye) < 0.05 for eye in MARKS[:2])
    red, _, blue = at(made, MOUTH)
    assert blue > red + 20


@pytest.mark.parametrize("seed", range(12))
def test_a_mask_under_the_nose_leaves_the_tip_bare_and_covers_the_mouth(mask: RealMask, seed: int) -> None:
    _, cover = put(bare_face(), MARKS, mask, "under_nose", np.random.default_rng(seed))
    assert at(cover, NOSE - [0, 2]) < 0.1
    assert at(cover, MOUTH) > 0.9


@pytest.mark.parametrize("seed", range(12))
def test_a_mask_on_the_chin_leaves_nose_and_mouth_bare(mask: RealMask, seed: int) -> None:
    _, cover = put(bare_face(), MARKS, mask, "chin", np.random.default_rng(seed))
    assert at(cover, NOSE) == 0
    assert at(cover, MOUTH) < 0.05
    assert cover.max() > 0.9


def test_a_mask_takes_on_the_light_of_its_new_face(mask: RealMask) -> None:
    rng = np.random.default_rng
    lit, _ = put(bare_face(), MARKS, mask, "full", rng(0))
    dim, _ = put(bare_face((90, 70, 60)), MARKS, mask, "full", rng(0))
    assert at(dim, MOUTH).mean() < 0.8 * at(lit, MOUTH).mean()


def test_a_nose_of_the_same_skin_comes_back_over_a_mask(mask: RealMask) -> None:
    masked = masked_face()
    found = bare_nose(masked, MARKS, mask, bare_face(), MARKS, np.random.default_rng(0))
    assert found is not None
    made, cover = found
    assert at(cover, NOSE) > 0.9
    assert at(cover, MOUTH) < 0.1
    red, _, blue = at(made, NOSE)
    assert red > blue + 30
    assert np.abs(at(made, MOUTH) - at(masked, MOUTH)).max() < 25


def test_a_nose_of_another_skin_is_refused(mask: RealMask) -> None:
    assert bare_nose(masked_face(), MARKS, mask, bare_face((70, 45, 35)), MARKS, np.random.default_rng(0)) is None


def test_the_mask_of_a_face_that_looks_the_other_way_is_mirrored(mask: RealMask) -> None:
    turned = MARKS + np.array([[0, 0], [0, 0], [5, 0], [3, 0], [1, 0]], np.float32)
    one = take(draw_mask(bare_face(), turned, MaskStyle(colour=BLUE))[0], turned, 72.0)
    assert one is not None
    assert abs(one.yaw) > 0.05
    chosen = likely([one], -one.yaw, np.random.default_rng(0))
    assert chosen.yaw == -one.yaw
    assert np.array_equal(chosen.cloth, one.cloth[:, ::-1])
    assert chosen.span == (-one.span[1], -one.span[0])


def test_an_unknown_place_is_refused(mask: RealMask) -> None:
    with pytest.raises(ValueError, match="unknown place"):
        put(bare_face(), MARKS, mask, "ear", np.random.default_rng(0))
    assert "under_nose" in PLACES
