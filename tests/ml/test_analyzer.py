import dataclasses
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ml.analyzer import Analyzer
from ml.classifier import Classifier, softmax
from ml.detector import Detector
from ml.geometry import Pixels, crop_squares
from ml.images import decode
from ml.session import CPU
from ml.types import STATES, FaceReading, ImageError, WeightsError
from tests.ml.forking import faces_of
from tests.ml.networks import write_classifier

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def analyzer(weights: Path) -> Analyzer:
    return Analyzer(providers=[CPU], weights=weights)


@pytest.fixture(scope="module")
def two_faces(portrait: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set the portrait beside a smaller copy of itself, the small one first."""
    small = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA)
    scene = np.full((512, 832, 3), 240, np.uint8)
    scene[96:416, :320], scene[:, 320:] = small, portrait
    path = tmp_path_factory.mktemp("photos") / "two faces.png"
    Image.fromarray(scene).save(path)
    return path


def test_it_reads_each_face_with_its_state_the_largest_first(analyzer: Analyzer, two_faces: Path) -> None:
    reading = analyzer.analyze(two_faces)
    assert (reading.width, reading.height) == (832, 512)
    assert len(reading.faces) == 2
    large, small = reading.faces
    assert large.box.x1 > 320 > small.box.x2
    for face in reading.faces:
        assert tuple(face.probabilities) == STATES
        assert sum(face.probabilities.values()) == pytest.approx(1)
        assert face.probabilities[face.label] == max(face.probabilities.values())
    assert min(reading.timings.decode_ms, reading.timings.detect_ms, reading.timings.classify_ms) > 0


def test_bytes_and_files_are_read_alike_and_always_the_same(analyzer: Analyzer, two_faces: Path) -> None:
    first = faces_of(analyzer.analyze(two_faces))
    assert faces_of(analyzer.analyze(two_faces.read_bytes())) == first
    assert faces_of(analyzer.analyze(two_faces)) == first


def test_boxes_are_those_of_the_upright_photo(analyzer: Analyzer, portrait: Pixels, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(portrait).crop((0, 0, 512, 400)).rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    reading = analyzer.analyze(tmp_path / "turned.png")
    assert (reading.width, reading.height) == (512, 400)
    (face,) = reading.faces
    assert 170 < face.box.x1 < face.box.x2 < 280
    assert 60 < face.box.y1 < face.box.y2 < 190


@pytest.mark.parametrize(("size", "orientation"), [((4000, 3000), 1), ((3001, 4003), 8)])
def test_a_large_photo_is_read_as_if_it_were_decoded_whole(
    analyzer: Analyzer, detector: Detector, portrait: Pixels, size: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    scene = Image.new("RGB", size, (190, 200, 205))
    for side, place in ((1800, (60, 200)), (900, (size[0] - 950, size[1] - 940))):
        scene.paste(Image.fromarray(portrait).resize((side, side)), place)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = scene.transpose(Image.Transpose.ROTATE_270) if orientation == 8 else scene
    stored.save(tmp_path / "large.jpg", exif=exif, quality=90)
    reading = analyzer.analyze(tmp_path / "large.jpg")
    assert (reading.width, reading.height) == size
    whole = detector.detect(decode(tmp_path / "large.jpg")).boxes
    assert len(reading.faces) == len(whole) == 2
    for face, box in zip(reading.faces, sorted(whole.tolist(), key=lambda box: box[0] - box[2]), strict=True):
        assert dataclasses.astuple(face.box) == pytest.approx(box, abs=4)


def test_a_photo_without_faces_is_read_as_such(analyzer: Analyzer, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "gray").save(tmp_path / "gray.png")
    reading = analyzer.analyze(tmp_path / "gray.png")
    assert (reading.width, reading.height, reading.faces) == (300, 200, ())


def test_what_is_no_photo_is_refused_with_a_code(analyzer: Analyzer) -> None:
    with pytest.raises(ImageError) as caught:
        analyzer.analyze(b"no photo")
    assert caught.value.code == "not_an_image"


def test_a_reading_can_be_sent_to_another_process(analyzer: Analyzer, two_faces: Path) -> None:
    reading = analyzer.analyze(two_faces)
    assert pickle.loads(pickle.dumps(reading)) == reading  # noqa: S301 - it was written one call earlier


def test_threads_share_one_analyzer(analyzer: Analyzer, two_faces: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        readings = list(pool.map(analyzer.analyze, [two_faces] * 8))
    assert all(faces_of(reading) == faces_of(readings[0]) for reading in readings)


def fork_and_read(what: str, weights: Path, photo: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.ml.forking", what, str(weights), str(photo), str(threads)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_it_reads_before_a_fork_and_after_it_on_both_sides(weights: Path, two_faces: Path, threads: int) -> None:
    answer = fork_and_read("read", weights, two_faces, threads)
    assert len(answer["before"]) == 2
    assert np.allclose(answer["child"], answer["before"], atol=1e-4)
    assert answer["after"] == answer["before"]
    # Sessions that were inherited would answer too, but slowly: their threads stayed with the parent.
    assert answer["alive"] >= threads


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_lock_held_by_another_thread_at_the_fork_does_not_stop_the_child(weights: Path, two_faces: Path) -> None:
    assert len(fork_and_read("lock", weights, two_faces, 1)["child"]) == 2


@pytest.mark.parametrize("module", ["ml", "ml.analyzer", "ml.types", "ml.manifest", "ml.images"])
def test_importing_it_loads_no_runtime(module: str) -> None:
    program = f"import sys, json, {module}; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {"onnxruntime", "onnx", "torch", "tensorflow", "django"}


def test_making_one_and_asking_for_digests_loads_no_runtime(weights: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from ml.analyzer import Analyzer
analyzer = Analyzer(weights=Path({str(weights)!r}))
print(analyzer.detector_digest, analyzer.classifier_digest, "onnxruntime" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    detector, classifier, loaded = run.stdout.split()
    assert (len(detector), len(classifier), loaded) == (64, 64, "False")
    assert detector != classifier


def test_missing_weights_are_reported_when_they_are_needed(tmp_path: Path) -> None:
    analyzer = Analyzer(weights=tmp_path)
    for use in (analyzer.warm, lambda: analyzer.detector_digest, lambda: analyzer.classifier_digest):
        with pytest.raises(WeightsError, match=r"is missing; restore it from the repository"):
            use()


def test_a_network_that_answers_another_number_of_states_is_refused(tmp_path: Path, portrait: Pixels) -> None:
    write_classifier(tmp_path, states=STATES, outputs=3)
    classifier = Classifier(tmp_path, providers=[CPU])
    with pytest.raises(WeightsError, match="4 states"):
        classifier.classify(portrait, np.array([[0, 0, 50, 50]], np.float32))


def test_classification_does_not_depend_on_the_batch(weights: Path, portrait: Pixels) -> None:
    classifier = Classifier(weights, providers=[CPU])
    random = np.random.default_rng(4)
    low = random.uniform(0, 300, (37, 2))
    boxes = np.concatenate([low, low + random.uniform(20, 200, (37, 1))], axis=1).astype(np.float32)
    together = classifier.classify(portrait, boxes)
    assert together.shape == (37, 4)
    assert np.allclose(together.sum(axis=1), 1)
    for row, box in zip(together, boxes, strict=True):
        assert np.allclose(classifier.classify(portrait, box[None])[0], row, atol=1e-6)


def test_the_classifier_sees_the_crops_its_manifest_describes(weights: Path, portrait: Pixels) -> None:
    box = np.array([[178, 70, 272, 180]], np.float32)
    crop = crop_squares(portrait, box, 96, 1.35).astype(np.float64)
    means = ((crop - 127.5) / 128).mean(axis=(1, 2))
    kernel = np.random.default_rng(7).normal(size=(3, 4)).astype(np.float32)
    found = Classifier(weights, providers=[CPU]).classify(portrait, box)
    assert np.allclose(found, softmax(means @ kernel), atol=1e-5)


def test_no_faces_have_no_states(weights: Path, portrait: Pixels) -> None:
    found = Classifier(weights, providers=[CPU]).classify(portrait, np.empty((0, 4), np.float32))
    assert found.shape == (0, 4)


def test_softmax_bears_large_logits() -> None:
    assert softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_label_is_the_likeliest_state(analyzer: Analyzer, two_faces: Path) -> None:
    face = analyzer.analyze(two_faces).faces[0]
    other = FaceReading(face.box, face.score, {"mask": 0.2, "no_mask": 0.1, "incorrect": 0.6, "occluded": 0.1})
    assert other.label == "incorrect"
