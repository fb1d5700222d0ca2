"""What the three networks learn from, how far off they are, and what they score on what is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.geometry import Pixels
from ml.training.detection import proposal
from ml.training.detection.candidates import (
    FACE_KIND,
    HAND_BOXED,
    MARGIN,
    NOT_KIND,
    PART_KIND,
    SIDE,
    UNSURE_KIND,
    Candidates,
    vary,
)
from ml.training.detection.draws import SHARES, Labelled, draw
from ml.training.detection.learn import Batch, to_input
from ml.training.detection.nets import OutputNet, RefineNet

#: Side of the pictures that the proposal network learns from.
PICTURE = 320
HELD_OUT = 0.1
# Of the faces that the second and third network see: badly worn masks are few, and worth as much.
STATE_SHARES = {"mask": 0.40, "no_mask": 0.36, "incorrect": 0.16, "occluded": 0.08}
_FACES, _PARTS, _OTHERS = 0.45, 0.08, 0.47
_SCENES = 0.6  # of the faces come from photographs that people boxed
_SMOOTH = partial(nn.functional.smooth_l1_loss, beta=0.05)
_SOFT = 0.01  # nobody is quite sure of a label
_UNSURE = 0.15  # how much of a face it is that a teacher sees and people did not box


class ProposalLesson:
    """Windows and mosaics of scenes, and where the maps shall find faces on them."""

    def __init__(self, photos: Mapping[str, Sequence[Labelled]], *, batch: int = 16, size: int = PICTURE) -> None:
        self.photos, self.count, self.size = photos, batch, size
        if not any(photos.values()):
            raise ValueError("there is no photograph of the split train to learn from")
        # A platform's own parts are drawn as often as all of ours together, each alike.
        others = sorted(set(photos) - SHARES.keys())
        self.shares = {part: share for part, share in SHARES.items() if part in photos}
        self.shares |= {part: 1 / len(others) for part in others}
        digest = hashlib.sha256(f"{batch} {size} {self.shares}".encode())
        for part in sorted(photos):
            for photo in photos[part]:
                digest.update(photo.scene.file.encode() + photo.scene.boxes.tobytes() + photo.scene.kinds.tobytes())
        self.key = digest.hexdigest()

    def batch(self, rng: np.random.Generator) -> Batch:
        """Return pixels uint8 (N,S,S,3), labels (N,cells), boxes (N,cells,4)."""
        drawn = [draw(self.photos, self.shares, self.size, rng) for _ in range(self.count)]
        wanted = [proposal.targets(one.boxes, one.kinds, self.size) for one in drawn]
        return (
            torch.from_numpy(np.stack([one.pixels for one in drawn])),
            torch.from_numpy(np.stack([labels for labels, _ in wanted])),
            torch.from_numpy(np.stack([boxes for _, boxes in wanted])),
        )

    def losses(self, answer: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss."""
        score, box = proposal.loss_of(answer, batch[1], batch[2])
        return {"score": score, "box": 1.5 * box}

    def judge(self, net: nn.Module) -> dict[str, float]:
        """Score nothing: what counts is what the whole cascade finds, and that needs all three networks."""
        return {}


def is_held_out(file: str, share: float = HELD_OUT) -> bool:
    """Tell whether a photograph's candidates serve for tuning; the same ones in each run."""
    return file.startswith(HAND_BOXED) and hashlib.sha256(file.encode()).digest()[0] < 256 * share


@dataclass(frozen=True, slots=True)
class _Held:
    pixels: Pixels
    kinds: NDArray[np.int64]


