import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ml.classifier import Classifier
from ml.detector import Detector
from ml.manifest import DETECTOR_STAGES, WEIGHTS, ClassifierManifest, DetectorManifest
from ml.types import STATES, WeightsError
from tests.ml.networks import write_classifier


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights, tmp_path / "weights"))


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("name", ["pnet.onnx", "rnet.onnx", "onet.onnx", "nms.onnx", "classifier.onnx"])
def test_a_single_flipped_bit_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} is not the file its manifest names .*; restore it from the repo"):
        Classifier(copy) if name == "classifier.onnx" else Detector(copy)


@pytest.mark.parametrize("name", ["detector.json", "classifier.json", "onet.onnx", "classifier.onnx"])
def test_a_missing_file_is_named_with_what_to_do(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name} is missing; restore it from the repository"):
        Classifier(copy) if name.startswith("classifier") else Detector(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"files": 3}'])
def test_a_malformed_manifest_is_refused(copy: Path, content: str) -> None:
    for name in ("detector.json", "classifier.json"):
        (copy / name).write_text(content)
    with pytest.raises(WeightsError, match=r"detector\.json"):
        DetectorManifest.load(copy)
    with pytest.raises(WeightsError, match=r"classifier\.json"):
        ClassifierManifest.load(copy)


@pytest.mark.parametrize("stage", DETECTOR_STAGES)
def test_a_detector_without_settings_for_a_stage_is_refused(copy: Path, stage: str) -> None:
    stages = json.loads((copy / "detector.json").read_text())["stages"]
    del stages[stage]
    change(copy / "detector.json", stages=stages)
    with pytest.raises(WeightsError, match=f"no settings for the stage {stage}"):
        Detector(copy)


def test_a_stage_with_a_setting_that_nobody_knows_is_refused(copy: Path) -> None:
    stages = json.loads((copy / "detector.json").read_text())["stages"]
    stages["pnet"]["pyramid_factor"] = 0.7
    change(copy / "detector.json", stages=stages)
    with pytest.raises(WeightsError, match="pyramid_factor"):
        DetectorManifest.load(copy)


@pytest.mark.parametrize(
    "entry", ["long_side", "strides", "passes", "score", "lone_threshold", "look_again", "stages", "files"]
)
def test_a_missing_entry_of_the_detector_is_named(copy: Path, entry: str) -> None:
    values = json.loads((copy / "detector.json").read_text())
    del values[entry]
    (copy / "detector.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=f"lacks the entry '{entry}'"):
        DetectorManifest.load(copy)


def test_the_weights_that_come_along_are_those_their_manifests_name() -> None:
    detector = DetectorManifest.load()
    assert set(detector.files) == {"pnet.onnx", "rnet.onnx", "onet.onnx", "nms.onnx"}
    assert all(detector.read(name) for name in detector.files)
    assert ClassifierManifest.load().read()
    assert detector.folder == WEIGHTS


def test_an_input_layout_that_is_not_supported_is_refused(copy: Path) -> None:
    layout = json.loads((copy / "classifier.json").read_text())["input"] | {"layout": "NHWC"}
    change(copy / "classifier.json", input=layout)
    with pytest.raises(WeightsError, match="layout NHWC"):
        ClassifierManifest.load(copy)


@pytest.mark.parametrize("states", [[], ["mask", "mask"]])
def test_states_must_be_named_once_each(copy: Path, states: list[str]) -> None:
    change(copy / "classifier.json", output={"name": "logits", "states": states})
    with pytest.raises(WeightsError, match="states"):
        ClassifierManifest.load(copy)


def test_the_order_of_the_states_comes_from_the_manifest(copy: Path) -> None:
    change(copy / "classifier.json", output={"name": "logits", "states": list(reversed(STATES))})
    assert ClassifierManifest.load(copy).states == tuple(reversed(STATES))


def test_the_digest_follows_the_contents_and_not_the_layout_of_the_json(copy: Path, weights: Path) -> None:
    before = ClassifierManifest.load(weights).digest
    path = copy / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7, sort_keys=True))
    assert ClassifierManifest.load(copy).digest == before
    change(path, temperature=2.0)
    assert ClassifierManifest.load(copy).digest != before
    write_classifier(copy, states=("mask", "no_mask"))
    assert ClassifierManifest.load(copy).digest != before


def test_another_setting_makes_another_detector(copy: Path, weights: Path) -> None:
    before = DetectorManifest.load(weights)
    change(copy / "detector.json", min_face=before.min_face + 1)
    assert DetectorManifest.load(copy).digest != before.digest


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"passes": []}, "passes and strides must not be empty"),
        ({"strides": []}, "passes and strides must not be empty"),
        ({"long_side": 0}, "long_side must be positive"),
        ({"score": {"weights": [0.5, 1.0], "bias": 0.0}}, "score.weights needs one number for each stage"),
        (
            {"look_again": {"threshold": 0.0, "nms_iou": 0.6, "sure_at_once": 0.9}},
            "thresholds must lie between 0 and 1",
        ),
        ({"files": {}}, "no sha256 for pnet.onnx"),
    ],
)
def test_settings_that_would_find_nobody_are_refused(copy: Path, entries: dict[str, Any], said: str) -> None:
    change(copy / "detector.json", **entries)
    with pytest.raises(WeightsError, match=said):
        DetectorManifest.load(copy)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("threshold", 1.0, "thresholds"), ("chunk", 0, "chunk"), ("limit", 0, "limit"), ("size", 0, "size")],
)
def test_a_stage_that_would_fail_at_the_first_photo_is_refused(copy: Path, setting: str, value: Any, said: str) -> None:
    stages = json.loads((copy / "detector.json").read_text())["stages"]
    stages["onet"][setting] = value
    change(copy / "detector.json", stages=stages)
    with pytest.raises(WeightsError, match=said):
        DetectorManifest.load(copy)
