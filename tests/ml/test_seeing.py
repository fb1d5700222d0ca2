"""What the shipped detector sees on the demonstration's pictures."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.detector import Detector
from ml.geometry import Pixels
from ml.images import decode
from tests.ml.reference import overlap

PHOTOS = Path(__file__).resolve().parents[2] / "mask_social" / "demo" / "photos"
#: Where Eileen Collins's face is, give or take: left, top, right, bottom.
FACE = (178, 70, 272, 180)
#: And on the one that is turned over and cut closer.
CLOSER = (183, 109, 329, 279)


@pytest.mark.parametrize(
    ("name", "face"),
    [("portrait", FACE), ("surgical", FACE), ("patterned", FACE), ("under_nose", FACE), ("gps", CLOSER)],
)
def test_it_finds_the_face_bare_and_under_a_mask(
    detector: Detector, name: str, face: tuple[int, int, int, int]
) -> None:
    photo = decode(PHOTOS / f"{name}.jpg")
    found = detector.detect(photo)
    assert len(found) == 1
    assert 0.5 < found.scores[0] <= 1
    assert overlap(found.boxes[0] * 512 / photo.shape[1], face) > 0.6


def test_it_finds_nobody_on_a_landscape(detector: Detector) -> None:
    assert len(detector.detect(decode(PHOTOS / "landscape.jpg"))) == 0


def test_it_finds_many_on_a_crowd(detector: Detector) -> None:
    photo = decode(PHOTOS / "crowd.jpg")
    found = detector.detect(photo)
    assert len(found) >= 10
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= [photo.shape[1], photo.shape[0]]).all()


def test_the_landmarks_are_eyes_nose_and_mouth_of_the_face(detector: Detector, portrait: Pixels) -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = detector.detect(portrait).landmarks[0]
    assert FACE[0] < left_eye[0] < nose[0] < right_eye[0] < FACE[2]
    assert FACE[1] < max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < FACE[3]
    assert left_mouth[0] < right_mouth[0]


def test_it_finds_the_same_face_mirrored(detector: Detector, portrait: Pixels) -> None:
    box = detector.detect(portrait).boxes[0]
    mirrored = detector.detect(np.ascontiguousarray(portrait[:, ::-1])).boxes[0]
    width = portrait.shape[1]
    assert overlap(box, (width - mirrored[2], mirrored[1], width - mirrored[0], mirrored[3])) > 0.75


@pytest.mark.parametrize("factor", [0.4, 2.0, 6.0])
def test_boxes_are_in_pixels_of_the_photo_at_any_size(detector: Detector, portrait: Pixels, factor: float) -> None:
    scaled = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    found = detector.detect(scaled)
    assert len(found) == 1
    assert overlap(found.boxes[0] / factor, FACE) > 0.6


def test_a_face_that_fills_the_frame_is_found(detector: Detector, portrait: Pixels) -> None:
    face = cv2.resize(portrait[60:200, 150:290], (1200, 1200), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    found = detector.detect(face)
    assert len(found) == 1
    x1, y1, x2, y2 = found.boxes[0] / 1200 * 140 + (150, 60, 150, 60)
    assert overlap((x1, y1, x2, y2), FACE) > 0.5


def test_gray_around_a_photo_changes_little(detector: Detector, portrait: Pixels) -> None:
    cut = portrait[:333, :401]
    padded = np.full((352, 416, 3), 127, np.uint8)
    padded[:333, :401] = cut
    (box,), (other,) = detector.detect(np.ascontiguousarray(cut)).boxes, detector.detect(padded).boxes
    assert overlap(box, other) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (5, 700), (40, 40), (1, 30_000), (2000, 20), (333, 4001)])
@pytest.mark.parametrize("gray", [0, 127, 255])
def test_a_photo_of_one_colour_has_no_face(detector: Detector, size: tuple[int, int], gray: int) -> None:
    found = detector.detect(np.full((*size, 3), gray, np.uint8))
    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_crowd_costs_bounded_memory_and_candidates(weights: Path, portrait_file: Path) -> None:
    # 625 faces in four million pixels.
    program = f"""
import json, resource
from pathlib import Path
import cv2, numpy as np
from ml.detector import Detector
from ml.images import decode
detector = Detector(Path({str(weights)!r}), providers=["CPUExecutionProvider"])
face = decode(Path({str(portrait_file)!r}))[40:220, 140:320]
detector.detect(face)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
crowd = np.tile(cv2.resize(face, (80, 80), interpolation=cv2.INTER_AREA), (25, 25, 1))
found = detector.detect(crowd)
limit = min(stage.limit for stage in detector.manifest.stages.values())
print(json.dumps([len(found), limit, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    faces, limit, megabytes = json.loads(run.stdout)
    assert 20 < faces <= limit
    assert megabytes < 250
