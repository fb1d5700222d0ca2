"""How the stages hand on what they find, with a cascade that takes white squares for faces; tests/ml/test_seeing.py
asks the shipped one."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.detector import Detections, Detector
from ml.geometry import OUTSIDE, Floats, Octaves, Pixels
from ml.manifest import DetectorManifest
from ml.session import CPU, make_session
from tests.ml.networks import SIDES, STRIDES
from tests.ml.reference import greedy, proposals

DARK = 60


def scene(*squares: tuple[int, int, int], size: tuple[int, int] = (480, 640)) -> Pixels:
    """Draw white squares (left, top, side) on dark ground of this height and width."""
    image = np.full((*size, 3), DARK, np.uint8)
    for left, top, side in squares:
        image[top : top + side, left : left + side] = 255
    return image


def box_of(square: tuple[int, int, int]) -> tuple[int, int, int, int]:
    left, top, side = square
    return left, top, left + side, top + side


def variant(weights: Path, **settings: Any) -> Detector:
    """Return a detector with other settings; those of a stage by its name."""
    manifest = DetectorManifest.load(weights)
    stages = {name: dataclasses.replace(stage, **settings.pop(name, {})) for name, stage in manifest.stages.items()}
    return Detector(dataclasses.replace(manifest, stages=stages, **settings), providers=[CPU])


def assert_found(found: Detections, *squares: tuple[int, int, int], apart: float = 2.0) -> None:
    """Check that these squares were found, all and no other, in any order."""
    boxes = sorted(found.boxes.tolist())
    assert len(boxes) == len(squares)
    for box, square in zip(boxes, sorted(squares), strict=True):
        assert box == pytest.approx(box_of(square), abs=apart)


@pytest.mark.parametrize("side", [*SIDES, 28, 58])
def test_it_finds_a_face_of_any_stride_where_it_is(toy: Detector, side: int) -> None:
    found = toy.detect(scene((101, 83, side)))
    assert_found(found, (101, 83, side))
    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((1, 4), (1,), (1, 5, 2))
    assert {str(array.dtype) for array in (found.boxes, found.scores, found.landmarks)} == {"float32"}


def test_the_landmarks_lie_in_the_face_and_in_their_order(toy: Detector) -> None:
    left, top, side = square = (100, 80, 48)
    left_eye, right_eye, nose, left_mouth, right_mouth = toy.detect(scene(square)).landmarks[0]
    assert nose == pytest.approx((left + side * 0.5, top + side * 0.6), abs=2)
    assert left < left_eye[0] < left_mouth[0] < nose[0] < right_mouth[0] < right_eye[0] < left + side
    assert top < left_eye[1] < nose[1] < left_mouth[1] < top + side


def test_scores_are_shares_and_the_best_comes_first(toy: Detector) -> None:
    # Sides of three cells fit best.
    scores = toy.detect(scene((40, 40, 58), (200, 40, 48), (400, 40, 42), (40, 240, 96))).scores
    assert len(scores) == 4
    assert (np.diff(scores) <= 0).all()
    assert 0 < scores[-1] < scores[0] < 1


def test_the_same_photo_gives_the_same_bits_each_time(toy: Detector) -> None:
    photo = scene((40, 40, 58), (200, 40, 48), (300, 200, 96))
    first, again = toy.detect(photo), toy.detect(Octaves(photo))
    assert np.array_equal(first.boxes, again.boxes)
    assert np.array_equal(first.scores, again.scores)
    assert np.array_equal(first.landmarks, again.landmarks)


def test_a_face_that_fills_the_frame_is_found_by_the_second_pass(toy: Detector, toy_weights: Path) -> None:
    large = (90, 60, 4 * SIDES[2])
    assert_found(toy.detect(scene(large)), large, apart=8)
    assert len(variant(toy_weights, passes=(1.0,)).detect(scene(large))) == 0


def test_what_both_passes_see_is_put_together(toy: Detector) -> None:
    large, small = (90, 60, 4 * SIDES[2]), (1100, 300, 24)
    assert_found(toy.detect(scene(large, small, size=(480, 1200))), large, small, apart=8)


def test_a_face_that_both_passes_see_is_found_once(toy_weights: Path) -> None:
    square = (200, 150, SIDES[2])
    every = {"least_face": 24.0, "pnet": {"nms_iou": 1.0}}
    both = variant(toy_weights, **every)
    one = variant(toy_weights, passes=(1.0,), **every)
    assert len(both.propose(Octaves(scene(square))).boxes) > len(one.propose(Octaves(scene(square))).boxes) > 0
    assert_found(both.detect(scene(square)), square)


def test_the_second_pass_reports_large_faces_only(toy_weights: Path) -> None:
    octaves = Octaves(scene((200, 150, SIDES[2])))
    every = {"nms_iou": 1.0}
    one = variant(toy_weights, passes=(1.0,), pnet=every).propose(octaves).boxes
    # On a quarter of the size it is as large as the finest stride's faces.
    assert len(variant(toy_weights, least_face=25.0, pnet=every).propose(octaves).boxes) == len(one)
    assert len(variant(toy_weights, least_face=24.0, pnet=every).propose(octaves).boxes) > len(one)


def test_a_photo_too_small_for_a_second_pass_has_one(toy_weights: Path) -> None:
    photo = Octaves(scene((40, 20, SIDES[2]), size=(140, 200)))
    every = {"least_face": 0.0, "pnet": {"nms_iou": 1.0}}
    once = variant(toy_weights, passes=(1.0,), **every).propose(photo).boxes
    assert np.array_equal(variant(toy_weights, least_pass=51, **every).propose(photo).boxes, once)
    assert len(variant(toy_weights, least_pass=50, **every).propose(photo).boxes) > len(once)


def test_a_large_photo_is_shrunk_to_the_working_size_and_boxes_are_those_of_the_photo(toy: Detector) -> None:
    # Twice the working size: what has 120 pixels is seen with 60.
    large = scene((600, 300, 120), size=(1920, 2560))
    assert_found(toy.detect(large), (600, 300, 120), apart=4)
    assert len(toy.propose(Octaves(large)).boxes) > 0


def test_a_small_photo_is_not_blown_up(toy: Detector) -> None:
    assert_found(toy.detect(scene((20, 18, 24), size=(60, 80))), (20, 18, 24))
    assert len(toy.detect(scene((20, 18, 12), size=(60, 80)))) == 0


def test_faces_below_the_smallest_of_the_working_size_are_not_reported(toy: Detector, toy_weights: Path) -> None:
    strict = variant(toy_weights, min_face=40.0)
    assert_found(strict.detect(scene((40, 40, 24), (200, 200, 48))), (200, 200, 48))
    # On a photo of twice the working size 70 pixels are 35 there.
    twice = scene((400, 400, 100), (1200, 1200, 56), size=(1920, 2560))
    assert_found(strict.detect(twice), (400, 400, 100), apart=4)
    assert len(toy.detect(twice)) == 2


@pytest.mark.parametrize("place", [(0, 0), (-20, 100), (300, -18), (616, 456), (630, 470)])
def test_a_face_cut_by_the_edge_has_its_box_inside(toy: Detector, place: tuple[int, int]) -> None:
    image = np.full((560, 720, 3), DARK, np.uint8)
    x, y = place
    image[40 + y : 40 + y + 48, 40 + x : 40 + x + 48] = 255
    photo = np.ascontiguousarray(image[40:520, 40:680])
    found = toy.detect(photo)
    assert len(found) <= 1
    for x1, y1, x2, y2 in found.boxes.tolist():
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 480
        assert (x1, y1) == pytest.approx((max(x, 0), max(y, 0)), abs=2)
    assert len(found) == 1 or place == (630, 470)


@pytest.mark.parametrize("size", [(97, 131), (96, 128), (100, 99), (127, 65)])
def test_that_a_photo_is_padded_to_whole_cells_changes_nothing(toy_weights: Path, size: tuple[int, int]) -> None:
    once = variant(toy_weights, passes=(1.0,))
    photo = scene((size[1] - 28, size[0] - 30, 24), (20, 20, 26), size=size)
    height, width = (-(-side // 32) * 32 for side in size)
    padded = np.full((height, width, 3), OUTSIDE, np.uint8)
    padded[: size[0], : size[1]] = photo
    assert_found(once.detect(photo), (size[1] - 28, size[0] - 30, 24), (20, 20, 26))
    assert np.allclose(once.detect(padded).boxes, once.detect(photo).boxes, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 700), (31, 31), (33, 65), (1, 30_000), (2000, 20), (4001, 333)])
@pytest.mark.parametrize("gray", [0, 127, 255])
def test_a_photo_without_faces_gives_none_at_any_size(toy: Detector, size: tuple[int, int], gray: int) -> None:
    found = toy.detect(np.full((*size, 3), gray, np.uint8))
    white = gray == 255
    assert len(found) <= white
    assert (found.boxes.shape[1:], found.landmarks.shape[1:]) == ((4,), (5, 2))


def test_no_pixels_are_refused(toy: Detector) -> None:
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        toy.detect(np.empty((0, 20, 3), np.uint8))


def test_a_long_panorama_is_read_at_the_working_size(toy: Detector) -> None:
    # One by sixteen: the long side is shrunk to 1280, eight pixels to one.
    photo = scene((4000, 200, 8 * 48), size=(640, 10_240))
    assert_found(toy.detect(photo), (4000, 200, 8 * 48), apart=16)


def crowd() -> Pixels:
    return scene(*((x, y, 24) for x in range(20, 1180, 60) for y in range(20, 860, 60)), size=(900, 1200))


def test_no_stage_hands_on_more_than_its_limit(toy_weights: Path) -> None:
    octaves = Octaves(crowd())
    everybody = variant(toy_weights, pnet={"limit": 5000}, rnet={"limit": 5000}, onet={"limit": 5000})
    assert len(everybody.detect(octaves)) == 280
    few = variant(toy_weights, pnet={"limit": 40}, rnet={"limit": 30}, onet={"limit": 5})
    proposed = few.propose(octaves)
    assert len(proposed.boxes) == len(proposed.logits) == 40
    assert len(few.refine(octaves, proposed).boxes) == 30
    assert len(few.detect(octaves)) == 5


def test_a_crowd_costs_no_more_crops_than_the_limits(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = variant(toy_weights, pnet={"limit": 40}, rnet={"limit": 30, "chunk": 16}, onet={"chunk": 8})
    seen: list[int] = []
    look = few._look

    def counted(session: Any, octaves: Octaves, boxes: Floats, stage: Any, *, mirrored: bool = False) -> Any:
        seen.append(len(boxes))
        return look(session, octaves, boxes, stage, mirrored=mirrored)

    monkeypatch.setattr(few, "_look", counted)
    few.detect(crowd())
    assert seen[:2] == [40, 30]
    # The last network looks again at each face once.
    assert len(seen) == 3
    assert 0 < seen[2] < 30


def test_how_many_crops_are_seen_at_once_changes_nothing(toy: Detector, toy_weights: Path) -> None:
    single = variant(toy_weights, rnet={"chunk": 1}, onet={"chunk": 3}).detect(crowd())
    assert np.array_equal(single.boxes, toy.detect(crowd()).boxes)


def test_a_find_within_a_better_one_is_dropped(toy_weights: Path) -> None:
    photo = scene((100, 100, 96))
    every: dict[str, Any] = {"look_again_iou": 1.0, "onet": {"nms_iou": 1.0}, "rnet": {"nms_iou": 1.0}}
    everything = variant(toy_weights, nested_share=1.0, **every).detect(photo)
    assert len(everything) > 1
    (box,) = variant(toy_weights, nested_share=0.7, **every).detect(photo).boxes
    assert np.array_equal(box, everything.boxes[0])


def test_a_score_weighs_the_three_stages(toy_weights: Path) -> None:
    photo = scene((100, 100, 58))
    plain, other = variant(toy_weights), variant(toy_weights, score_weights=(0.0, 0.0, 2.0), score_bias=-1.0)
    logit = np.log(plain.detect(photo).scores / (1 - plain.detect(photo).scores))
    assert other.detect(photo).scores == pytest.approx(1 / (1 + np.exp(1 - 2 * logit)), abs=1e-4)
    # The first stage alone is surer of each white cell than of anything.
    first = variant(toy_weights, score_weights=(1.0, 0.0, 0.0))
    assert first.detect(photo).scores == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-3)


def test_a_look_into_the_mirror_sees_the_other_way_round(toy: Detector) -> None:
    octaves, stage = Octaves(scene((110, 100, 40))), toy.manifest.stages["onet"]
    boxes = np.array([[100, 96, 148, 144]], np.float32)
    (plain,), (mirrored,) = (
        toy._look(toy._onet, octaves, boxes, stage, mirrored=mirrored)[1] for mirrored in (False, True)
    )
    assert plain == pytest.approx(np.array([10, 4, 2, -4]) / 48, abs=0.04)
    assert mirrored == pytest.approx(np.array([-2, 4, -10, -4]) / 48, abs=0.04)


def test_what_both_looks_say_is_averaged(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, photo = variant(toy_weights, look_again_iou=0.3), scene((100, 100, 48))
    first = detector.detect(photo)
    look = detector._look

    def shifted(*given: Any, mirrored: bool = False) -> Any:
        logits, offsets, points = look(*given, mirrored=mirrored)
        # In the mirror: four pixels to the left there, four to the right on the photo.
        return (logits - 2, offsets + np.array([-4, 0, -4, 0]) / 48, points) if mirrored else (logits, offsets, points)

    monkeypatch.setattr(detector, "_look", shifted)
    both = detector.detect(photo)
    assert both.boxes == pytest.approx(first.boxes + np.array([2, 0, 2, 0]), abs=0.5)
    logit, before = (np.log(found.scores / (1 - found.scores)) for found in (both, first))
    assert logit == pytest.approx(before - 1, abs=1e-3)
    assert np.array_equal(both.landmarks, first.landmarks)


def test_what_is_sure_at_the_first_look_gets_no_second(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, looks = scene((40, 40, 48), (200, 40, 58)), []
    best, other = variant(toy_weights).detect(photo).scores.tolist()
    detector = variant(toy_weights, sure_at_once=(best + other) / 2)
    look = detector._look

    def counted(session: Any, octaves: Octaves, boxes: Floats, *rest: Any, mirrored: bool = False) -> Any:
        looks.append((mirrored, len(boxes)))
        return look(session, octaves, boxes, *rest, mirrored=mirrored)

    monkeypatch.setattr(detector, "_look", counted)
    assert len(detector.detect(photo)) == 2
    assert [count for mirrored, count in looks if mirrored] == [1]


def test_what_is_hopeless_at_the_first_look_gets_no_second(toy_weights: Path) -> None:
    photo = scene((40, 40, 48), (200, 40, 58))
    scores = variant(toy_weights).detect(photo).scores
    assert len(variant(toy_weights, look_again=float(scores.mean())).detect(photo)) == 1


def test_nothing_below_the_last_threshold_is_reported(toy_weights: Path) -> None:
    photo = scene((40, 40, 48), (200, 40, 58))
    scores = variant(toy_weights).detect(photo).scores
    assert len(scores) == 2
    strict = variant(toy_weights, onet={"threshold": float(scores.mean())})
    assert strict.detect(photo).scores.tolist() == [scores[0]]


def test_where_nobody_is_sure_the_likeliest_face_is_reported_alone(toy_weights: Path) -> None:
    photo = scene((40, 40, 48), (200, 40, 58))
    best, other = variant(toy_weights).detect(photo).scores.tolist()
    unsure = {"threshold": (best + 1) / 2}
    assert variant(toy_weights, onet=unsure, lone_threshold=other / 2).detect(photo).scores.tolist() == [best]
    assert len(variant(toy_weights, onet=unsure, lone_threshold=(best + 1) / 2).detect(photo)) == 0
    # Beside a sure one, the unsure stay away.
    assert len(variant(toy_weights, onet={"threshold": (best + other) / 2}, lone_threshold=0.0).detect(photo)) == 1


def test_proposals_are_those_that_plain_loops_read_from_the_maps(detector: Detector, portrait: Pixels) -> None:
    height, width = 480, 512
    octaves = Octaves(np.ascontiguousarray(portrait[:height, :width]))
    session = make_session(detector.manifest.read("pnet.onnx"), providers=[CPU])
    names = [f"map{stride}" for stride in STRIDES]
    planes = np.ascontiguousarray(octaves[0].transpose(2, 0, 1))[None]
    maps = dict(zip(STRIDES, (found[0] for found in session.run(names, {"pixels": planes})), strict=True))
    stage = dataclasses.replace(detector.manifest.stages["pnet"], nms_iou=1.0, limit=100_000)
    settings = dataclasses.replace(detector.manifest, passes=(1.0,), stages={**detector.manifest.stages, "pnet": stage})
    found = Detector(settings, providers=[CPU]).propose(octaves)
    expected = sorted(proposals(maps, stage.threshold), reverse=True)
    assert len(found.boxes) == len(expected) > 0
    assert found.logits[:, 0] == pytest.approx([logit for logit, _ in expected], abs=1e-3)
    for box, (_, reference) in zip(found.boxes, expected, strict=True):
        assert box == pytest.approx(np.clip(reference, 0, [width, height, width, height]), abs=0.05)


def random_boxes(count: int, seed: int) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 200, (count, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 80, (count, 2))], axis=1).astype(np.float32)
    # Logits, so half of them negative.
    return boxes, random.normal(size=count).astype(np.float32)


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("limit", [1, 20, 500])
def test_suppression_keeps_what_the_greedy_loop_keeps(toy: Detector, iou: float, limit: int) -> None:
    boxes, scores = random_boxes(200, seed=int(iou * 10) + limit)
    assert toy.suppress(boxes, scores, iou, limit).tolist() == greedy(boxes, scores, iou, limit)


def test_suppression_of_nothing_is_nothing(toy: Detector) -> None:
    assert toy.suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5, 10).tolist() == []
