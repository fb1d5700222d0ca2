"""What the proposal network shall answer, and how far off it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.geometry import Floats
from ml.training.detection.nets import STRIDES
from ml.training.detection.scenes import FACE

#: Which faces a stride answers for, by the geometric mean of their sides in pixels; the ranges overlap, and a face
#: between two strides may be found by either.
RANGES = ((8.0, 44.0), (32.0, 104.0), (76.0, 4000.0))
_CENTRE = 0.22  # share of a face's side around its centre whose cells are to find it
_INSIDE = 0.5  # cells further in than this may, but need not


def targets(boxes: Floats, kinds: NDArray[np.int64], size: int) -> tuple[Floats, Floats]:
    """Return for each cell of all strides, finest first, whether it is a face (1, 0, or -1: either) and which box.

    boxes (N,4), kinds (N,), size: side of the picture. Returns float32 (cells,) and (cells,4).
    """
    wanted, where = [], []
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    for stride, (low, high) in zip(STRIDES, RANGES, strict=True):
        steps = (np.arange(size // stride, dtype=np.float32) + 0.5) * stride
        label = np.zeros((len(steps), len(steps)), np.float32)
        target = np.zeros((len(steps), len(steps), 4), np.float32)
        # Large faces first, so that a small one before a large one keeps its cells.
        for row in np.argsort(-sides):
            box, half = boxes[row], (boxes[row, 2:] - boxes[row, :2]) / 2
            apart_x, apart_y = np.abs(steps - centre[row, 0]) / half[0], np.abs(steps - centre[row, 1]) / half[1]
            inside = (apart_x[None] < 2 * _INSIDE) & (apart_y[:, None] < 2 * _INSIDE)
            if kinds[row] != FACE:
                label[inside] = -1
                continue
            if not low / 1.5 <= sides[row] <= high * 1.5:
                continue
            label[inside & (label != 1)] = -1
            if not low <= sides[row] <= high:
                continue
            near = (apart_x[None] < 2 * _CENTRE) & (apart_y[:, None] < 2 * _CENTRE)
            column, line = (int(np.clip(value // stride, 0, len(steps) - 1)) for value in centre[row])
            near[line, column] = True
            label[near] = 1
            target[near] = box
        wanted.append(label.reshape(-1))
        where.append(target.reshape(-1, 4))
    return np.concatenate(wanted), np.concatenate(where)


def decode_maps(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Turn the maps (N,5,h,w) into logits (N,cells) and boxes (N,cells,4) in pixels."""
    logits, boxes = [], []
    for stride, found in zip(STRIDES, maps, strict=True):
        count, _, height, width = found.shape
        rows = (torch.arange(height, device=found.device) + 0.5).view(1, height, 1)
        columns = (torch.arange(width, device=found.device) + 0.5).view(1, 1, width)
        x, y = (columns + found[:, 1]) * stride, (rows + found[:, 2]) * stride
        wide, tall = (found[:, 3:5].clamp(-4, 5).exp() * stride / 2).unbind(1)
        boxes.append(torch.stack([x - wide, y - tall, x + wide, y + tall], dim=-1).reshape(count, -1, 4))
        logits.append(found[:, 0].reshape(count, -1))
    return torch.cat(logits, dim=1), torch.cat(boxes, dim=1)


def overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the distance-IoU of boxes (N,4) in pairs, after Zheng et al., 2020."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    area = (one[:, 2:] - one[:, :2]).prod(dim=1) + (other[:, 2:] - other[:, :2]).prod(dim=1) - shared
    iou = shared / area.clamp(min=1e-6)
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    apart = ((one[:, :2] + one[:, 2:]) - (other[:, :2] + other[:, 2:])) / 2
    return iou, iou - apart.pow(2).sum(dim=1) / around.pow(2).sum(dim=1).clamp(min=1e-6)


def loss_of(maps: Sequence[Tensor], wanted: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of the scores and that of the boxes.

    The score is to say how well the box fits, after Li et al., "Generalized Focal Loss", 2020: then suppression keeps
    the better of two boxes.
    """
    logits, boxes = decode_maps(maps)
    face = wanted == 1
    iou, distance = overlap(boxes[face], where[face])
    quality = torch.zeros_like(logits)
    quality[face] = iou.detach().clamp(0.3, 1.0)
    apart = (logits.sigmoid() - quality).abs().pow(2)
    errors = torch.nn.functional.binary_cross_entropy_with_logits(logits, quality, reduction="none") * apart
    count = face.sum().clamp(min=1)
    return (errors * (wanted >= 0)).sum() / count, (1 - distance).sum() / count
