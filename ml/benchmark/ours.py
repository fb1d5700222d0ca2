"""Our own contenders: the detector, the classifier on eight faces, and the whole way from bytes to states."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ml.analyzer import Analyzer
from ml.benchmark.worker import Settings
from ml.classifier import Classifier
from ml.detector import Detections, Detector
from ml.types import PhotoReading


class _Ours:
    distributions = ("onnxruntime-gpu", "onnxruntime", "opencv-python-headless", "numpy")
    note = ""


class DetectorRunner(_Ours):
    """Find faces in the pixels of a .npy file."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        self._detector = Detector(settings.weights, threads=1, providers=settings.providers)

    def open(self, path: Path) -> Any:
        """Read uint8 RGB [H, W, 3]."""
        return np.load(path)

    def run(self, source: Any) -> Detections:
        """Find the faces."""
        return self._detector.detect(source)

    def faces(self, answer: Detections) -> list[list[float]]:
        """List boxes and scores."""
        return [[*map(float, box), float(score)] for box, score in zip(answer.boxes, answer.scores, strict=True)]


class ClassifierRunner(_Ours):
    """Classify the faces of a .npz file: `image`, and `boxes` on it."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        self._classifier = Classifier(settings.weights, threads=1, providers=settings.providers)

    def open(self, path: Path) -> Any:
        """Read the pixels and the boxes [N, 4]."""
        with np.load(path) as arrays:
            return arrays["image"], arrays["boxes"]

    def run(self, source: Any) -> Any:
        """Cut the faces and tell their states."""
        return self._classifier.classify(*source)

    def faces(self, answer: Any) -> list[list[float]]:
        """List the probabilities of each face, for want of boxes."""
        return [list(map(float, row)) for row in answer]


class AnalyzerRunner(_Ours):
    """Read a photo's file: decode, detect, classify."""

    def __init__(self, settings: Settings) -> None:
        self._analyzer = Analyzer(threads=1, providers=settings.providers, weights=settings.weights)
        self._analyzer.warm()

    def open(self, path: Path) -> bytes:
        """Read the file's bytes."""
        return path.read_bytes()

    def run(self, source: bytes) -> PhotoReading:
        """Read the photo."""
        return self._analyzer.analyze(source)

    def faces(self, answer: PhotoReading) -> list[list[float]]:
        """List boxes and scores."""
        return [[face.box.x1, face.box.y1, face.box.x2, face.box.y2, face.score] for face in answer.faces]
