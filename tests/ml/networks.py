"""Weights for tests: the shipped detector with a tiny classifier, and a cascade that takes white squares for faces."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ml.manifest import DETECTOR, WEIGHTS, DetectorManifest
from ml.types import STATES

SIZE = 96
STRIDES = (8, 16, 32)
#: Of the squares that the toy cascade finds in one look, in pixels of what it looks at: three cells of each stride, and
#: a fifth more or less.
SIDES = tuple(3 * stride for stride in STRIDES)
_WHITE, _MARGIN = 200.0, 2.0


def write_weights(folder: Path) -> Path:
    """Fill a folder as `ml/weights` is filled, with a classifier that can be counted by hand."""
    for name in (DETECTOR, *DetectorManifest.load().files):
        shutil.copyfile(WEIGHTS / name, folder / name)
    write_classifier(folder)
    return folder


def write_classifier(folder: Path, states: tuple[str, ...] = STATES, outputs: int | None = None) -> None:
    """Write a network that averages each colour of a crop and weighs the three averages."""
    outputs = len(states) if outputs is None else outputs
    weights = np.random.default_rng(7).normal(size=(3, outputs)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["crops"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    crops = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    content = _model(nodes, crops, {"logits": ["N", outputs]}, {"weights": weights})
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


def write_cascade(folder: Path, **settings: Any) -> Path:
    """Write a detector that finds white squares on darker ground; see `SIDES` for how large they may be.

    The first network proposes a square of three cells around each white cell, the second takes what has dark ground on
    all sides, the third measures it as well.
    """
    contents = {"pnet.onnx": _proposals(), "rnet.onnx": _judge(24), "onet.onnx": _judge(56, measures=True)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    shutil.copyfile(WEIGHTS / "nms.onnx", folder / "nms.onnx")
    names = (*contents, "nms.onnx")
    manifest = {
        "name": "toy",
        "version": "1",
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        "long_side": 1280,
        "min_face": 20,
        "strides": list(STRIDES),
        "passes": [1.0, 0.25],
        "least_face": 40,
        "least_pass": 32,
        "stages": {
            "pnet": {"threshold": 0.5, "nms_iou": 0.6, "limit": 300},
            "rnet": {"threshold": 0.5, "nms_iou": 0.6, "limit": 150, "size": 24, "margin": _MARGIN, "chunk": 64},
            "onet": {"threshold": 0.5, "nms_iou": 0.4, "limit": 256, "size": 56, "margin": _MARGIN, "chunk": 16},
        },
        "nested_share": 0.7,
        "score": {"weights": [0.0, 0.0, 1.0], "bias": 0.0},
        "lone_threshold": 0.5,
        "look_again": {"threshold": 0.05, "nms_iou": 0.6, "sure_at_once": 0.9999},
    }
    (folder / DETECTOR).write_text(json.dumps({**manifest, **settings}))
    return folder


def _proposals() -> bytes:
    """Return a network that maps pixels uint8 [1, 3, H, W] to a map [1, 5, h, w] per stride, sure on white cells."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["gray"], axes=[1]),
        *_is_white("gray", "white"),
    ]
    for stride in STRIDES:
        names = ("share", "around", "much", "more", "lost", "bright", "certain", "none", "wide")
        share, around, much, more, lost, bright, certain, none, wide = (f"{name}{stride}" for name in names)
        nodes += [
            helper.make_node("AveragePool", ["white"], [share], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("AveragePool", [share], [around], kernel_shape=[5, 5], pads=[2] * 4, count_include_pad=1),
            # In a square too large for this stride more of the five cells each way is white.
            *_line(around, 1.0, -0.55, much),
            helper.make_node("Relu", [much], [more]),
            *_line(more, -200.0, 0.0, lost),
            *_line(share, 50.0, -45.0, bright),
            helper.make_node("Add", [bright, lost], [certain]),
            *_line(share, 0.0, 0.0, none),
            *_line(share, 0.0, float(np.log(3)), wide),
            helper.make_node("Concat", [certain, none, none, wide, wide], [f"map{stride}"], axis=1),
        ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 3, "H", "W"])
    return _model(nodes, pixels, {f"map{stride}": [1, 5, f"h{stride}", f"w{stride}"] for stride in STRIDES}, {})