class CropLesson:
    """Crops around what the first network proposed: a face or not, where its box is, where its landmarks are."""

    def __init__(
        self,
        candidates: Candidates,
        net: type[RefineNet] | type[OutputNet],
        *,
        batch: int = 128,
        doubt: NDArray[np.float32] | None = None,
    ) -> None:
        """Hold out some photographs. doubt (N,): how likely the network before took each candidate for a face."""
        held = np.array([is_held_out(file) for file in candidates.files.tolist()], bool)
        self.size, self.margin, self.count = net.SIZE, net.MARGIN, batch
        dev = candidates.pick(held)
        self.held = _Held(plain(dev, net.SIZE, net.MARGIN), dev.kinds)
        self.learnt = candidates.pick(~held)
        self.chances = _weights(self.learnt, None if doubt is None else doubt[~held]).cumsum()
        digest = hashlib.sha256(f"{batch} {net.SIZE} {net.MARGIN}".encode())
        for column in (self.learnt.kinds, self.learnt.boxes, self.learnt.logits, self.chances):
            digest.update(np.ascontiguousarray(column).tobytes())
        self.key = digest.hexdigest()

    def batch(self, rng: np.random.Generator) -> Batch:
        """Return pixels uint8 (N,S,S,3), kinds (N,), box offsets (N,4), landmarks (N,10), NaN where unknown."""
        rows = np.searchsorted(self.chances, rng.random(self.count) * self.chances[-1], side="right")
        rows, some = np.minimum(rows, len(self.chances) - 1), self.learnt
        drawn = [vary(some.crops[r], some.boxes[r], some.landmarks[r], self.size, self.margin, rng) for r in rows]
        return (
            torch.from_numpy(np.stack([one.pixels for one in drawn])),
            torch.from_numpy(some.kinds[rows]),
            torch.from_numpy(np.stack([one.box for one in drawn])),
            torch.from_numpy(np.stack([one.landmarks for one in drawn])),
        )

    def losses(self, answer: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss; a part of a face teaches where the box is, not whether there is one."""
        _, kinds, boxes, marks = batch
        told, placed = kinds != PART_KIND, ~boxes[:, 0].isnan()
        wanted = torch.full_like(answer[0][told, 0], _SOFT)
        wanted[kinds[told] == FACE_KIND] = 1 - _SOFT
        wanted[kinds[told] == UNSURE_KIND] = _UNSURE
        parts = {
            "score": _mean(nn.functional.binary_cross_entropy_with_logits, answer[0][told, 0], wanted),
            "box": 4 * _mean(_SMOOTH, answer[1][placed], boxes[placed]),
        }
        if len(answer) > 2:
            known = ~marks[:, 0].isnan() & (kinds == FACE_KIND)
            parts["landmark"] = 3 * _mean(_SMOOTH, answer[2][known], marks[known])
        return parts

    def judge(self, net: nn.Module) -> dict[str, float]:
        """Return the share of held-out faces found while one or five in a hundred other proposals pass."""
        sure = logits_of(net, self.held.pixels)
        faces, others = sure[self.held.kinds == FACE_KIND], np.sort(sure[self.held.kinds == NOT_KIND])
        if not len(faces) or not len(others):
            return {}
        return {
            f"recall at {share:.0%}": float((faces > others[-max(1, int(share * len(others)))]).mean())
            for share in (0.01, 0.05)
        }


def _mean(loss: Callable[..., Tensor], answer: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean loss; where a batch holds nothing to compare, that is zero and not NaN."""
    return loss(answer, wanted, reduction="sum") / max(1, wanted.numel())


def plain(candidates: Candidates, size: int, margin: float) -> Pixels:
    """Return the crops as the run time cuts them, uint8 (N,S,S,3)."""
    edge = round((SIDE - SIDE * margin / MARGIN) / 2)
    inner = [crop[edge : SIDE - edge, edge : SIDE - edge] for crop in candidates.crops]
    small = [cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in inner]
    return np.asarray(np.stack(small), np.uint8) if small else np.empty((0, size, size, 3), np.uint8)


@torch.no_grad()
def logits_of(net: nn.Module, pixels: Pixels, batch: int = 512) -> NDArray[np.float32]:
    """Return how sure the network is that each crop (N,S,S,3) shows a face, float32 (N,)."""
    net.eval()
    device = next(net.parameters()).device
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(pixels), batch):
        answer = net(to_input(torch.from_numpy(pixels[start : start + batch]).to(device)))
        parts.append(answer[0][:, 0].float().cpu().numpy())
    return np.concatenate(parts)


def _weights(some: Candidates, doubt: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Return each candidate's chance to be drawn, float64 (N,)."""
    weights = np.zeros(len(some), np.float64)
    scenes = np.isin(some.parts, HAND_BOXED)
    for state, share in STATE_SHARES.items():
        for among, part in ((scenes, _SCENES), (~scenes, 1 - _SCENES)):
            rows = (some.kinds == FACE_KIND) & (some.states == state) & among
            weights[rows] = _FACES * share * part / max(1, rows.sum())
    rows = some.kinds == PART_KIND
    weights[rows] = _PARTS / max(1, rows.sum())
    others = np.isin(some.kinds, (NOT_KIND, UNSURE_KIND))
    # On street and news scenes people boxed every face that matters: what else is proposed there is the best lesson.
    hard = np.where(some.parts == "ilc_scenes", 2.0, 1.0) * np.where(some.kinds == UNSURE_KIND, 0.7, 1.0)
    if doubt is not None:
        # What the network before refuses anyway is seldom seen.
        hard = hard * (0.15 + (doubt > 0.02) + 2.0 * (doubt > 0.1) + 3.0 * (doubt > 0.3))
    weights[others] = _OTHERS * hard[others] / max(1e-9, hard[others].sum())
    return weights
