"""Train a classifier: draws, steps, averaged weights, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ml.training.augment import plain, varied
from ml.training.crops import Faces
from ml.training.data import DRAWN
from ml.training.nets import FaceNet
from ml.training.presets import PRESETS, Preset
from ml.types import STATES

KEPT = ("ilc_scenes", "kaggle_scenes", "beards", "smoker", DRAWN)  # parts whose labels are about each face
MEAN, SCALE = 127.5, 128.0  # as the manifest says: (pixel - mean) / scale
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Hold how well rows are told apart: mean of the F1 of mask, no_mask, incorrect; balanced log loss; accuracies."""

    macro_f1: float
    loss: float
    recall: dict[str, float]


class Draws(IterableDataset[tuple[Tensor, Tensor]]):
    """Yield varied batches for ever: crops uint8 (B,S,S,3), states (B,)."""

    def __init__(self, faces: Faces, weights: Probabilities, preset: Preset, seed: int) -> None:
        self.faces, self.weights, self.preset, self.seed = faces, weights, preset, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw with replacement by weight; a new stream for each worker."""
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        chances = self.weights.cumsum()
        preset, faces = self.preset, self.faces
        while True:
            rows = np.searchsorted(chances, rng.random(preset.batch) * chances[-1], side="right")
            rows = np.minimum(rows, len(chances) - 1)
            crops = [
                varied(faces.crops[r], faces.boxes[r], preset.size, preset.margin, rng, float(faces.sizes[r]))
                for r in rows
            ]
            yield torch.from_numpy(np.stack(crops)), torch.from_numpy(faces.states[rows])


def to_input(crops: Tensor) -> Tensor:
    """Normalise uint8 (N,S,S,3) as the manifest says: float32 (N,3,S,S), channels last in memory."""
    return ((crops.float() - MEAN) / SCALE).permute(0, 3, 1, 2)


def plain_crops(faces: Faces, preset: Preset) -> NDArray[np.uint8]:
    """Return the network's inputs as the run time would cut them, uint8 (N,S,S,3)."""
    if not len(faces):
        return np.empty((0, preset.size, preset.size, 3), np.uint8)
    return np.stack(
        [plain(crop, boxes, preset.size, preset.margin) for crop, boxes in zip(faces.crops, faces.boxes, strict=True)]
    )


@torch.no_grad()
def logits_of(net: nn.Module, crops: NDArray[np.uint8], batch: int = 128) -> NDArray[np.float32]:
    """Return logits float32 (N,states)."""
    net.eval()
    parts = [
        net(to_input(torch.from_numpy(crops[start : start + batch]))).float() for start in range(0, len(crops), batch)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.float32) if parts else np.empty((0, len(STATES)), np.float32)


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Probabilities:
    """Return probabilities float64 (N,states)."""
    shifted = np.asarray(logits, np.float64) / temperature
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def score(probabilities: Probabilities, states: NDArray[np.int64]) -> Score:
    """Score predictions; a state without a row counts in no mean."""
    said = probabilities.argmax(axis=1)
    f1, losses, recall = [], [], {}
    for state, name in enumerate(STATES):
        of = states == state
        if not of.any():
            continue
        hits = int((said[of] == state).sum())
        recall[name] = round(hits / int(of.sum()), 4)
        losses.append(float(-np.log(np.clip(probabilities[of, state], 1e-7, 1)).mean()))
        if name != "occluded":
            f1.append(2 * hits / max(1, int(of.sum()) + int((said == state).sum())))
    return Score(float(np.mean(f1)) if f1 else 0.0, float(np.mean(losses)) if losses else 0.0, recall)


def rate_at(progress: float, top: float, warm: float = 0.03) -> float:
    """Return the learning rate at 0..1 of the run: a short rise, then half a cosine."""
    if progress < warm:
        return top * max(progress / warm, 0.02)
    return top * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))


