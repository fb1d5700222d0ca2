"""What the manifest says is what is done with crops and logits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ml.classifier import Classifier
from ml.geometry import Pixels, crop_squares
from ml.session import CPU
from ml.types import STATES

BOXES = np.array([[178, 70, 272, 180], [0, 0, 40, 60], [300, 300, 500, 420]], np.float32)


def changed(weights: Path, folder: Path, **entries: Any) -> Classifier:
    copy = Path(shutil.copytree(weights, folder / "weights"))
    path = copy / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return Classifier(copy, providers=[CPU])


def expected(
    weights: Path,
    portrait: Pixels,
    *,
    margin: float = 1.35,
    mean: float = 127.5,
    scale: float = 128.0,
    heat: float = 1.0,
) -> np.ndarray:
    """Do by hand what the tests' network does: average each colour of a crop, weigh the averages, softmax."""
    (constant,) = onnx.load(weights / "classifier.onnx").graph.initializer
    colours = crop_squares(portrait, BOXES, 96, margin).astype(np.float64).mean(axis=(1, 2))
    raised = np.exp((colours - mean) / scale @ numpy_helper.to_array(constant) / heat)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def test_probabilities_are_the_softmax_of_the_networks_logits(weights: Path, portrait: Pixels) -> None:
    found = Classifier(weights, providers=[CPU]).classify(portrait, BOXES)
    assert found.shape == (3, len(STATES))
    assert np.allclose(found, expected(weights, portrait), atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.05


def test_the_temperature_of_the_manifest_cools_the_logits(weights: Path, portrait: Pixels, tmp_path: Path) -> None:
    found = changed(weights, tmp_path, temperature=0.25).classify(portrait, BOXES)
    assert np.allclose(found, expected(weights, portrait, heat=0.25), atol=1e-5)


def test_the_margin_of_the_manifest_widens_the_crops(weights: Path, portrait: Pixels, tmp_path: Path) -> None:
    found = changed(weights, tmp_path, crop={"margin": 2.0}).classify(portrait, BOXES)
    assert np.allclose(found, expected(weights, portrait, margin=2.0), atol=1e-5)


def test_mean_and_scale_of_the_manifest_normalise_the_pixels(weights: Path, portrait: Pixels, tmp_path: Path) -> None:
    crops = json.loads((weights / "classifier.json").read_text())["input"] | {"mean": 100.0, "scale": 64.0}
    found = changed(weights, tmp_path, input=crops).classify(portrait, BOXES)
    assert np.allclose(found, expected(weights, portrait, mean=100.0, scale=64.0), atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 50])
def test_any_number_of_faces_keeps_its_order(weights: Path, portrait: Pixels, count: int) -> None:
    boxes = np.resize(BOXES, (count, 4))
    found = Classifier(weights, providers=[CPU]).classify(portrait, boxes)
    assert found.shape == (count, len(STATES))
    assert np.allclose(found, np.resize(expected(weights, portrait), (count, len(STATES))), atol=1e-5)
