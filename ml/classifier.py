"""Tell for each face in which state it is: batched square crops through one network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml.geometry import Floats, Octaves, Pixels, crop_squares
from ml.manifest import WEIGHTS, ClassifierManifest
from ml.session import make_session
from ml.types import WeightsError

# More at once is not faster on one core and would let a crowd decide how much memory is used.
_BATCH = 16


class Classifier:
    """Hold the classifier's session; made in, and used by, one process only."""

    def __init__(
        self,
        weights: Path | ClassifierManifest = WEIGHTS,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.manifest = weights if isinstance(weights, ClassifierManifest) else ClassifierManifest.load(weights)
        self._session = make_session(self.manifest.read(), threads=threads, providers=providers)

    def classify(self, image: Pixels | Octaves, boxes_xyxy: Floats) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, states] in the manifest's order; each row sums to 1.

        image: uint8 RGB [H, W, 3] or its octaves; boxes_xyxy: float32 [N, 4], pixels.
        Raises WeightsError if the network's output is not what its manifest says.
        """
        m = self.manifest
        crops = crop_squares(image, boxes_xyxy, m.size, m.margin)
        logits = [np.empty((0, len(m.states)), np.float32)]
        for start in range(0, len(crops), _BATCH):
            logits.append(self._run(crops[start : start + _BATCH]))
        return softmax((np.concatenate(logits).astype(np.float64) + np.array(m.bias)) / m.temperature)

    def _run(self, crops: Pixels) -> Floats:
        m = self.manifest
        batch = (crops.transpose(0, 3, 1, 2).astype(np.float32) - np.float32(m.mean)) / np.float32(m.scale)
        (logits,) = self._session.run([m.output_name], {m.input_name: batch})
        if logits.shape != (len(crops), len(m.states)):
            raise WeightsError(
                f"{m.folder / m.file} answers {len(crops)} crops with an array of shape {logits.shape}, "
                f"but its manifest names {len(m.states)} states"
            )
        return np.asarray(logits, np.float32)


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn logits [N, K] into probabilities [N, K]."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)
