"""Write the detector's three networks as ONNX, from the weight files inside the `mtcnn` wheel (MIT).

The cascade is that of Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016. Only the arrays are read, with joblib; neither the wheel's code nor TensorFlow is
imported. The same arrays always give the same bytes, so the digest is the same on every machine.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.manifest import DETECTOR, DetectorManifest
from ml.types import WeightsError

Array = npt.NDArray[np.float32]

VERSION = "classic-1"
_OPSET = 17
_IR_VERSION = 9
# Pixels reach the networks as bytes; (x - 127.5) / 128 is folded into the first convolution, which never pads.
_MEAN = 127.5
_SCALE = 128.0


class _Graph:
    """Collect the nodes and constants of one network, a value at a time."""

    def __init__(self, *, prelu_op: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prelu_op = prelu_op
        self._count = 0

    def constant(self, name: str, value: Array | npt.NDArray[np.int64]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        self._count += 1
        output = output or f"v{self._count}"
        node = helper.make_node(kind, list(inputs), [output], name=f"n{self._count}_{kind}", **attributes)
        self.nodes.append(node)
        return output

    def pixels(self, x: str) -> str:
        return self.add("Transpose", [self.add("Cast", [x], to=1)], perm=[0, 3, 1, 2])

    def conv(self, x: str, name: str, kernel_hwio: Array, bias: Array, output: str | None = None) -> str:
        weights = self.constant(f"{name}_w", kernel_hwio.transpose(3, 2, 0, 1))
        return self.add("Conv", [x, weights, self.constant(f"{name}_b", bias)], output)

    def dense(self, x: str, name: str, kernel_io: Array, bias: Array, output: str | None = None) -> str:
        weights = self.constant(f"{name}_w", kernel_io)
        return self.add("Gemm", [x, weights, self.constant(f"{name}_b", bias)], output)

    def prelu(self, x: str, name: str, slope: Array) -> str:
        """Add PReLU as a*x + (1-a)*relu(x), which is the same: ONNX Runtime's own PRelu is not vectorised."""
        if self._prelu_op:
            return self.add("PRelu", [x, self.constant(f"{name}_a", slope)])
        scaled = self.add("Mul", [x, self.constant(f"{name}_a", slope)])
        positive = self.add("Mul", [self.add("Relu", [x]), self.constant(f"{name}_1a", np.float32(1) - slope)])
        return self.add("Add", [scaled, positive])

    def pool(self, x: str, size: int, pads: Sequence[int] = (0, 0, 0, 0), *, ceil: bool = False) -> str:
        kernel = [size, size]
        return self.add("MaxPool", [x], kernel_shape=kernel, strides=[2, 2], pads=list(pads), ceil_mode=int(ceil))


def _folded(kernel_hwio: Array, bias: Array) -> tuple[Array, Array]:
    wide = kernel_hwio.astype(np.float64)
    shifted = bias.astype(np.float64) - wide.sum(axis=(0, 1, 2)) * (_MEAN / _SCALE)
    return (wide / _SCALE).astype(np.float32), shifted.astype(np.float32)


def _per_channel(slope: Array) -> Array:
    return slope.reshape(-1, 1, 1)


def _face_logit(kernel: Array, bias: Array) -> tuple[Array, Array]:
    # softmax([a, b])[1] is sigmoid(b - a), so the difference says all.
    return kernel[..., 1:2] - kernel[..., 0:1], bias[1:2] - bias[0:1]


def _channels_first(kernel_io: Array, channels: int, side: int) -> Array:
    # The weights expect features flattened as width, height, channel; ours are channel, height, width.
    outputs = kernel_io.shape[1]
    return kernel_io.reshape(side, side, channels, outputs).transpose(2, 1, 0, 3).reshape(-1, outputs)


