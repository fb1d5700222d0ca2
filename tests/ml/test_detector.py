import dataclasses
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.bench import MatrixDetector
from ml.detector import Detector, _ask, to_squares
from ml.geometry import Floats, Pixels, crop_squares
from ml.manifest import DetectorManifest
from ml.session import CPU

#: Where Eileen Collins's face is, give or take: left, top, right, bottom.
FACE = (178, 70, 272, 180)


def overlap(a: Floats | tuple[float, ...], b: Floats | tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def variant(weights: Path, **settings: float) -> Detector:
    return Detector(dataclasses.replace(DetectorManifest.load(weights), **settings), providers=[CPU])  # type: ignore[arg-type]  # one type for all settings


@pytest.fixture(scope="module")
def whole(weights: Path) -> Detector:
    return variant(weights, strip_pixels=1 << 40)


@pytest.mark.parametrize("strip_pixels", [1, 2_000, 32_768])
@pytest.mark.parametrize("size", [(12, 12), (13, 12), (14, 300), (101, 77), (256, 191), (512, 512)])
def test_strips_give_the_same_bits_as_one_run(
    weights: Path, whole: Detector, portrait: Pixels, size: tuple[int, int], strip_pixels: int
) -> None:
    level = cv2.resize(portrait, (size[1], size[0])).astype(np.uint8)
    assert np.array_equal(variant(weights, strip_pixels=strip_pixels).score_maps(level), whole.score_maps(level))


def test_it_finds_the_face_on_the_portrait(detector: Detector, portrait: Pixels) -> None:
    found = detector.detect(portrait)
    assert len(found) == 1
    assert found.scores[0] > 0.98
    assert overlap(found.boxes[0], FACE) > 0.8
    assert found.landmarks.shape == (1, 5, 2)
    assert {str(array.dtype) for array in (found.boxes, found.scores, found.landmarks)} == {"float32"}


def test_the_landmarks_are_eyes_nose_and_mouth_of_the_face(detector: Detector, portrait: Pixels) -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = detector.detect(portrait).landmarks[0]
    assert FACE[0] < left_eye[0] < nose[0] < right_eye[0] < FACE[2]
    assert FACE[1] < max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < FACE[3]
    assert left_mouth[0] < right_mouth[0]


def test_it_finds_the_same_face_mirrored(detector: Detector, portrait: Pixels) -> None:
    box = detector.detect(portrait).boxes[0]
    mirrored = detector.detect(np.ascontiguousarray(portrait[:, ::-1])).boxes[0]
    width = portrait.shape[1]
    assert overlap(box, (width - mirrored[2], mirrored[1], width - mirrored[0], mirrored[3])) > 0.85


def test_the_second_look_sees_in_a_mirror_what_the_first_sees(detector: Detector, portrait: Pixels) -> None:
    box = np.array([FACE], np.float32)
    flipped = np.array([[512 - FACE[2], FACE[1], 512 - FACE[0], FACE[3]]], np.float32)
    crops = crop_squares(portrait, box, 48)
    straight = _ask(detector._onet, crops, to_squares(box), 16)
    # The photo's mirror image, mirrored once more, is the photo: the same answer, told in the mirror's pixels.
    mirror = crop_squares(np.ascontiguousarray(portrait[:, ::-1]), flipped, 48)
    assert np.abs(mirror[:, :, ::-1].astype(int) - crops).max() <= 1
    again = _ask(detector._onet, mirror[:, :, ::-1], to_squares(flipped), 16, mirrored=True)
    x1, y1, x2, y2 = again.boxes[0]
    assert np.array([512 - x2, y1, 512 - x1, y2]) == pytest.approx(straight.boxes[0], abs=0.5)
    assert again.logits == pytest.approx(straight.logits, abs=0.1)
    assert abs(x1 + x2 - (flipped[0, 0] + flipped[0, 2])) > 1


def test_a_find_within_a_better_one_is_dropped(weights: Path, portrait: Pixels) -> None:
    manifest = DetectorManifest.load(weights)
    stages = {name: dataclasses.replace(stage, nms_iou=0.95) for name, stage in manifest.stages.items()}
    doubtful = dataclasses.replace(manifest, stages=stages)
    everything = Detector(dataclasses.replace(doubtful, nested_share=1.0), providers=[CPU]).detect(portrait)
    assert len(everything) > 1
    (box,) = Detector(doubtful, providers=[CPU]).detect(portrait).boxes
    assert np.array_equal(box, everything.boxes[0])


def test_no_stage_hands_on_more_than_its_limit(weights: Path, portrait: Pixels) -> None:
    crowd = np.tile(cv2.resize(portrait[40:220, 140:320], (60, 60)), (8, 8, 1)).astype(np.uint8)
    manifest = DetectorManifest.load(weights)

    def found(stage: str, limit: int) -> int:
        stages = {**manifest.stages, stage: dataclasses.replace(manifest.stages[stage], limit=limit)}
        return len(Detector(dataclasses.replace(manifest, stages=stages), providers=[CPU]).detect(crowd))

    assert found("onet", 256) > 20
    # A face found at one place is proposed at several, so that even a few proposals cannot make more faces.
    assert all(found(stage, 5) <= 5 for stage in ("pnet_levels", "rnet", "onet", "second_look"))


@pytest.mark.parametrize("factor", [0.4, 2.0, 6.0])
def test_boxes_are_in_pixels_of_the_photo_at_any_size(detector: Detector, portrait: Pixels, factor: float) -> None:
    scaled = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    found = detector.detect(scaled)
    assert len(found) == 1
    assert overlap(found.boxes[0] / factor, FACE) > 0.75


def test_a_face_cut_by_the_edge_keeps_its_box_inside(detector: Detector, portrait: Pixels) -> None:
    cut = np.ascontiguousarray(portrait[100:400, 150:400])
    for x1, y1, x2, y2 in detector.detect(cut).boxes:
        assert 0 <= x1 < x2 <= 250
        assert 0 <= y1 < y2 <= 300


@pytest.mark.parametrize("size", [(1, 1), (5, 700), (11, 11), (12, 12), (31, 31), (40, 40), (1, 30_000), (2000, 20)])
@pytest.mark.parametrize("gray", [0, 127, 255])
def test_a_photo_without_faces_gives_none(detector: Detector, size: tuple[int, int], gray: int) -> None:
    found = detector.detect(np.full((*size, 3), gray, np.uint8))
    assert len(found) == 0
    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_the_pyramid_begins_where_the_smallest_face_has_twelve_pixels(detector: Detector) -> None:
    m = detector.manifest
    assert detector.scales(600, 800)[0] == pytest.approx(12 / m.min_face)
    assert detector.scales(3000, 4000)[0] == pytest.approx(12 / m.min_face * m.long_side / 4000)
    for larger, smaller in pairwise(detector.scales(600, 800)):
        assert smaller == pytest.approx(larger * m.pyramid_factor)
    assert detector.scales(10, 10) == []


def random_boxes(count: int, seed: int) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 200, (count, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 80, (count, 2))], axis=1).astype(np.float32)
    # Logits, so half of them negative.
    return boxes, random.normal(size=count).astype(np.float32)


