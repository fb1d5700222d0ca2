"""The real analyzer, but for photos of four sizes: one kills its worker, two never end, one leaks."""

import os
import signal
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

from mask_social.chaos.pictures import LEAK_MIB, Kind, kind_of
from ml.analyzer import Analyzer
from ml.types import PhotoReading

_leaked: list[bytearray] = []


class ChaosAnalyzer(Analyzer):
    """Behave as the size of the photo says."""

    def analyze(self, source: bytes | Path) -> PhotoReading:
        """Read a photo, where it lets us live."""
        match kind_of(Image.open(BytesIO(source) if isinstance(source, bytes) else source).size):
            case Kind.DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            case Kind.HANGING:
                time.sleep(3600)  # the soft limit ends it
            case Kind.DEAF:
                _sleep_through_everything()
            case Kind.LEAKING:
                _leaked.append(bytearray(os.urandom(1024)) * (LEAK_MIB * 1024))
        return super().analyze(source)


def _sleep_through_everything() -> None:
    """Sleep on, whatever is raised: only the hard limit ends it."""
    while True:
        try:
            time.sleep(3600)
        except BaseException:  # noqa: S112 - that is the fault
            continue
