"""Let two foreign detectors say where faces are on photographs whose boxes nobody drew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE, Floats, Pixels
from ml.session import CPU, make_session

_SMALL = 320  # a photo below this is shown larger, and with a border: YuNet misses a face that fills its picture
_BORDER = 0.2


@dataclass(frozen=True, slots=True)
class Taught:
    """Hold what a teacher found: boxes (N,4) xyxy in pixels, scores (N,) in 0..1, landmarks (N,5,2) or NaN."""

    boxes: Floats
    scores: Floats
    landmarks: Floats


class YuNet:
    """Find faces and five landmarks with YuNet, also on a photo that is nothing but a face."""

    def __init__(self, weights: Path, threshold: float = 0.3) -> None:
        self._net = cv2.FaceDetectorYN.create(str(weights), "", (_SMALL, _SMALL), threshold, 0.3, 5000)

    def find(self, image: Pixels) -> Taught:
        """Find the faces on uint8 RGB [H,W,3]."""
        height, width = image.shape[:2]
        pad = round(_BORDER * max(height, width)) if max(height, width) <= _SMALL else 0
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3)
        zoom = max(1.0, _SMALL / max(padded.shape[:2]))
        if zoom > 1:
            padded = cv2.resize(padded, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        self._net.setInputSize((padded.shape[1], padded.shape[0]))
        _, found = self._net.detect(np.ascontiguousarray(padded[..., ::-1]))
        if found is None:
            return Taught(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
        points = found[:, :14].reshape(-1, 7, 2).astype(np.float32) / zoom
        points[:, [0, 2, 3, 4, 5, 6]] -= pad
        boxes = np.concatenate([points[:, 0], points[:, 0] + points[:, 1]], axis=1)
        return Taught(boxes, found[:, 14].astype(np.float32), points[:, 2:])


class MaskedFaces:
    """Find bare and masked faces with the Ultra-Light RFB-640 that was trained on both; it knows no landmarks."""

    SIZE = (640, 480)

    def __init__(self, weights: Path, threshold: float = 0.4) -> None:
        self._session = make_session(weights, providers=[CPU])
        self._input = self._session.get_inputs()[0].name
        self._threshold = threshold

    def find(self, image: Pixels) -> Taught:
        """Find the faces on uint8 RGB [H,W,3]; the photo is fitted into 640 by 480 without being stretched."""
        height, width = image.shape[:2]
        zoom = min(self.SIZE[0] / width, self.SIZE[1] / height)
        canvas = np.full((self.SIZE[1], self.SIZE[0], 3), OUTSIDE, np.uint8)
        fitted = cv2.resize(image, (max(1, round(width * zoom)), max(1, round(height * zoom))))
        canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
        pixels = ((canvas.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        answers = self._session.run(None, {self._input: pixels})
        scores, boxes = (a[0] for a in sorted(answers, key=lambda a: a.shape[-1]))
        sure = scores[:, 1:].max(axis=1)
        rows = np.flatnonzero(sure > self._threshold)
        boxes = boxes[rows] * np.array([*self.SIZE, *self.SIZE], np.float32) / np.float32(zoom)
        kept = _suppressed(boxes, sure[rows], 0.35)
        none = np.full((len(kept), 5, 2), np.nan, np.float32)
        return Taught(boxes[kept], sure[rows][kept].astype(np.float32), none)


def _suppressed(boxes: Floats, scores: Floats, iou: float) -> NDArray[np.int64]:
    sides = [(float(x1), float(y1), float(x2 - x1), float(y2 - y1)) for x1, y1, x2, y2 in boxes]
    kept = cv2.dnn.NMSBoxes(sides, scores.astype(float).tolist(), 0.0, iou) if sides else []
    return np.asarray(kept, np.int64).reshape(-1)
