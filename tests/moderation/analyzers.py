"""Analyzers whose answers a test can foresee; the real one has tests of its own."""

import os
from pathlib import Path

from celery.exceptions import SoftTimeLimitExceeded

from ml.types import Box, FaceReading, ImageError, PhotoReading, Timings


class Foreseen:
    """See one masked face in the middle of every photo."""

    detector_digest = "d" * 64
    classifier_digest = "c" * 64

    def warm(self) -> None:
        """Have nothing to load."""

    def analyze(self, source: bytes | Path) -> PhotoReading:
        states = {"mask": 0.97, "no_mask": 0.01, "incorrect": 0.01, "occluded": 0.01}
        seen = FaceReading(Box(10.0, 8.0, 40.0, 44.0), 1.0000001, states)
        return PhotoReading(64, 48, (seen,), Timings(1.5, 20.25, 3.0))


class Broken(Foreseen):
    def analyze(self, source: bytes | Path) -> PhotoReading:
        raise RuntimeError("the graph cannot be run")


class Choosy(Foreseen):
    def analyze(self, source: bytes | Path) -> PhotoReading:
        raise ImageError("truncated_image", "the photo is cut short or damaged")


class Slow(Foreseen):
    def analyze(self, source: bytes | Path) -> PhotoReading:
        raise SoftTimeLimitExceeded


class Leaking(Foreseen):
    """Keep a hundred megabytes of every photo, and leave word of the process it was seen in."""

    _kept: list[bytes] = []

    def analyze(self, source: bytes | Path) -> PhotoReading:
        self._kept.append(b"x" * (100 * 1024**2))
        with Path(os.environ["TEST_SEEN_BY"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return super().analyze(source)