def _judge(size: int, *, measures: bool = False) -> bytes:
    """Return a network that maps crops uint8 [N, S, S, 3] to logits, best for the frame's own size; and offsets."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["gray"], axes=[3], keepdims=0),
        *_is_white("gray", "white"),
        helper.make_node("ReduceMean", ["white"], ["share"], axes=[1, 2], keepdims=0),
        *_line("share", 1.0, -1 / _MARGIN**2, "off"),
        helper.make_node("Abs", ["off"], ["apart"]),
        helper.make_node("Mul", ["white", "ring"], ["rim"]),
        helper.make_node("ReduceMax", ["rim"], ["cut"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["apart", "cut"], ["amiss"]),
        *_line("amiss", -20.0, 5.0, "flat"),
        helper.make_node("Unsqueeze", ["flat", "one"], ["logits"]),
    ]
    outputs: dict[str, list[Any]] = {"logits": ["N", 1], "offsets": ["N", 4]}
    if measures:
        nodes += _measured(size)
        outputs["landmarks"] = ["N", 10]
    else:
        nodes.append(helper.make_node("MatMul", ["logits", "nowhere"], ["offsets"]))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])
    ring = np.ones((1, size, size), np.float32)
    ring[:, 1:-1, 1:-1] = 0
    constants = {"one": np.array([1]), "ring": ring, "nowhere": np.zeros((1, 4), np.float32), "points": _points()}
    used = {name for node in nodes for name in node.input}
    return _model(nodes, pixels, outputs, {name: value for name, value in constants.items() if name in used})


def _measured(size: int) -> list[NodeProto]:
    """Find the white extent of crops, in units of the square before it was widened."""
    nodes = []
    for side, axis in (("x", 1), ("y", 2)):
        nodes.append(helper.make_node("ReduceMax", ["white"], [f"{side}profile"], axes=[axis], keepdims=0))
        for edge, last in (("1", 0), ("2", 1)):
            found, pixel = f"{side}{edge}pixel", f"{side}{edge}float"
            nodes.append(helper.make_node("ArgMax", [f"{side}profile"], [found], axis=1, select_last_index=last))
            nodes.append(helper.make_node("Cast", [found], [pixel], to=TensorProto.FLOAT))
            # The last white pixel ends one further; the corners that offsets count from lie at 0 and at 1.
            start = (last - size / 2) * _MARGIN / size + 0.5
            nodes += _line(pixel, _MARGIN / size, start, f"{side}{edge}")
            nodes += _line(f"{side}{edge}", 1.0, -float(last), f"{side}{edge}offset")
    return [
        *nodes,
        helper.make_node("Concat", ["x1offset", "y1offset", "x2offset", "y2offset"], ["offsets"], axis=1),
        helper.make_node("Concat", ["x1", "y1", "x2", "y2"], ["box"], axis=1),
        helper.make_node("MatMul", ["box", "points"], ["landmarks"]),
    ]


def _points() -> np.ndarray:
    """Return [4, 10]: where eyes, nose and mouth lie between the corners of a box."""
    places = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    points = np.zeros((4, 10), np.float32)
    for number, (x, y) in enumerate(places):
        points[[0, 2], 2 * number] = 1 - x, x
        points[[1, 3], 2 * number + 1] = 1 - y, y
    return points


def _is_white(source: str, target: str) -> list[NodeProto]:
    return [
        helper.make_node("Constant", [], [f"{target}limit"], value_float=_WHITE),
        helper.make_node("Greater", [source, f"{target}limit"], [f"{target}bool"]),
        helper.make_node("Cast", [f"{target}bool"], [target], to=TensorProto.FLOAT),
    ]


def _line(source: str, slope: float, start: float, target: str) -> list[NodeProto]:
    return [
        helper.make_node("Constant", [], [f"{target}slope"], value_float=slope),
        helper.make_node("Constant", [], [f"{target}start"], value_float=start),
        helper.make_node("Mul", [source, f"{target}slope"], [f"{target}part"]),
        helper.make_node("Add", [f"{target}part", f"{target}start"], [target]),
    ]


def _model(
    nodes: Sequence[NodeProto], given: Any, outputs: dict[str, list[Any]], constants: dict[str, np.ndarray]
) -> bytes:
    found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    arrays = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "test", [given], found, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
