"""What the drawn masks cover, and what they must not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.training.demo_pictures import GPS_IFD, LANDMARKS, PHOTOS, make
from ml.training.draw_extras import EXTRAS, draw_extra
from ml.training.draw_masks import LONG, POSITIONS, STYLES, MaskStyle, draw_mask, fit_camera, random_style
from ml.training.draw_occluders import OCCLUDERS, THIN, draw_occluder
from ml.training.draw_prints import PATTERNS, print_cloth
from ml.training.draw_styles import wild_style

NOSE, MOUTH_LEFT, MOUTH_RIGHT = LANDMARKS[2], LANDMARKS[3], LANDMARKS[4]
MOUTH = (MOUTH_LEFT + MOUTH_RIGHT) / 2


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(Image.open(PHOTOS / "portrait.jpg").convert("RGB"))


def at(cover: np.ndarray, point: np.ndarray) -> float:
    x, y = np.round(point).astype(int)
    return float(cover[y, x])


@pytest.mark.parametrize("kind", STYLES)
def test_a_full_mask_covers_nose_and_mouth_but_no_eye(portrait: np.ndarray, kind: str) -> None:
    drawn, cover = draw_mask(portrait, LANDMARKS, MaskStyle(kind=kind))
    assert all(at(cover, point) > 0.95 for point in (NOSE, MOUTH_LEFT, MOUTH_RIGHT, MOUTH))
    assert all(at(cover, eye) == 0 for eye in LANDMARKS[:2])
    assert drawn.shape == portrait.shape
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize("kind", STYLES)
def test_a_mask_under_the_nose_leaves_the_nose_bare_and_covers_the_mouth(portrait: np.ndarray, kind: str) -> None:
    _, cover = draw_mask(portrait, LANDMARKS, MaskStyle(kind=kind, position="under_nose"))
    assert at(cover, NOSE) == 0
    assert at(cover, MOUTH) > 0.95


def test_a_mask_on_the_chin_leaves_nose_and_mouth_bare(portrait: np.ndarray) -> None:
    _, cover = draw_mask(portrait, LANDMARKS, MaskStyle(position="chin"))
    assert at(cover, NOSE) == 0
    assert at(cover, MOUTH) == 0
    assert cover.max() == 1


def test_random_full_masks_always_cover_nose_and_mouth(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, cover = draw_mask(portrait, LANDMARKS, random_style(rng))
        assert min(at(cover, NOSE), at(cover, MOUTH)) > 0.9


def test_wild_full_masks_always_cover_nose_and_mouth_but_no_eye(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, cover = draw_mask(portrait, LANDMARKS, wild_style(rng))
        assert min(at(cover, NOSE), at(cover, MOUTH)) > 0.9
        assert all(at(cover, eye) == 0 for eye in LANDMARKS[:2])


def test_wild_masks_under_the_nose_leave_its_tip_bare_and_cover_the_mouth(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, cover = draw_mask(portrait, LANDMARKS, wild_style(rng, "under_nose"))
        assert at(cover, NOSE) == 0
        assert at(cover, MOUTH) > 0.9


def test_a_mask_that_hangs_from_an_ear_leaves_nose_and_mouth_bare(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        _, cover = draw_mask(portrait, LANDMARKS, wild_style(rng, "hanging"))
        assert max(at(cover, NOSE), at(cover, MOUTH)) == 0
        assert cover.max() == 1


def test_a_scarf_that_covers_the_chin_alone_is_never_called_a_mask(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert not {wild_style(rng, "chin").kind for _ in range(80)} & set(LONG)
    assert {wild_style(rng).kind for _ in range(200)} == set(STYLES)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_printed_in_more_than_one_colour(pattern: str) -> None:
    cloth = print_cloth(pattern, (20, 40, 160), (240, 240, 90), np.random.default_rng(1), (80, 100))
    assert cloth.shape == (80, 100, 3)
    assert cloth.std(axis=(0, 1)).max() > 5


@pytest.mark.parametrize("kind", THIN)
def test_a_thin_thing_leaves_the_mouth_in_view(portrait: np.ndarray, kind: str) -> None:
    for seed in range(10):
        drawn, cover = draw_occluder(portrait, LANDMARKS, kind, seed)
        x, y = np.round(MOUTH).astype(int)
        assert cover[y - 5 : y + 6, x - 14 : x + 15].mean() < 0.4
        assert not np.array_equal(drawn, portrait)


@pytest.mark.parametrize("kind", EXTRAS)
def test_an_extra_leaves_nose_and_mouth_in_view(portrait: np.ndarray, kind: str) -> None:
    for seed in range(5):
        drawn, cover = draw_extra(portrait, LANDMARKS, kind, seed)
        assert max(at(cover, NOSE), at(cover, MOUTH)) < 0.8 if kind == "shield" else at(cover, NOSE) < 0.1
        assert not np.array_equal(drawn, portrait)


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_an_occluder_hides_the_mouth(portrait: np.ndarray, kind: str) -> None:
    _, cover = draw_occluder(portrait, LANDMARKS, kind, seed=1)
    x, y = np.round(MOUTH).astype(int)
    assert cover[y - 5 : y + 6, x - 14 : x + 15].mean() > 0.6


def test_the_same_seed_draws_the_same_picture(portrait: np.ndarray) -> None:
    style = random_style(np.random.default_rng(5))
    assert np.array_equal(draw_mask(portrait, LANDMARKS, style)[0], draw_mask(portrait, LANDMARKS, style)[0])


def test_a_face_at_the_edge_is_drawn_as_far_as_it_is_there(portrait: np.ndarray) -> None:
    _, cover = draw_mask(portrait, LANDMARKS - np.array([215.0, 0.0]), MaskStyle())
    assert 0 < cover[:, :3].max() <= 1


def test_a_turned_head_still_has_its_nose_covered() -> None:
    turned = np.array([[40.0, 50.0], [70.0, 50.0], [74.0, 70.0], [46.0, 84.0], [70.0, 84.0]])
    _, cover = draw_mask(np.full((144, 144, 3), 150, np.uint8), turned, MaskStyle())
    assert at(cover, turned[2]) > 0.9
    assert fit_camera(turned).towards[0] != 0


def test_an_unknown_kind_or_position_is_refused(portrait: np.ndarray) -> None:
    with pytest.raises(ValueError, match="unknown mask style"):
        draw_mask(portrait, LANDMARKS, MaskStyle(kind="scarf"))
    with pytest.raises(ValueError, match="unknown mask style"):
        draw_mask(portrait, LANDMARKS, MaskStyle(position="ear"))
    with pytest.raises(ValueError, match="unknown occluder"):
        draw_occluder(portrait, LANDMARKS, "pipe")
    with pytest.raises(ValueError, match="unknown extra"):
        draw_extra(portrait, LANDMARKS, "crown")
    with pytest.raises(ValueError, match="unknown pattern"):
        print_cloth("maps", (0, 0, 0), (9, 9, 9), np.random.default_rng(0), (9, 9))
    assert "under_nose" in POSITIONS


def test_the_demo_pictures_are_there_and_small() -> None:
    for name in ("portrait", "surgical", "patterned", "under_nose", "crowd", "landscape", "gps"):
        path = PHOTOS / f"{name}.jpg"
        assert path.stat().st_size < 200_000
        with Image.open(path) as picture:
            assert 512 <= max(picture.size) <= 1024
            assert bool(picture.getexif().get_ifd(GPS_IFD)) == (name == "gps")
    assert "public domain" in (PHOTOS / "CREDITS.md").read_text()


def test_the_demo_pictures_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").write_bytes((PHOTOS / "portrait.jpg").read_bytes())
    assert {path.name for path in make(tmp_path)} == {
        "surgical.jpg", "patterned.jpg", "under_nose.jpg", "gps.jpg", "crowd.jpg", "landscape.jpg",
    }  # fmt: skip
    with Image.open(tmp_path / "gps.jpg") as picture:
        assert picture.getexif().get_ifd(GPS_IFD)[1] == "N"
    for name in ("surgical", "crowd"):
        with Image.open(tmp_path / f"{name}.jpg") as again, Image.open(PHOTOS / f"{name}.jpg") as kept:
            apart = np.abs(np.asarray(again, np.int16) - np.asarray(kept, np.int16))
            assert apart.mean() < 2
