"""The package `mtcnn`: the classic cascade in TensorFlow. Runs in the peers' environment."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ml.benchmark.worker import Settings

# By name, for only the peers' environment has them.
tensorflow: Any = import_module("tensorflow")
mtcnn: Any = import_module("mtcnn")


class Mtcnn:
    """Run the package with its own defaults: faces from 20 pixels on."""

    distributions = ("mtcnn", "tensorflow-cpu")
    note = ""

    def __init__(self, settings: Settings) -> None:
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self._detector = mtcnn.MTCNN(device="CPU:0")

    def open(self, path: Path) -> Any:
        """Read uint8 RGB [H, W, 3]."""
        return np.load(path)

    def run(self, source: Any) -> Any:
        """Find the faces."""
        return self._detector.detect_faces(source)

    def faces(self, answer: Any) -> list[list[float]]:
        """List boxes and scores."""
        found = []
        for face in answer:
            x, y, width, height = map(float, face["box"])
            found.append([x, y, x + width, y + height, float(face["confidence"])])
        return found