def greedy(boxes: Floats, scores: Floats, iou: float, limit: int) -> list[int]:
    kept: list[int] = []
    for row in np.argsort(-scores):
        if len(kept) < limit and all(overlap(boxes[row], boxes[other]) <= iou for other in kept):
            kept.append(int(row))
    return kept


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("limit", [1, 20, 500])
def test_suppression_keeps_what_the_greedy_loop_keeps(detector: Detector, iou: float, limit: int) -> None:
    boxes, scores = random_boxes(200, seed=int(iou * 10) + limit)
    assert detector.suppress(boxes, scores, iou, limit).tolist() == greedy(boxes, scores, iou, limit)


def test_suppression_of_nothing_is_nothing(detector: Detector) -> None:
    assert detector.suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.5, 10).tolist() == []


def test_the_benchmarks_matrix_suppresses_the_same_boxes(weights: Path, detector: Detector) -> None:
    boxes, scores = random_boxes(300, seed=1)
    matrix = MatrixDetector(weights, providers=[CPU])
    assert matrix.suppress(boxes, scores, 0.5, 50).tolist() == detector.suppress(boxes, scores, 0.5, 50).tolist()


def test_squares_have_the_longer_side_and_the_same_centre() -> None:
    boxes = np.array([[0, 0, 10, 30], [5, 5, 25, 9]], np.float32)
    assert to_squares(boxes).tolist() == [[-10, 0, 20, 30], [5, -3, 25, 17]]
    assert to_squares(np.empty((0, 4), np.float32)).shape == (0, 4)


def test_a_crowd_costs_bounded_memory_and_candidates(weights: Path, portrait_file: Path) -> None:
    # 1,600 faces in four million pixels; a matrix of the overlaps of P-Net's proposals alone would take gigabytes.
    program = f"""
import resource
from pathlib import Path
import cv2, numpy as np
from ml.detector import Detector
from ml.images import decode
detector = Detector(Path({str(weights)!r}), providers=["CPUExecutionProvider"])
face = decode(Path({str(portrait_file)!r}))[40:220, 140:320]
detector.detect(face)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
crowd = np.tile(cv2.resize(face, (50, 50), interpolation=cv2.INTER_AREA), (40, 40, 1))
found = detector.detect(crowd)
print(len(found), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    faces, megabytes = map(int, run.stdout.split())
    assert 150 < faces <= 256
    assert megabytes < 250
