"""The package `facenet-pytorch`: the classic cascade in PyTorch. Runs in the peers' environment."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ml.benchmark.torchvision_stand_in import provide_torchvision
from ml.benchmark.worker import Settings

# By name, for only the peers' environment has them.
torch: Any = import_module("torch")


_note = provide_torchvision()
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
