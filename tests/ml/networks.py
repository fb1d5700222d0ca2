"""Weights for tests: the real detector, and a tiny classifier with random weights beside it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ml.convert import write_detector
from ml.types import STATES

SIZE = 96


def write_weights(folder: Path) -> Path:
    """Fill a folder as `ml/weights` is filled."""
    write_detector(folder)
    write_classifier(folder)
    return folder


def write_classifier(folder: Path, states: tuple[str, ...] = STATES, outputs: int | None = None) -> None:
    """Write a network that averages each colour of a crop and weighs the three averages."""
    outputs = len(states) if outputs is None else outputs
    weights = np.random.default_rng(7).normal(size=(3, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["crops"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / "classifier.onnx").write_bytes(content)
    manifest = {
        "name": "test",
        "version": "1",
        "file": "classifier.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {
            "name": "crops", "size": SIZE, "layout": "NCHW", "color": "RGB", "mean": 127.5, "scale": 128.0
        },
        "output": {"name": "logits", "states": list(states)},
        "temperature": 1.0,
        "crop": {"margin": 1.35},
        "opset": 17,
        "trained_on": "nothing",
        "metrics": {},
    }  # fmt: skip
    (folder / "classifier.json").write_text(json.dumps(manifest))
