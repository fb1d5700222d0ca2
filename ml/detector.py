"""Find faces by a cascade: P-Net proposes on a pyramid, R-Net and O-Net refuse and refine.

After Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks", 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ml.geometry import Floats, Octaves, Pixels, crop_squares
from ml.manifest import WEIGHTS, DetectorManifest, StageSettings
from ml.session import make_session

# One output of P-Net sees 12 input pixels and its neighbour the same ones two further.
_CELL = 12
_STRIDE = 2


@dataclass(frozen=True, slots=True)
class Detections:
    """Hold found faces, all float32: boxes [N, 4] xyxy in pixels, scores [N] in 0..1, landmarks [N, 5, 2]."""

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.boxes)


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
        sessions = {
            name: make_session(self.manifest.read(f"{name}.onnx"), threads=threads, providers=providers)
            for name in ("pnet", "rnet", "onet")
        }
        # Suppression is a loop over a few hundred boxes: sending it to a GPU costs more than it takes.
        self._nms = make_session(self.manifest.read("nms.onnx"), providers=["CPUExecutionProvider"])
        self._pnet, self._rnet, self._onet = sessions["pnet"], sessions["rnet"], sessions["onet"]

    def detect(self, image: Pixels | Octaves) -> Detections:
        """Find the faces on uint8 RGB pixels [H, W, 3]; best score first, none is no error.

        The number of candidates each stage hands on is capped, so a crowd costs bounded time and memory.
        """
        octaves = image if isinstance(image, Octaves) else Octaves(image)
        boxes, scores = self._propose(octaves)
        boxes, scores, _ = self._refine(octaves, boxes, self._rnet, self.manifest.stages["rnet"])
        boxes, scores, landmarks = self._refine(octaves, boxes, self._onet, self.manifest.stages["onet"])
        return Detections(self._corrected(boxes, octaves), scores, landmarks)

    def scales(self, height: int, width: int) -> list[float]:
        """List the pyramid's scales for a photo: the first shows the smallest face as 12 pixels."""
        m = self.manifest
        # Photos are judged at one working size; a small one is not blown up to it.
        working = min(1.0, m.long_side / max(height, width))
        scale = working * _CELL / m.min_face
        scales = []
        while min(height, width) * scale >= _CELL:
            scales.append(scale)
            scale *= m.pyramid_factor
        return scales

    def _propose(self, octaves: Octaves) -> tuple[Floats, Floats]:
        stage = self.manifest.stages["pnet"]
        boxes, scores = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for scale in self.scales(octaves.height, octaves.width):
            height, width = round(octaves.height * scale), round(octaves.width * scale)
            found, sure = self._propose_level(octaves.resized(height, width), stage)
            stretch = np.array([octaves.width / width, octaves.height / height] * 2, np.float32)
            boxes.append(found * stretch)
            scores.append(sure)
        merged, sure = np.concatenate(boxes), np.concatenate(scores)
        kept = self._suppress(merged, sure, 0.7, stage.limit)
        return merged[kept], sure[kept]

    def _propose_level(self, image: Pixels, stage: StageSettings) -> tuple[Floats, Floats]:
        scores, offsets = self.score_map(image)
        rows, columns = np.nonzero(scores > stage.threshold)
        sure = scores[rows, columns]
        corners = np.stack([columns, rows, columns, rows], axis=1).astype(np.float32) * _STRIDE
        corners[:, 2:] += _CELL
        boxes = corners + offsets[:, rows, columns].T * _CELL
        kept = self._suppress(boxes, sure, stage.nms_iou, stage.limit)
        return boxes[kept], sure[kept]

    def score_map(self, image: Pixels) -> tuple[Floats, Floats]:
        """Run P-Net over one pyramid level [H, W, 3]; return scores [h, w] and offsets [4, h, w].

        The level is cut into strips whose activations stay in the processor's cache. A strip begins on an even
        row and overlaps the next by the ten rows that a cell of twelve at stride two needs: the result is, bit for
        bit, that of one run.
        """
        height, width = image.shape[:2]
        out_rows = (height - 1) // 2 - 4
        per_strip = max(1, self.manifest.strip_pixels // width // _STRIDE)
        scores, offsets = [], []
        for row in range(0, out_rows, per_strip):
            last = row + per_strip >= out_rows
            strip = image[_STRIDE * row : None if last else _STRIDE * (row + per_strip) + _CELL - _STRIDE]
            part, shifts = self._pnet.run(["scores", "offsets"], {"pixels": strip[None]})
            scores.append(part[0, 0])
            offsets.append(shifts[0])
        return np.concatenate(scores), np.concatenate(offsets, axis=1)

    def _refine(
        self, octaves: Octaves, boxes: Floats, session: Any, stage: StageSettings
    ) -> tuple[Floats, Floats, Floats]:
        crops = crop_squares(octaves, boxes, stage.size)
        names = [output.name for output in session.get_outputs()]
        scores, offsets = np.empty((0, 1), np.float32), np.empty((0, 4), np.float32)
        points = np.empty((0, 10), np.float32)
        parts = []
        for start in range(0, len(crops), stage.chunk):
            parts.append(session.run(names, {"pixels": crops[start : start + stage.chunk]}))
        columns = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)} if parts else {}
        scores = columns.get("scores", scores)[:, 0]
        offsets = columns.get("offsets", offsets)
        points = columns.get("landmarks", points)
        good = np.flatnonzero(scores > stage.threshold)
        squared = to_squares(boxes[good])
        side = squared[:, 2:3] - squared[:, 0:1]
        refined = squared + offsets[good] * side
        kept = self._suppress(refined, scores[good], stage.nms_iou, stage.limit)
        landmarks = np.empty((0, 5, 2), np.float32)
        if len(points):
            landmarks = np.stack(
                [squared[:, 0:1] + points[good, :5] * side, squared[:, 1:2] + points[good, 5:] * side], axis=2
            )[kept]
        return refined[kept], scores[good][kept], landmarks

    def _suppress(self, boxes: Floats, scores: Floats, iou: float, limit: int) -> npt.NDArray[np.int64]:
        """Return the indices of the boxes that no better one overlaps by more than `iou`, best first."""
        if not len(boxes):
            return np.empty(0, np.int64)
        kept = self._nms.run(
            ["kept"],
            {
                "boxes": boxes[None],
                "scores": scores[None, None],
                "limit": np.array([limit], np.int64),
                "iou": np.array([iou], np.float32),
            },
        )[0]
        return cast("npt.NDArray[np.int64]", kept[:, 2])

    def _corrected(self, boxes: Floats, octaves: Octaves) -> Floats:
        shift_x, shift_y, scale_x, scale_y = self.manifest.box_correction
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        sides = boxes[:, 2:] - boxes[:, :2]
        centre = centre + sides * np.array([shift_x, shift_y], np.float32)
        half = sides * np.array([scale_x, scale_y], np.float32) / 2
        limits = np.array([octaves.width, octaves.height] * 2, np.float32)
        return np.asarray(np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, limits), np.float32)


def to_squares(boxes_xyxy: Floats) -> Floats:
    """Widen boxes [N, 4] to squares of their longer side around the same centre."""
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
