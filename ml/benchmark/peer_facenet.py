"""The package `facenet-pytorch`: the classic cascade in PyTorch. Runs in the peers' environment."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ml.benchmark.worker import Settings

# By name, for only the peers' environment has them.
torch: Any = import_module("torch")


def batched_nms(boxes: Any, scores: Any, groups: Any, iou: float) -> Any:
    """Suppress within each group, as torchvision's function of this name does, by OpenCV's compiled loop.

    boxes: float [N, 4] xyxy; scores: float [N]; groups: int [N]. Returns the rows kept, best first.
    """
    import cv2

    if not len(boxes):
        return torch.empty(0, dtype=torch.int64)
    # Far from each other, boxes of different groups never overlap.
    apart = (boxes + groups.to(boxes)[:, None] * (boxes.max() + 1)).double().numpy()
    apart[:, 2:] -= apart[:, :2]
    kept = cv2.dnn.NMSBoxes(apart, scores.numpy(), 0.0, iou)
    return torch.from_numpy(np.asarray(kept, np.int64).ravel())


def _provide_torchvision() -> str:
    """Put the one function that the package needs in torchvision's place where that does not load; say so."""
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
    return "torchvision does not load beside this torch: its batched_nms is replaced by OpenCV's NMSBoxes"


def _register(name: str, **content: Any) -> None:
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(content)


_note = _provide_torchvision()
facenet: Any = import_module("facenet_pytorch")


class Facenet:
    """Run the package with its own defaults: faces from 20 pixels on."""

    distributions = ("facenet-pytorch", "torch")
    note = _note

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        self._detector = facenet.MTCNN(keep_all=True, device="cpu")

    def open(self, path: Path) -> Any:
        """Read uint8 RGB [H, W, 3]."""
        return np.load(path)

    def run(self, source: Any) -> Any:
        """Find the faces."""
        return self._detector.detect(source)

    def faces(self, answer: Any) -> list[list[float]]:
        """List boxes and scores."""
        boxes, scores = answer
        if boxes is None:
            return []
        return [[*map(float, box), float(score)] for box, score in zip(boxes, scores, strict=True)]