def step(net: nn.Module, optimizer: Any, crops: Tensor, states: Tensor, smoothing: float, mixed: bool) -> float:
    """Take one step of gradient descent towards states (N,) or their shares (N,states); return the loss."""
    net.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = net(to_input(crops))
    loss = nn.functional.cross_entropy(logits.float(), states, label_smoothing=smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def blend(crops: Tensor, states: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each face with another of its batch, and their states alike, after Zhang et al., "mixup", 2018.

    Returns crops float32 (N,S,S,3) and targets float32 (N,states).
    """
    share = float(rng.beta(0.4, 0.4))
    share = max(share, 1 - share)
    other = torch.from_numpy(rng.permutation(len(states)))
    targets = nn.functional.one_hot(states, len(STATES)).float()
    pixels = crops.float()
    return pixels.lerp(pixels[other], 1 - share), targets.lerp(targets[other], 1 - share)


def make_optimizer(net: nn.Module, preset: Preset) -> Any:
    """Return AdamW that decays matrices and kernels, not gains and offsets."""
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": preset.decay}, {"params": light, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=preset.rate)


class Average:
    """Keep a running mean of the weights; it is better than the last ones and what is shipped."""

    def __init__(self, net: nn.Module, keep: float) -> None:
        self.keep, self.steps = keep, 0
        self.values = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the net's weights in."""
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 10))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[name].lerp_(value, 1 - keep)
            else:
                self.values[name].copy_(value)


def contradicted(net: nn.Module, faces: Faces, preset: Preset, limit: float = 0.02) -> NDArray[np.bool_]:
    """Tell which faces got their state from their photo's label and look like another state, bool (N,).

    A label on a photo is wrong for some faces on it: someone else in the crowd, a nose that shows. Where people drew
    the box themselves, and where we drew the mask, the label is kept: there a contradiction is a lesson.
    """
    chances = softmax(logits_of(net, plain_crops(faces, preset)))
    doubted = chances[np.arange(len(faces)), faces.states] < limit
    return np.asarray(doubted & ~np.isin(faces.parts, KEPT), np.bool_)


def save(path: Path, preset: Preset, weights: dict[str, Tensor], epoch: int, dev: Score) -> None:
    """Write a checkpoint that `load` turns into a net; never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    meta = {"preset": preset.name, "epoch": epoch, "dev": asdict(dev)}
    torch.save({"meta": json.dumps(meta), "weights": weights}, scratch)
    scratch.replace(path)


def load(path: Path) -> tuple[FaceNet, Preset, dict[str, Any]]:
    """Return the net, its preset and what was noted. Raises FileNotFoundError."""
    content = torch.load(path, weights_only=True)
    meta = json.loads(content["meta"])
    preset = PRESETS[meta["preset"]]
    net = FaceNet(preset.widths, len(STATES))
    net.load_state_dict(content["weights"])
    return net.eval(), preset, meta


def train(
    faces: Faces,
    weights: Probabilities,
    dev: Faces,
    preset: Preset,
    checkpoint: Path,
    *,
    minutes: float = math.inf,
    seed: int = 0,
    start: FaceNet | None = None,
    say: Callable[[str], None] = print,
) -> Score:
    """Train to the last epoch or minute and write a checkpoint after each epoch; return the last score on `dev`.

    The learning rate follows whichever of the two is nearer its end, so that a slow machine ends cooled down too.
    start: weights to go on from instead of random ones.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = FaceNet(preset.widths, len(STATES)).to(memory_format=torch.channels_last)
    if start is not None:
        net.load_state_dict(start.state_dict())
    optimizer, average = make_optimizer(net, preset), Average(net, preset.average)
    stream = iter(DataLoader(Draws(faces, weights, preset, seed), batch_size=None, num_workers=1, prefetch_factor=8))
    shown = FaceNet(preset.widths, len(STATES)).to(memory_format=torch.channels_last)
    dev_crops = plain_crops(dev, preset)
    steps = max(1, preset.draws // preset.batch)
    started = time.monotonic()
    result = Score(0.0, math.inf, {})
    for epoch in range(preset.epochs):
        losses = []
        for number in range(steps):
            progress = max((epoch + number / steps) / preset.epochs, (time.monotonic() - started) / 60 / minutes)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(progress, preset.rate)
            crops, states = next(stream)
            if rng.random() < preset.mixed:
                crops, states = blend(crops, states, rng)
            losses.append(step(net, optimizer, crops, states, preset.smoothing, mixed=True))
            average.update(net)
        shown.load_state_dict(average.values)
        result = score(softmax(logits_of(shown, dev_crops)), dev.states)
        save(checkpoint, preset, average.values, epoch + 1, result)
        spent = time.monotonic() - started
        say(
            f"epoch {epoch + 1}/{preset.epochs}  {spent / 60:.1f} min  loss {np.mean(losses):.4f}  "
            f"dev: F1 {result.macro_f1:.4f}  log loss {result.loss:.4f}  recall {result.recall}"
        )
        if spent / 60 >= minutes:
            break
    return result
