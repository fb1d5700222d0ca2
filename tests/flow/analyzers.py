"""The real analyzer, with doors for the tests: a gate to stand in, and a photo that kills its worker."""

import os
import signal
import time
from pathlib import Path

from ml.analyzer import Analyzer
from ml.images import decode
from ml.types import PhotoReading

DEADLY_SIZE = (333, 222)
GATE_VARIABLE = "TEST_GATE"
_POLL_SECONDS = 0.02


class GatedAnalyzer(Analyzer):
    """Wait while the file `$TEST_GATE` exists, after leaving word next to it that we stand there."""

    def analyze(self, source: bytes | Path) -> PhotoReading:
        height, width = decode(source).shape[:2]
        if (width, height) == DEADLY_SIZE:
            os.kill(os.getpid(), signal.SIGKILL)
        gate = Path(os.environ[GATE_VARIABLE])
        while gate.exists():
            gate.with_suffix(".reached").touch()
            time.sleep(_POLL_SECONDS)
        return super().analyze(source)