def build_pnet(w: Sequence[Array], *, prelu_op: bool = False) -> bytes:
    """Write P-Net: pixels uint8 [N, H, W, 3] to maps [N, 5, h, w], stride 2: the face's logit, four offsets."""
    g = _Graph(prelu_op=prelu_op)
    x = g.conv(g.pixels("pixels"), "conv1", *_folded(w[0], w[1]))
    x = g.pool(g.prelu(x, "prelu1", _per_channel(w[2])), 2, ceil=True)
    x = g.prelu(g.conv(x, "conv2", w[3], w[4]), "prelu2", _per_channel(w[5]))
    x = g.prelu(g.conv(x, "conv3", w[6], w[7]), "prelu3", _per_channel(w[8]))
    # One convolution for both: a single output channel costs as much as sixteen.
    logit, bias = _face_logit(w[11], w[12])
    g.conv(x, "maps", np.concatenate([logit, w[9]], axis=3), np.concatenate([bias, w[10]]), "maps")
    return _model(g, "pnet", ["N", "H", "W", 3], {"maps": ["N", 5, "h", "w"]})


def build_rnet(w: Sequence[Array], *, prelu_op: bool = False) -> bytes:
    """Write R-Net: pixels uint8 [N, 24, 24, 3] to logits [N, 1] and offsets [N, 4]."""
    g = _Graph(prelu_op=prelu_op)
    x = g.conv(g.pixels("pixels"), "conv1", *_folded(w[0], w[1]))
    x = g.pool(g.prelu(x, "prelu1", _per_channel(w[2])), 3, (0, 0, 1, 1))
    x = g.prelu(g.conv(x, "conv2", w[3], w[4]), "prelu2", _per_channel(w[5]))
    x = g.prelu(g.conv(g.pool(x, 3), "conv3", w[6], w[7]), "prelu3", _per_channel(w[8]))
    x = g.dense(g.add("Flatten", [x]), "fc4", _channels_first(w[9], 64, 3), w[10])
    x = g.prelu(x, "prelu4", w[11])
    g.dense(x, "offsets", w[12], w[13], "offsets")
    g.dense(x, "logits", *_face_logit(w[14], w[15]), "logits")
    return _model(g, "rnet", ["N", 24, 24, 3], {"logits": ["N", 1], "offsets": ["N", 4]})


def build_onet(w: Sequence[Array], *, prelu_op: bool = False) -> bytes:
    """Write O-Net: pixels uint8 [N, 48, 48, 3] to logits [N, 1], offsets [N, 4], landmarks [N, 10]: 5 x, 5 y."""
    g = _Graph(prelu_op=prelu_op)
    x = g.conv(g.pixels("pixels"), "conv1", *_folded(w[0], w[1]))
    x = g.pool(g.prelu(x, "prelu1", _per_channel(w[2])), 3, (0, 0, 1, 1))
    x = g.prelu(g.conv(x, "conv2", w[3], w[4]), "prelu2", _per_channel(w[5]))
    x = g.prelu(g.conv(g.pool(x, 3), "conv3", w[6], w[7]), "prelu3", _per_channel(w[8]))
    x = g.prelu(g.conv(g.pool(x, 2), "conv4", w[9], w[10]), "prelu4", _per_channel(w[11]))
    x = g.dense(g.add("Flatten", [x]), "fc5", _channels_first(w[12], 128, 3), w[13])
    x = g.prelu(x, "prelu5", w[14])
    g.dense(x, "offsets", w[15], w[16], "offsets")
    g.dense(x, "landmarks", w[17], w[18], "landmarks")
    g.dense(x, "logits", *_face_logit(w[19], w[20]), "logits")
    return _model(g, "onet", ["N", 48, 48, 3], {"logits": ["N", 1], "offsets": ["N", 4], "landmarks": ["N", 10]})


