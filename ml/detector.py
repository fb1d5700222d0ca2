"""Find faces by a cascade: P-Net proposes on a pyramid, R-Net and O-Net refuse and refine, O-Net looks again.

After Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016. The
second look is ours: O-Net sees each face it found once more, mirrored and centred, and both answers are averaged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ml.geometry import Floats, Octaves, Pixels, crop_squares, without_nested
from ml.manifest import WEIGHTS, DetectorManifest, StageSettings
from ml.session import CPU, make_session

# One output of P-Net sees a cell of 12 by 12 input pixels, and its neighbour the same two pixels further.
_CELL = 12
_STRIDE = 2

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
class _Candidates:
    boxes: Floats
    logits: Floats
    landmarks: Floats

    @classmethod
    def none(cls) -> "_Candidates":
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    def pick(self, rows: Indices) -> "_Candidates":
        return _Candidates(self.boxes[rows], self.logits[rows], self.landmarks[rows])


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
        stages = self.manifest.stages
        found = self._judge(octaves, self._propose(octaves), self._rnet, stages["rnet"])
        found = self._judge(octaves, found.boxes, self._onet, stages["onet"])
        found = self._look_again(octaves, found, stages["second_look"])
        return Detections(found.boxes, _sigmoid(found.logits), found.landmarks)

    def scales(self, height: int, width: int) -> list[float]:
        """List the pyramid's scales for a photo: the first shows the smallest face as 12 pixels."""
        m = self.manifest
        # Large photos are judged at one working size; a small one is not blown up to it.
        scale = min(1.0, m.long_side / max(height, width)) * _CELL / m.min_face
        scales = []
        while round(min(height, width) * scale) >= _CELL:
            scales.append(scale)
            scale *= m.pyramid_factor
        return scales

    def score_maps(self, level: Pixels) -> Floats:
        """Run P-Net over one pyramid level [H, W, 3], at least 12 by 12; return logits and offsets [5, h, w].

        The level is cut into strips whose activations stay in the processor's cache. A strip begins on an even row
        and overlaps the next by the ten rows that a cell of twelve at stride two needs, so that the result is, bit
        for bit, that of one run.
        """
        height, width = level.shape[:2]
        rows = (height - 1) // _STRIDE - 4
        per_strip = max(1, self.manifest.strip_pixels // width // _STRIDE)
        maps = []
        for row in range(0, rows, per_strip):
            last = row + per_strip >= rows
            end = None if last else _STRIDE * (row + per_strip) + _CELL - _STRIDE
            maps.append(self._pnet.run(["maps"], {"pixels": level[None, _STRIDE * row : end]})[0][0])
        return np.concatenate(maps, axis=1)

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

    def _propose(self, octaves: Octaves) -> Floats:
        """Return the boxes [N, 4] that P-Net takes for faces, over all levels of the pyramid."""
        stage, across = self.manifest.stages["pnet"], self.manifest.stages["pnet_levels"]
        found = [_Candidates.none()]
        for scale in self.scales(octaves.height, octaves.width):
            height, width = round(octaves.height * scale), round(octaves.width * scale)
            level = self._propose_level(octaves.resized(height, width), stage)
            stretch = np.array([octaves.width / width, octaves.height / height] * 2, np.float32)
            found.append(_Candidates(level.boxes * stretch, level.logits, level.landmarks))
        boxes = np.concatenate([level.boxes for level in found])
        logits = np.concatenate([level.logits for level in found])
        return boxes[self.suppress(boxes, logits, across.nms_iou, across.limit)]

    def _propose_level(self, level: Pixels, stage: StageSettings) -> _Candidates:
        maps = self.score_maps(level)
        rows, columns = np.nonzero(maps[0] > _logit(stage.threshold))
        logits = maps[0, rows, columns]
        corners = np.stack([columns, rows, columns, rows], axis=1).astype(np.float32) * _STRIDE
        corners[:, 2:] += _CELL
        boxes = corners + maps[1:, rows, columns].T * _CELL
        kept = self.suppress(boxes, logits, stage.nms_iou, stage.limit)
        return _Candidates(boxes[kept], logits[kept], np.empty((len(kept), 5, 2), np.float32))

    def _judge(self, octaves: Octaves, boxes: Floats, session: Any, stage: StageSettings) -> _Candidates:
        """Let R-Net or O-Net judge the squares around boxes [N, 4]; keep, and move, those it takes for faces."""
        seen = _ask(session, crop_squares(octaves, boxes, stage.size), to_squares(boxes), stage.chunk)
        seen = seen.pick(np.flatnonzero(seen.logits > _logit(stage.threshold)))
        return seen.pick(self.suppress(seen.boxes, seen.logits, stage.nms_iou, stage.limit))

    def _look_again(self, octaves: Octaves, found: _Candidates, stage: StageSettings) -> _Candidates:
        """Average what O-Net says of a face with what it says of the mirrored face at its refined place.

        A mask makes O-Net hesitate at one position of the crop and not at the next: on the train split of the
        hand-boxed scenes this finds two in a hundred faces more at the same number of strays.
        """
        mirrored = crop_squares(octaves, found.boxes, stage.size)[:, :, ::-1]
        again = _ask(self._onet, mirrored, to_squares(found.boxes), stage.chunk, mirrored=True)
        both = _Candidates(
            self._corrected(_mean(found.boxes, again.boxes), octaves),
            _mean(found.logits, again.logits),
            found.landmarks,
        )
        both = both.pick(np.flatnonzero(both.logits > _logit(stage.threshold)))
        both = both.pick(self.suppress(both.boxes, both.logits, stage.nms_iou, stage.limit))
        return both.pick(without_nested(both.boxes, self.manifest.nested_share))

    def _corrected(self, boxes: Floats, octaves: Octaves) -> Floats:
        shift_x, shift_y, scale_x, scale_y = self.manifest.box_correction
        sides = boxes[:, 2:] - boxes[:, :2]
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * np.array([shift_x, shift_y], np.float32)
        half = sides * np.array([scale_x, scale_y], np.float32) / 2
        limits = np.array([octaves.width, octaves.height] * 2, np.float32)
        return np.asarray(np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, limits), np.float32)


def to_squares(boxes_xyxy: Floats) -> Floats:
    """Widen boxes [N, 4] to squares of their longer side around the same centre."""
    centre = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    half = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _ask(session: Any, crops: Pixels, squares: Floats, chunk: int, *, mirrored: bool = False) -> _Candidates:
    """Run R-Net or O-Net over crops [N, S, S, 3] of the squares [N, 4], a chunk at a time; keep all of them."""
    if not len(crops):
        return _Candidates.none()
    names = [output.name for output in session.get_outputs()]
    parts = [
        session.run(names, {"pixels": np.ascontiguousarray(crops[start : start + chunk])})
        for start in range(0, len(crops), chunk)
    ]
    answers = {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}
    offsets = answers["offsets"]
    if mirrored:
        offsets = offsets[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    side = squares[:, 2:3] - squares[:, 0:1]
    # R-Net knows no landmarks. Those of a mirrored face would come mirrored; the first look's are kept instead.
    points = answers.get("landmarks", np.zeros((len(crops), 10), np.float32)).reshape(-1, 2, 5).transpose(0, 2, 1)
    landmarks = squares[:, None, :2] + points * side[:, None]
    return _Candidates(squares + offsets * side, answers["logits"][:, 0], landmarks)


def _mean(first: Floats, second: Floats) -> Floats:
    return np.asarray((first + second) / 2, np.float32)


def _logit(probability: float) -> np.float32:
    return np.float32(math.log(probability / (1 - probability)))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
