"""Train a classifier: draws, steps, averaged weights, checkpoints."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ml.training import checkpoint, curves
from ml.training import progress as shown
from ml.training.augment import plain, varied
from ml.training.checkpoint import Average
from ml.training.crops import Faces
from ml.training.data import DRAWN, TRANSFER
from ml.training.distill import Teachers
from ml.training.nets import FaceNet
from ml.training.presets import Preset
from ml.training.schedule import Schedule
from ml.types import STATES

KEPT = ("ilc_scenes", "kaggle_scenes", "beards", "smoker", DRAWN, TRANSFER)  # parts whose labels are about each face
MEAN, SCALE = 127.5, 128.0  # as the manifest says: (pixel - mean) / scale
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Hold how well rows are told apart: mean of the F1 of mask, no_mask, incorrect; balanced log loss; accuracies."""

    macro_f1: float
    loss: float
    recall: dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """Say how a run goes, whatever its net.

    patience: epochs without a better log loss on `dev` after which it ends with the best weights; 0 means that it goes
    to its end and the last ones are kept. balance: weight of each state in the loss. teachers: checkpoints to distil.
    """

    seed: int = 0
    minutes: float = math.inf
    schedule: str = "cosine"
    patience: int = 0
    balance: tuple[float, ...] = ()
    teachers: tuple[Path, ...] = ()
    teacher_share: float = 0.5
    device: str = "cpu"
    workers: int = 1
    fresh: bool = False


class Draws(IterableDataset[tuple[Tensor, Tensor]]):
    """Yield varied batches for ever: crops uint8 (B,S,S,3), states (B,).

    Each batch has a seed of its own, so that neither the number of workers nor a restart at batch `first` changes any.
    """

    def __init__(self, faces: Faces, weights: Probabilities, preset: Preset, seed: int, first: int = 0) -> None:
        self.faces, self.preset, self.seed, self.first = faces, preset, seed, first
        self.chances = weights.cumsum()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this worker's share of the batches; the loader takes one from each in turn."""
        worker = torch.utils.data.get_worker_info()
        for number in itertools.count(self.first + (worker.id if worker else 0), worker.num_workers if worker else 1):
            yield self.batch(number)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw with replacement by weight."""
        rng = np.random.default_rng([self.seed, number])
        preset, faces = self.preset, self.faces
        rows = np.searchsorted(self.chances, rng.random(preset.batch) * self.chances[-1], side="right")
        rows = np.minimum(rows, len(self.chances) - 1)
        crops = [
            varied(faces.crops[r], faces.boxes[r], preset.size, preset.margin, rng, float(faces.sizes[r])) for r in rows
        ]
        return torch.from_numpy(np.stack(crops)), torch.from_numpy(faces.states[rows])


def stream_of(draws: Draws, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches on the plan's device, made by its workers and copied there while it computes."""
    device = torch.device(plan.device)
    ahead = {"num_workers": plan.workers, "prefetch_factor": 8} if plan.workers else {}
    cv2.setNumThreads(1)  # before workers are forked: one that inherits a pool without its threads waits for ever
    # A generator of its own: the loader would take a number from the one that dropout uses.
    own = torch.Generator()
    for crops, states in DataLoader(draws, batch_size=None, pin_memory=device.type == "cuda", generator=own, **ahead):
        yield crops.to(device, non_blocking=True), states.to(device, non_blocking=True)


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
    """Return logits float32 (N,states), computed where the net is."""
    net.eval()
    device = next(net.parameters()).device
    parts = [
        net(to_input(torch.from_numpy(crops[start : start + batch]).to(device))).float().cpu()
        for start in range(0, len(crops), batch)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.float32) if parts else np.empty((0, len(STATES)), np.float32)


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Probabilities:
    """Return probabilities float64 (N,states)."""
    shifted = np.asarray(logits, np.float64) / temperature
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True, initial=-np.inf))
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


def step(
    net: nn.Module,
    optimizer: Any,
    crops: Tensor,
    states: Tensor,
    smoothing: float,
    *,
    mixed: bool,
    balance: Tensor | None = None,
    teachers: Teachers | None = None,
) -> Tensor:
    """Take one step of gradient descent towards states (N,) or their shares (N,states); return the loss, a scalar.

    mixed: compute in bfloat16 where that is safe. balance: weight of each state (states,).
    """
    net.train()
    inputs = to_input(crops)
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=mixed):
        logits = net(inputs)
        taught = teachers.chances(inputs) if teachers else None
    loss = nn.functional.cross_entropy(logits.float(), states, weight=balance, label_smoothing=smoothing)
    if teachers and taught is not None:
        loss = torch.lerp(loss, teachers.loss(logits.float(), taught), teachers.share)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    return loss.detach()


