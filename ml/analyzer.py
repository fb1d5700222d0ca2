"""Read a photo: the one object that owns the models of a process."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml.geometry import Octaves
from ml.images import decode_reduced
from ml.manifest import WEIGHTS, ClassifierManifest, DetectorManifest
from ml.types import Box, FaceReading, PhotoReading, Timings

if TYPE_CHECKING:
    from ml.classifier import Classifier
    from ml.detector import Detector

# What the detector looks at is smaller; the rest is detail for the classifier's crops of small faces. A square photo
# of twelve megapixels is just large enough to be halved.
LONG_SIDE = 1600


@dataclass(frozen=True, slots=True)
class _Models:
    process: int
    detector: "Detector"
    classifier: "Classifier"


# Sessions inherited through a fork. Their threads did not come along, and destroying them would wait for those
# threads for ever; so they are kept until the process ends.
_inherited: list[_Models] = []


class Analyzer:
    """Read photos with the models in `weights`; sessions are made at first use, in the process that uses them.

    May be made before a fork and used after it: each process builds sessions of its own. Safe to share by threads.
    """

    def __init__(self, *, threads: int = 1, providers: Sequence[str] | None = None, weights: Path = WEIGHTS) -> None:
        self._threads = threads
        self._providers = providers
        self._weights = weights
        self._models: _Models | None = None
        self._lock = threading.Lock()
        self._lock_owner = os.getpid()

    @property
    def detector_digest(self) -> str:
        """Return the sha256 that stands for the detector's weights and settings. Raises WeightsError."""
        return DetectorManifest.load(self._weights).digest

    @property
    def classifier_digest(self) -> str:
        """Return the sha256 that stands for the classifier's weights and meaning. Raises WeightsError."""
        return ClassifierManifest.load(self._weights).digest

    def warm(self) -> None:
        """Make the sessions now, so that the first photo does not wait. Raises WeightsError or ProviderError."""
        self._ready()

    def analyze(self, source: bytes | Path) -> PhotoReading:
        """Find the faces of a photo and the state of each, the largest face first.

        Raises ImageError if the source is no usable photo, WeightsError or ProviderError if the models cannot run.
        """
        models = self._ready()
        started = time.perf_counter()
        photo = decode_reduced(source, LONG_SIDE)
        octaves = Octaves(photo.pixels)
        decoded = time.perf_counter()
        found = models.detector.detect(octaves)
        detected = time.perf_counter()
        probabilities = models.classifier.classify(octaves, found.boxes)
        classified = time.perf_counter()
        states = models.classifier.manifest.states
        faces = [
            FaceReading(
                box=Box(*(float(edge) for edge in box)),
                score=float(score),
                probabilities={state: float(value) for state, value in zip(states, row, strict=True)},
            )
            for box, score, row in zip(photo.to_photo(found.boxes), found.scores, probabilities, strict=True)
        ]
        faces.sort(key=lambda face: (face.box.x2 - face.box.x1) * (face.box.y2 - face.box.y1), reverse=True)
        return PhotoReading(
            width=photo.width,
            height=photo.height,
            faces=tuple(faces),
            timings=Timings(
                decode_ms=(decoded - started) * 1e3,
                detect_ms=(detected - decoded) * 1e3,
                classify_ms=(classified - detected) * 1e3,
            ),
        )

    def _ready(self) -> _Models:
        models = self._models
        process = os.getpid()
        if models is not None and models.process == process:
            return models
        if self._lock_owner != process:
            # Another thread of the parent may have held the lock at the fork; nobody here would ever release it.
            self._lock, self._lock_owner = threading.Lock(), process
        with self._lock:
            models = self._models
            if models is not None and models.process != process:
                _inherited.append(models)
                models = None
            if models is None:
                models = self._models = self._make(process)
            return models

    def _make(self, process: int) -> _Models:
        # Imported here: a web process that never analyses must not pay for ONNX Runtime.
        import cv2

        from ml.classifier import Classifier
        from ml.detector import Detector

        # OpenCV's own threads would not survive a fork either, and would compete with those of the sessions.
        cv2.setNumThreads(self._threads)
        return _Models(
            process,
            Detector(self._weights, threads=self._threads, providers=self._providers),
            Classifier(self._weights, threads=self._threads, providers=self._providers),
        )
