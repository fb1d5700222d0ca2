import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ml.classifier import Classifier
from ml.convert import write_detector
from ml.detector import Detector
from ml.manifest import ClassifierManifest, DetectorManifest
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
    with pytest.raises(WeightsError, match=rf"{name} is not the file its manifest names .*python -m ml setup"):
        Classifier(copy) if name == "classifier.onnx" else Detector(copy)


@pytest.mark.parametrize("name", ["detector.json", "classifier.json", "onet.onnx", "classifier.onnx"])
def test_a_missing_file_is_named_with_what_to_do(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name} is missing; .*python -m ml setup"):
        Classifier(copy) if name.startswith("classifier") else Detector(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"files": 3}'])
def test_a_malformed_manifest_is_refused(copy: Path, content: str) -> None:
    for name in ("detector.json", "classifier.json"):
        (copy / name).write_text(content)
    with pytest.raises(WeightsError, match=r"detector\.json"):
        DetectorManifest.load(copy)
    with pytest.raises(WeightsError, match=r"classifier\.json"):
        ClassifierManifest.load(copy)


def test_settings_of_an_older_detector_are_refused(copy: Path) -> None:
    stages = json.loads((copy / "detector.json").read_text())["stages"]
    del stages["second_look"]
    change(copy / "detector.json", stages=stages)
    with pytest.raises(WeightsError, match="no settings for the stage second_look"):
        Detector(copy)


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


def test_set_up_writes_the_same_bytes_each_time_and_nothing_when_all_is_there(tmp_path: Path, weights: Path) -> None:
    assert write_detector(tmp_path)
    assert DetectorManifest.load(tmp_path).digest == DetectorManifest.load(weights).digest
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert not write_detector(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


@pytest.mark.parametrize("spoil", ["onet.onnx", "detector.json"])
def test_set_up_mends_what_was_spoilt(copy: Path, weights: Path, spoil: str) -> None:
    (copy / spoil).write_bytes(b"spoilt")
    assert write_detector(copy)
    assert (copy / spoil).read_bytes() == (weights / spoil).read_bytes()


def test_set_up_replaces_a_detector_with_other_settings(copy: Path) -> None:
    change(copy / "detector.json", min_face=99)
    assert write_detector(copy)
    assert DetectorManifest.load(copy).min_face != 99
