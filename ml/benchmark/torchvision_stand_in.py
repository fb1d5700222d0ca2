"""Stand in for torchvision where it does not load: its wheels are compiled for a CUDA build of torch."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np


def provide_torchvision() -> str:
    """Leave torchvision alone if it loads; else put what `facenet-pytorch` needs in its place, and say so."""
    try:
        import_module("torchvision.ops.boxes")
    except (ImportError, OSError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    else:
        return ""
    # `functional` is asked for at import, but used only where faces are cut out.
    functional = ModuleType("torchvision.transforms.functional")
    _register("torchvision")
    _register("torchvision.ops")
    _register("torchvision.ops.boxes", batched_nms=batched_nms)
    _register("torchvision.transforms", functional=functional)
    return "torchvision does not load beside this torch: OpenCV's NMSBoxes stands in for its batched_nms"


def batched_nms(boxes: Any, scores: Any, groups: Any, iou: float) -> Any:
    """Suppress within each group by OpenCV's compiled loop, as torchvision's function does by its own.

    boxes: float tensor [N, 4] xyxy; scores: [N]; groups: int [N]. Returns an int64 tensor of the rows kept, best first.
    """
    torch: Any = import_module("torch")
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64)
    # Far from each other, boxes of different groups never overlap.
    apart = (boxes + groups.to(boxes)[:, None] * (boxes.max() + 1)).double().numpy()
    apart[:, 2:] -= apart[:, :2]
    kept = cv2.dnn.NMSBoxes(apart, scores.numpy(), 0.0, iou)
    return torch.from_numpy(np.asarray(kept, np.int64).ravel())


def _register(name: str, **content: Any) -> None:
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(content)
