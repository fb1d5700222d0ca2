"""Detectors that are one ONNX file each: YuNet, run in two ways, and the Ultra-Light RFB-640 for masked faces."""

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from ml.benchmark.worker import Settings
from ml.session import make_session

_YUNET_SCORE, _YUNET_IOU, _YUNET_LIMIT = 0.6, 0.3, 5000
_RFB_SCORE, _RFB_IOU = 0.6, 0.3
_RFB_SIZE = (640, 480)


class _Graph:
    note = ""

    def open(self, path: Path) -> Any:
        """Read uint8 RGB [H, W, 3]."""
        return np.load(path)

    def faces(self, answer: npt.NDArray[np.float32]) -> list[list[float]]:
        """List boxes and scores of rows [x, y, width, height, score]."""
        return [[x, y, x + width, y + height, score] for x, y, width, height, score in answer.tolist()]


class YuNetInOpenCV(_Graph):
    """Run YuNet by OpenCV's own class for it."""

    distributions = ("opencv-python-headless",)

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        self._detector = cv2.FaceDetectorYN.create(
            str(settings.weights), "", (320, 320), _YUNET_SCORE, _YUNET_IOU, _YUNET_LIMIT
        )

    def run(self, source: Any) -> npt.NDArray[np.float32]:
        """Find the faces."""
        self._detector.setInputSize((source.shape[1], source.shape[0]))
        _, found = self._detector.detect(cv2.cvtColor(source, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.empty((0, 5), np.float32)
        return np.asarray(found[:, [0, 1, 2, 3, 14]], np.float32)


class YuNetInOnnxRuntime(_Graph):
    """Run YuNet in ONNX Runtime, with the decoding that OpenCV's class does in C++ in numpy."""

    distributions = ("onnxruntime-gpu", "onnxruntime", "opencv-python-headless")

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        self._session = make_session(settings.weights, threads=1, providers=settings.providers)

    def run(self, source: Any) -> npt.NDArray[np.float32]:
        """Find the faces."""
        height, width = source.shape[:2]
        # The largest stride is 32: the photo's sides are made multiples of it, as OpenCV does.
        padded = cv2.copyMakeBorder(source, 0, -height % 32, 0, -width % 32, cv2.BORDER_CONSTANT)
        feed = cv2.cvtColor(padded, cv2.COLOR_RGB2BGR).transpose(2, 0, 1)[None].astype(np.float32)
        names = [f"{part}_{stride}" for stride in (8, 16, 32) for part in ("cls", "obj", "bbox")]
        outputs = dict(zip(names, self._session.run(names, {"input": feed}), strict=True))
        found = [_yunet_level(outputs, stride, padded.shape[1] // stride) for stride in (8, 16, 32)]
        return _suppressed(np.concatenate(found), _YUNET_IOU)


class Rfb(_Graph):
    """Run the Ultra-Light RFB-640 for bare and masked faces, which sees every photo at 640 by 480."""

    distributions = ("onnxruntime-gpu", "onnxruntime", "opencv-python-headless")
    note = "scales every photo to 640 × 480"

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        self._session = make_session(settings.weights, threads=1, providers=settings.providers)

    def run(self, source: Any) -> npt.NDArray[np.float32]:
        """Find the faces, bare and masked."""
        height, width = source.shape[:2]
        scaled = cv2.resize(source, _RFB_SIZE, interpolation=cv2.INTER_LINEAR)
        feed = (scaled.transpose(2, 0, 1)[None].astype(np.float32) - 127) / 128
        scores, boxes = self._session.run(["scores", "boxes"], {"input": feed})
        # The first class is the background.
        best = scores[0, :, 1:].max(axis=1)
        likely = np.flatnonzero(best > _RFB_SCORE)
        corners = boxes[0, likely] * np.array([width, height, width, height], np.float32)
        corners[:, 2:] -= corners[:, :2]
        return _suppressed(np.concatenate([corners, best[likely, None]], axis=1), _RFB_IOU)


def _yunet_level(outputs: dict[str, Any], stride: int, columns: int) -> npt.NDArray[np.float32]:
    """Return what one stride found, rows of [x, y, width, height, score]."""
    scores = np.sqrt(outputs[f"cls_{stride}"][0, :, 0].clip(0, 1) * outputs[f"obj_{stride}"][0, :, 0].clip(0, 1))
    likely = np.flatnonzero(scores >= _YUNET_SCORE)
    offsets = outputs[f"bbox_{stride}"][0, likely]
    corners = np.stack([likely % columns, likely // columns], axis=1)
    sides = np.exp(offsets[:, 2:]) * stride
    centres = (corners + offsets[:, :2]) * stride
    return np.concatenate([centres - sides / 2, sides, scores[likely, None]], axis=1).astype(np.float32)


def _suppressed(found: npt.NDArray[np.float32], iou: float) -> npt.NDArray[np.float32]:
    """Drop of rows [x, y, width, height, score] those that a better one overlaps."""
    boxes, scores = cast(Any, found[:, :4].astype(np.float64)), cast(Any, found[:, 4])  # its stub knows lists only
    kept = cv2.dnn.NMSBoxes(boxes, scores, 0.0, iou)
    return found[np.asarray(kept, np.int64).ravel()]
