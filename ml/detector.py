"""Find faces by a cascade: one network proposes over the whole photo, two look closer, refuse and refine.

The shape is that of Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks", 2016; the networks are our own. The proposing one answers at three strides at once and so needs no pyramid of
the photo: a second run over a quarter of the size is for faces that fill the frame. The last one looks twice, once into
a mirror.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from ml.geometry import OUTSIDE, Floats, Octaves, Pixels, crop_squares, squares, without_nested
from ml.manifest import WEIGHTS, DetectorManifest, StageSettings
from ml.session import CPU, make_session

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Detections:
    """Hold found faces, all float32: boxes [N, 4] xyxy in pixels, scores [N] in 0..1, landmarks [N, 5, 2].

    The landmarks are the eyes, the tip of the nose and the corners of the mouth, the picture's left ones first.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Hold what one stage hands to the next: boxes [N, 4], and the logits [N, stages so far] of each."""

    boxes: Floats
    logits: Floats

    def pick(self, rows: Indices) -> "Candidates":
        """Return the named rows."""
        return Candidates(self.boxes[rows], self.logits[rows])


class Detector:
    """Hold the cascade's sessions; made in, and used by, one process only."""

    def __init__(
        self,
        weights: Path | DetectorManifest = WEIGHTS,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
    ) -> None:
        self.manifest = weights if isinstance(weights, DetectorManifest) else DetectorManifest.load(weights)
        self._pnet, self._rnet, self._onet = (
            make_session(self.manifest.read(f"{name}.onnx"), threads=threads, providers=providers)
            for name in ("pnet", "rnet", "onet")
        )
        # Suppression is a loop over a few hundred boxes: sending it to a GPU costs more than it takes.
        self._nms = make_session(self.manifest.read("nms.onnx"), providers=[CPU])

    def detect(self, image: Pixels | Octaves) -> Detections:
        """Find the faces on uint8 RGB pixels [H, W, 3]; best score first, none is no error.

        Each stage hands on a limited number of candidates, so a crowd costs bounded time and memory.
        """
        octaves = image if isinstance(image, Octaves) else Octaves(image)
        stage = self.manifest.stages["onet"]
        found, landmarks = self._judge(octaves, self.refine(octaves, self.propose(octaves)))
        found = self._look_again(octaves, found)
        scores = _sigmoid(self._weighed(found.logits))
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]) / self._shrink(octaves)
        # A box without extent overlaps nothing, so suppression would keep all of its copies.
        large = (sides.max(axis=1, initial=0) >= self.manifest.min_face) & (sides > 0).all(axis=1)
        rows = np.flatnonzero((scores > stage.threshold) & large)
        if not len(rows):
            # Who takes a photo mostly takes one of somebody: where nobody is sure, the likeliest is shown.
            rows = np.flatnonzero((scores > self.manifest.lone_threshold) & large)
            rows = rows[np.argsort(-scores[rows], kind="stable")[:1]]
        rows = rows[self.suppress(found.boxes[rows], scores[rows], stage.nms_iou, stage.limit)]
        rows = rows[without_nested(found.boxes[rows], self.manifest.nested_share)]
        return Detections(found.boxes[rows], scores[rows], landmarks[rows])

    def propose(self, octaves: Octaves) -> Candidates:
        """Return where the first network sees faces, over all passes, best first."""
        stage = self.manifest.stages["pnet"]
        shrink = self._shrink(octaves)
        boxes, logits = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for number, part in enumerate(self.manifest.passes):
            height, width = round(octaves.height * part / shrink), round(octaves.width * part / shrink)
            # A face that a smaller run could show only a few pixels of, the first run has seen.
            if number and max(height, width) < self.manifest.least_pass:
                continue
            height, width = max(height, 1), max(width, 1)
            found, sure = self._propose_at(octaves.resized(height, width), stage.threshold)
            if number:
                large = (found[:, 2:] - found[:, :2]).max(axis=1, initial=0) >= self.manifest.least_face
                found, sure = found[large], sure[large]
            boxes.append(found * np.array([octaves.width / width, octaves.height / height] * 2, np.float32))
            logits.append(sure)
        every, sure = _clipped(np.concatenate(boxes), octaves), np.concatenate(logits)
        kept = self.suppress(every, sure, stage.nms_iou, stage.limit)
        return Candidates(every[kept], sure[kept, None])

    def refine(self, octaves: Octaves, found: Candidates) -> Candidates:
        """Let the second network look at each proposal; keep, and move, what it takes for a face."""
        stage = self.manifest.stages["rnet"]
        logits, offsets, _ = self._look(self._rnet, octaves, found.boxes, stage)
        boxes = _clipped(_moved(squares(found.boxes), offsets), octaves)
        both = Candidates(boxes, np.concatenate([found.logits, logits], axis=1))
        both = both.pick(np.flatnonzero(both.logits[:, 1] > _logit(stage.threshold)))
        return both.pick(self.suppress(both.boxes, both.logits.sum(axis=1), stage.nms_iou, stage.limit))

    def _judge(self, octaves: Octaves, found: Candidates) -> tuple[Candidates, Floats]:
        """Let the third network look; return what may be a face, surest first, and the landmarks [N, 5, 2]."""
        stage = self.manifest.stages["onet"]
        logits, offsets, points = self._look(self._onet, octaves, found.boxes, stage)
        sides = squares(found.boxes)
        landmarks = sides[:, None, :2] + (points.reshape(-1, 5, 2) - np.float32(0.5)) * sides[:, None, 2:]
        boxes = _clipped(_moved(sides, offsets), octaves)
        judged = Candidates(boxes, np.concatenate([found.logits, logits], axis=1))
        sure = self._weighed(judged.logits)
        rows = np.flatnonzero(sure > _logit(self.manifest.look_again))
        rows = rows[self.suppress(boxes[rows], sure[rows], self.manifest.look_again_iou, stage.limit)]
        return judged.pick(rows), landmarks[rows]

    def _look_again(self, octaves: Octaves, found: Candidates) -> Candidates:
        """Average what the third network says of a face with what it says of the mirrored face at its better place."""
        stage = self.manifest.stages["onet"]
        # What is sure already stays so; a crowd is seen in half the time.
        rows = np.flatnonzero(self._weighed(found.logits) < _logit(self.manifest.sure_at_once))
        logits, offsets, _ = self._look(self._onet, octaves, found.boxes[rows], stage, mirrored=True)
        offsets = offsets[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        seen = _clipped(_moved(squares(found.boxes[rows]), offsets), octaves)
        boxes, both = found.boxes.copy(), found.logits.copy()
        boxes[rows] = (boxes[rows] + seen) / 2
        both[rows, 2] = (both[rows, 2] + logits[:, 0]) / 2
        return Candidates(boxes, both)

    def suppress(self, boxes: Floats, scores: Floats, iou: float, limit: int) -> Indices:
        """Return the rows of at most `limit` boxes that no better one overlaps by more than `iou`, best first."""
        if not len(boxes):
            return np.empty(0, np.int64)
        feed = {
            "boxes": boxes[None],
            "scores": scores[None, None],
            "limit": np.array([limit], np.int64),
            "iou": np.array([iou], np.float32),
        }
        return cast(Indices, self._nms.run(["kept"], feed)[0][:, 2])

    def _shrink(self, octaves: Octaves) -> float:
        # Large photos are judged at one working size; a small one is not blown up to it.
        return max(1.0, max(octaves.height, octaves.width) / self.manifest.long_side)

    def _propose_at(self, image: Pixels, threshold: float) -> tuple[Floats, Floats]:
        """Run the first network over one picture [H, W, 3]; return boxes [N, 4] in it and their logits [N]."""
        height, width = image.shape[:2]
        step = self.manifest.strides[-1]
        if height % step or width % step:
            border = (0, -height % step, 0, -width % step)
            image = cast(Pixels, cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3))
        # OpenCV parts the channels ten times as fast as NumPy or a Transpose in the graph.
        planes = np.empty((1, 3, *image.shape[:2]), np.uint8)
        cv2.split(image, list(planes[0]))
        names = [f"map{stride}" for stride in self.manifest.strides]
        boxes, logits = [], []
        for stride, found in zip(self.manifest.strides, self._pnet.run(names, {"pixels": planes}), strict=True):
            rows, columns = np.nonzero(found[0, 0] > _logit(threshold))
            sure, x, y, wide, tall = found[0][:, rows, columns]
            middle = np.stack([columns + np.float32(0.5) + x, rows + np.float32(0.5) + y], axis=1)
            half = np.exp(np.clip(np.stack([wide, tall], axis=1), -4, 5)) / 2
            boxes.append((np.concatenate([middle - half, middle + half], axis=1) * stride).astype(np.float32))
            logits.append(sure)
        return np.concatenate(boxes), np.concatenate(logits)

    def _look(
        self, session: Any, octaves: Octaves, boxes: Floats, stage: StageSettings, *, mirrored: bool = False
    ) -> tuple[Floats, Floats, Floats]:
        """Run a network over the squares around boxes [N, 4]; return logits [N, 1], offsets [N, 4], points [N, 10]."""
        if not len(boxes):
            return np.empty((0, 1), np.float32), np.empty((0, 4), np.float32), np.empty((0, 10), np.float32)
        crops = crop_squares(octaves, boxes, stage.size, stage.margin)
        if mirrored:
            crops = np.ascontiguousarray(crops[:, :, ::-1])
        parts = [
            session.run(None, {"pixels": crops[start : start + stage.chunk]})
            for start in range(0, len(crops), stage.chunk)
        ]
        logits, offsets, *points = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return logits, offsets, points[0] if points else np.empty((len(crops), 0), np.float32)

    def _weighed(self, logits: Floats) -> Floats:
        """Return the logit [N] that those of the three stages [N, 3] come to."""
        weights = np.array(self.manifest.score_weights, np.float32)
        return np.asarray(logits @ weights + np.float32(self.manifest.score_bias), np.float32)


def _moved(sides: Floats, offsets: Floats) -> Floats:
    """Return the boxes [N, 4] that offsets [N, 4] say lie in squares [N, 3], centre and side."""
    corners = np.concatenate([sides[:, :2] - sides[:, 2:] / 2, sides[:, :2] + sides[:, 2:] / 2], axis=1)
    return np.asarray(corners + offsets * sides[:, 2:], np.float32)


def _clipped(boxes: Floats, octaves: Octaves) -> Floats:
    limits = np.array([octaves.width, octaves.height] * 2, np.float32)
    return np.asarray(np.clip(boxes, 0, limits), np.float32)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _logit(probability: float) -> np.float32:
    return np.float32(math.log(probability / (1 - probability)))