def build_nms() -> bytes:
    """Write non-maximum suppression: boxes [1, N, 4], scores [1, 1, N], limit [1], iou [1] to kept [K, 3]."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "N", 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, "N"]),
        helper.make_tensor_value_info("limit", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("iou", TensorProto.FLOAT, [1]),
    ]
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "iou"], ["kept"], name="nms")
    output = helper.make_tensor_value_info("kept", TensorProto.INT64, ["K", 3])
    return _checked(helper.make_graph([node], "nms", inputs, [output]))


def _model(g: _Graph, name: str, shape: list[str | int], outputs: dict[str, list[str | int]]) -> bytes:
    from onnx import TensorProto, helper

    return _checked(
        helper.make_graph(
            g.nodes,
            name,
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, dims) for key, dims in outputs.items()],
            initializer=g.constants,
        )
    )


def _checked(graph: Any) -> bytes:
    import onnx

    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="mask_social",
    )
    onnx.checker.check_model(model, full_check=True)
    written = model.SerializeToString(deterministic=True)
    return bytes(written)


BUILDERS: dict[str, Callable[..., bytes]] = {"pnet": build_pnet, "rnet": build_rnet, "onet": build_onet}


def wheel_weights(stage: str) -> list[Array]:
    """Read one network's arrays from the installed `mtcnn` wheel. Raises WeightsError where it is missing."""
    import joblib

    try:
        path = Path(str(distribution("mtcnn").locate_file(f"mtcnn/assets/weights/{stage}.lz4")))
    except PackageNotFoundError:
        raise WeightsError("the package mtcnn, whose weights the detector uses, is not installed") from None
    if not path.is_file():
        raise WeightsError(f"the installed package mtcnn has no {path.name}; mtcnn==1.0.0 is expected")
    return [np.asarray(array, dtype=np.float32) for array in joblib.load(path)]


#: How the cascade is run; chosen on the train split of hand-boxed scenes. Sizes are pixels of the working image.
SETTINGS: dict[str, Any] = {
    # Larger photos are judged at this long side: a face must then take up 2.5 % of it to be found.
    "long_side": 1280,
    "min_face": 32,
    "pyramid_factor": 0.709,
    # A strip's activations fit the second-level cache; half and twice as much are slower.
    "strip_pixels": 32_768,
    "stages": {
        "pnet": {"size": 12, "threshold": 0.7, "nms_iou": 0.6, "limit": 1024, "chunk": 1},
        "pnet_levels": {"size": 12, "threshold": 0.7, "nms_iou": 0.7, "limit": 1024, "chunk": 1},
        "rnet": {"size": 24, "threshold": 0.5, "nms_iou": 0.8, "limit": 256, "chunk": 64},
        # Below the usual 0.7: masked faces score low here, and the second look decides.
        "onet": {"size": 48, "threshold": 0.4, "nms_iou": 0.7, "limit": 256, "chunk": 16},
        # On the training scenes 0.75 costs half a point to a point of recall beside 0.7, drops a tenth of the strays,
        # and a stray on a masked post costs its author the badge.
        "second_look": {"size": 48, "threshold": 0.75, "nms_iou": 0.35, "limit": 256, "chunk": 16},
    },
    "nested_share": 0.7,
    # The networks draw the box from the brow to the mouth; people, and our classifier's crops, from the hairline to
    # below the chin. Shift and scale are medians over the matched faces of the train split.
    "box_correction": [0.0, 0.07, 0.975, 0.955],
}


def write_detector(folder: Path, *, prelu_op: bool = False) -> bool:
    """Write the networks and `detector.json` into `folder`; return False if they were there and intact.

    `prelu_op` keeps ONNX Runtime's slow operator, for the benchmark and the tests to compare with.
    """
    if _is_intact(folder):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{stage}.onnx": build(wheel_weights(stage), prelu_op=prelu_op) for stage, build in BUILDERS.items()}
    files["nms.onnx"] = build_nms()
    manifest_json = {
        "name": "mtcnn-cascade",
        "version": VERSION,
        "source": "weights of the Python package mtcnn 1.0.0 (MIT), after Zhang et al. 2016",
        "opset": _OPSET,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        **SETTINGS,
    }
    for name, content in files.items():
        _replace(folder / name, content)
    # The manifest comes last: a set-up that was interrupted is noticed and done again.
    _replace(folder / DETECTOR, (json.dumps(manifest_json, indent=2) + "\n").encode())
    return True


def _is_intact(folder: Path) -> bool:
    try:
        values = json.loads((folder / DETECTOR).read_bytes())
        manifest = DetectorManifest.load(folder)
        for name in manifest.files:
            manifest.read(name)
    except (OSError, ValueError, WeightsError):
        return False
    wanted = json.loads(json.dumps({"version": VERSION, **SETTINGS}))
    return all(values.get(key) == value for key, value in wanted.items())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