def blend(crops: Tensor, states: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each face with another of its batch, and their states alike, after Zhang et al., "mixup", 2018.

    Returns crops float32 (N,S,S,3) and targets float32 (N,states).
    """
    share = float(rng.beta(0.4, 0.4))
    share = max(share, 1 - share)
    other = torch.from_numpy(rng.permutation(len(states))).to(states.device)
    targets = nn.functional.one_hot(states, len(STATES)).float()
    pixels = crops.float()
    return pixels.lerp(pixels[other], 1 - share), targets.lerp(targets[other], 1 - share)


def make_optimizer(net: nn.Module, preset: Preset) -> Any:
    """Return AdamW that decays matrices and kernels, not gains and offsets."""
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": preset.decay}, {"params": light, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=preset.rate)


def contradicted(net: nn.Module, faces: Faces, preset: Preset, limit: float = 0.02) -> NDArray[np.bool_]:
    """Tell which faces got their state from their photo's label and look like another state, bool (N,).

    A label on a photo is wrong for some faces on it: someone else in the crowd, a nose that shows. Where people drew
    the box themselves, and where we drew the mask, the label is kept: there a contradiction is a lesson.
    """
    chances = softmax(logits_of(net, plain_crops(faces, preset)))
    doubted = chances[np.arange(len(faces)), faces.states] < limit
    return np.asarray(doubted & ~np.isin(faces.parts, KEPT), np.bool_)


def load(path: Path) -> tuple[FaceNet, Preset, dict[str, Any]]:
    """Return the net, its preset and what was noted. Raises FileNotFoundError."""
    notes, weights, _ = checkpoint.load(path)
    preset = Preset(**notes["preset"] | {"widths": tuple(notes["preset"]["widths"])})
    net = FaceNet(preset.widths, len(STATES))
    net.load_state_dict(weights)
    return net.eval(), preset, notes


def load_teachers(plan: Plan, preset: Preset) -> Teachers | None:
    """Load the plan's teachers. Raises FileNotFoundError, and ValueError if one was taught on other squares."""
    if not plan.teachers:
        return None
    loaded = [load(path) for path in plan.teachers]
    for path, (_, of, _) in zip(plan.teachers, loaded, strict=True):
        if of.margin != preset.margin:
            raise ValueError(f"{path} sees faces with the margin {of.margin}, not {preset.margin}: it cannot teach")
    nets = [net.to(plan.device, memory_format=torch.channels_last) for net, _, _ in loaded]
    return Teachers(nets, [of.size for _, of, _ in loaded], plan.teacher_share)


def key_of(faces: Faces, weights: Probabilities, preset: Preset, plan: Plan, start: FaceNet | None) -> str:
    """Return a name that two runs share if one may go on where the other was killed."""
    where = replace(plan, device="cpu", workers=1, fresh=False, teachers=())  # may differ
    digest = hashlib.sha256(f"{preset} {where}".encode())
    for column in (faces.hashes, faces.states, weights):
        digest.update(np.ascontiguousarray(column).tobytes())
    for path in plan.teachers:
        digest.update(path.read_bytes())
    for value in start.state_dict().values() if start is not None else ():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class Run:
    """Hold what changes while a classifier learns, and put it on disk and back."""

    def __init__(self, key: str, preset: Preset, plan: Plan, start: FaceNet | None, path: Path) -> None:
        torch.manual_seed(plan.seed)
        self.key, self.preset, self.plan, self.path = key, preset, plan, path
        self.rng = np.random.default_rng(plan.seed)
        self.net = FaceNet(preset.widths, len(STATES)).to(plan.device, memory_format=torch.channels_last)
        if start is not None:
            self.net.load_state_dict(start.state_dict())
        self.optimizer, self.average = make_optimizer(self.net, preset), Average(self.net, preset.average)
        self.schedule = Schedule(preset.rate, plan.schedule, plan.patience)
        self.kept = self.average.values
        self.result = Score(0.0, math.inf, {})
        self.history: list[dict[str, float]] = []
        self.epoch, self.seconds, self.finished = 0, 0.0, False

    def take_up(self, say: Callable[[str], None]) -> None:
        """Go on from the checkpoint of the same run; move one of another run aside."""
        if not self.path.is_file():
            return
        notes, kept, state = checkpoint.load(self.path)
        if notes.get("key") != self.key:
            aside = self.path.with_suffix(f".before{self.path.suffix}")
            self.path.replace(aside)
            say(f"{self.path} is of another run; it is {aside} now.")
            return
        checkpoint.go_on(state, self.net, self.optimizer, self.average, self.rng)
        self.schedule, self.result = Schedule(**notes["schedule"]), Score(**notes["dev"])
        self.kept = {name: value.to(self.average.values[name].device) for name, value in kept.items()}
        self.history, self.epoch, self.seconds = notes["history"], notes["epoch"], notes["seconds"]
        self.finished = notes["finished"]
        say(
            f"{self.path} has {self.epoch} epochs of this run; " + ("it is finished." if self.finished else "going on.")
        )

    def set_rate(self, progress: float) -> None:
        """Set the learning rate for 0..1 of the run."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(progress)

    def step(self, crops: Tensor, states: Tensor, balance: Tensor | None, teachers: Teachers | None) -> Tensor:
        """Learn from one batch, now and then blended; return the loss, a scalar."""
        if self.rng.random() < self.preset.mixed:
            crops, states = blend(crops, states, self.rng)
        smoothing = self.preset.smoothing
        pupil = (self.net, self.optimizer)
        loss = step(*pupil, crops, states, smoothing, mixed=True, balance=balance, teachers=teachers)
        self.average.update(self.net)
        return loss

    def end_epoch(self, loss: float, result: Score, seconds: float) -> None:
        """Take in what the epoch measured: which weights to keep, whether to end."""
        if self.schedule.note(result.loss) or not self.plan.patience:
            self.result = result
            self.kept = {name: value.clone() for name, value in self.average.values.items()}
        self.epoch, self.seconds = self.epoch + 1, seconds
        late = seconds / 60 >= self.plan.minutes
        self.finished = self.epoch >= self.preset.epochs or late or self.schedule.over
        scores = {"dev loss": result.loss, "dev F1": result.macro_f1}
        recall = {f"recall {name}": value for name, value in result.recall.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        times = {"epoch": self.epoch, "minutes": round(seconds / 60, 2)}
        self.history.append({**times, "loss": loss, **scores, **recall, "rate": rate})

    def keep(self, notes: Mapping[str, Any]) -> None:
        """Write the checkpoint and, beside it, the curves."""
        own = {
            "key": self.key,
            "preset": asdict(self.preset),
            "schedule": asdict(self.schedule),
            "dev": asdict(self.result),
            "history": self.history,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "finished": self.finished,
        }
        state = checkpoint.running(self.net, self.optimizer, self.average, self.rng)
        checkpoint.save(self.path, {**notes, **own}, self.kept, **state)
        curves.write(self.history, self.path.with_suffix(".csv"))
        curves.draw(self.history, self.path.with_suffix(".png"), self.path.stem)


def train(
    faces: Faces,
    weights: Probabilities,
    dev: Faces,
    preset: Preset,
    path: Path,
    plan: Plan | None = None,
    *,
    start: FaceNet | None = None,
    notes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = shown.say,
) -> Score:
    """Train to the last epoch or minute and write a checkpoint after each epoch; return the score on `dev`.

    A checkpoint of the same run (faces, preset, plan) is gone on from, to the weights that it would have had without
    the break. The learning rate follows whichever of epochs and minutes is nearer its end, so that a slow machine ends
    cooled down too. start: weights to begin with instead of random ones. notes: kept in the checkpoint.
    """
    plan = plan or Plan()
    teachers = load_teachers(plan, preset)
    run = Run(key_of(faces, weights, preset, plan, start), preset, plan, start, path)
    if not plan.fresh:
        run.take_up(say)
    if run.finished:
        return run.result
    steps = max(1, preset.draws // preset.batch)
    stream = stream_of(Draws(faces, weights, preset, plan.seed, first=run.epoch * steps), plan)
    balance = torch.tensor(plan.balance, device=plan.device) if plan.balance else None
    judged, dev_crops = deepcopy(run.net), plain_crops(dev, preset)
    began = time.monotonic() - run.seconds
    while not run.finished:
        losses = []
        with shown.Bar(f"epoch {run.epoch + 1}/{preset.epochs}", steps) as bar:
            for number in range(steps):
                spent = (time.monotonic() - began) / 60 / plan.minutes
                run.set_rate(max((run.epoch + number / steps) / preset.epochs, spent))
                losses.append(run.step(*next(stream), balance, teachers))
                bar.step(losses[-1])
        judged.load_state_dict(run.average.values)
        result = score(softmax(logits_of(judged, dev_crops)), dev.states)
        loss = float(torch.stack(losses).mean())
        run.end_epoch(loss, result, time.monotonic() - began)
        run.keep(notes or {})
        say(
            f"epoch {run.epoch}/{preset.epochs}  {run.seconds / 60:.1f} min  loss {loss:.4f}  "
            f"dev: F1 {result.macro_f1:.4f}  log loss {result.loss:.4f}  recall {result.recall}"
        )
    return run.result
