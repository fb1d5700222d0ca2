"""Write the cascade as ONNX: networks that take the photo's bytes as they are, and non-maximum suppression."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml.manifest import DETECTOR
from ml.training.detection.nets import STRIDES, OutputNet, ProposalNet, RefineNet
from ml.training.onnx_file import OPSET, difference, to_onnx

IR_VERSION = 9
NAME, VERSION = "mask-cascade", "1"
CLOSE = 1e-2  # logits and offsets in cells; more would be another network

#: How the cascade is run; chosen on photographs of the train split that the last two networks did not learn. Sizes are
#: pixels of the working picture.
SETTINGS: dict[str, Any] = {
    # Larger photos are judged at this long side.
    "long_side": 1280,
    "min_face": 20,
    "strides": list(STRIDES),
    # A quarter of the size shows a face that fills the frame as one the network has learnt.
    "passes": [1.0, 0.25],
    "least_face": 40,
    "least_pass": 32,
    "stages": {
        "pnet": {"threshold": 0.12, "nms_iou": 0.6, "limit": 300},
        "rnet": {
            "threshold": 0.15,
            "nms_iou": 0.6,
            "limit": 150,
            "size": RefineNet.SIZE,
            "margin": RefineNet.MARGIN,
            "chunk": 64,
        },
        "onet": {
            "threshold": 0.5,
            "nms_iou": 0.4,
            "limit": 256,
            "size": OutputNet.SIZE,
            "margin": OutputNet.MARGIN,
            "chunk": 16,
        },
    },
    "nested_share": 0.7,
    # The first network sees more of the photo than the others, but knows the training photographs by heart.
    "score": {"weights": [0.3, 0.2, 1.0], "bias": 0.0},
    "lone_threshold": 0.2,
    # Once more, mirrored: two in a hundred masked faces more at the same number of strays.
    "look_again": {"threshold": 0.05, "nms_iou": 0.6, "sure_at_once": 0.98},
}


class FromBytes(nn.Module):
    """Divide by 128, as training does, and put the channels first where a crop has them last."""

    def __init__(self, net: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.net, self.channels_last = net, channels_last

    def forward(self, pixels: Tensor) -> Any:
        """Return what the network answers."""
        if self.channels_last:
            pixels = pixels.permute(0, 3, 1, 2)
        return self.net(pixels.float() * (1 / 128))


def export(net: nn.Module, path: Path, seed: int = 0) -> float:
    """Write one of the three networks; return how far the file's answers to noise are from its own, at most.

    Raises TypeError for another network.
    """
    if isinstance(net, ProposalNet):
        example, names = torch.zeros(1, 3, 160, 224, dtype=torch.uint8), [f"map{stride}" for stride in STRIDES]
        axes = {"pixels": {2: "height", 3: "width"}} | {
            name: {2: f"height{stride}", 3: f"width{stride}"} for name, stride in zip(names, STRIDES, strict=True)
        }
        wrapped = FromBytes(net, channels_last=False)
    elif isinstance(net, RefineNet | OutputNet):
        example = torch.zeros(2, net.SIZE, net.SIZE, 3, dtype=torch.uint8)
        names = ["logits", "offsets", *(["landmarks"] if isinstance(net, OutputNet) else [])]
        axes = {name: {0: "faces"} for name in ("pixels", *names)}
        wrapped = FromBytes(net, channels_last=True)
    else:
        raise TypeError(f"no network of the cascade: {type(net).__name__}")
    to_onnx(wrapped, (example,), path, ["pixels"], names, axes)
    noise = np.random.default_rng(seed).integers(0, 256, tuple(example.shape)).astype(np.uint8)
    return float(difference(wrapped, path, (noise,)))


def build_nms() -> bytes:
    """Return non-maximum suppression: boxes [1,N,4], scores [1,1,N], limit [1], iou [1] to kept [K,3]."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "N", 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, "N"]),
        helper.make_tensor_value_info("limit", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("iou", TensorProto.FLOAT, [1]),
    ]
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "iou"], ["kept"], name="nms")
    output = helper.make_tensor_value_info("kept", TensorProto.INT64, ["K", 3])
    graph = helper.make_graph([node], "nms", inputs, [output])
    imports = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="mask_social")
    return bytes(model.SerializeToString(deterministic=True))


def write_cascade(folder: Path, nets: Mapping[str, nn.Module], settings: Mapping[str, Any]) -> dict[str, float]:
    """Write the networks named pnet, rnet, onet, and their manifest; return how far each is from its original.

    Raises ValueError if one is further than rounding explains; then the folder is left as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        apart = {}
        for name, net in nets.items():
            path = Path(scratch) / f"{name}.onnx"
            apart[name] = export(net, path)
            if not apart[name] <= CLOSE:  # NaN is not close either
                raise ValueError(f"the exported {name} differs from the trained one by {apart[name]:.2g}")
        (Path(scratch) / "nms.onnx").write_bytes(build_nms())
        names = [*(f"{name}.onnx" for name in nets), "nms.onnx"]
        digests = {name: hashlib.sha256((Path(scratch) / name).read_bytes()).hexdigest() for name in names}
        manifest = {
            "name": NAME,
            "version": VERSION,
            "opset": OPSET,
            "inputs": {
                "pnet.onnx": "pixels uint8 [1,3,H,W], RGB, H and W multiples of 32",
                **{f"{name}.onnx": f"pixels uint8 [N,{size},{size},3], RGB" for name, size in _sizes(nets).items()},
            },
            "parity": {name: float(f"{value:.2g}") for name, value in apart.items()},
            "files": digests,
            **settings,
        }
        for name in names:
            (Path(scratch) / name).replace(folder / name)
        # The manifest comes last: what was interrupted is noticed, for its digests are of other files.
        (folder / DETECTOR).write_text(json.dumps(manifest, indent=1) + "\n")
    return apart


def _sizes(nets: Mapping[str, nn.Module]) -> dict[str, int]:
    return {name: net.SIZE for name, net in nets.items() if isinstance(net, RefineNet | OutputNet)}
