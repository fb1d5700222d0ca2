"""Teach one network of the cascade: steps, averaged weights, checkpoints to go on from, curves."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ml.training import checkpoint, curves
from ml.training import progress as shown
from ml.training.checkpoint import Average
from ml.training.schedule import Schedule

Batch = tuple[Tensor, ...]
STEPS = 250  # per epoch: after each the curves are drawn and the checkpoint is written


@dataclass(frozen=True, slots=True)
class Plan:
    """Say how a run goes; it ends after `epochs` or `minutes`, cooled down whichever comes first."""

    epochs: int
    rate: float
    minutes: float = math.inf
    decay: float = 0.04
    average: float = 0.998
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    fresh: bool = False


class Lesson(Protocol):
    """Say what a network learns from: pickled to the workers, so it holds data and no network."""

    #: Stands for the data and the choices: only a run with the same one goes on from a checkpoint.
    key: str

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw one batch; the first tensor is the input, uint8 (N,H,W,3)."""

    def losses(self, answer: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, scalars."""

    def judge(self, net: nn.Module) -> dict[str, float]:
        """Score the network on what is held out, 0..1 each; may be empty."""


class _Stream(IterableDataset[Batch]):
    """Yield batches for ever; each has a seed of its own, so that a restart at batch `first` changes none."""

    def __init__(self, lesson: Lesson, seed: int, first: int) -> None:
        self.lesson, self.seed, self.first = lesson, seed, first

    def __iter__(self) -> Iterator[Batch]:
        """Draw every n-th batch where there are n workers."""
        worker = torch.utils.data.get_worker_info()
        start, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in itertools.count(self.first + start, step):
            yield self.lesson.batch(np.random.default_rng([self.seed, number]))


def to_input(pixels: Tensor) -> Tensor:
    """Turn uint8 (N,H,W,3) into the networks' float32 (N,3,H,W), channels last in memory."""
    return (pixels.float() / 128).permute(0, 3, 1, 2)


def make_optimizer(net: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Return AdamW that decays matrices and kernels, not gains and offsets."""
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": plan.decay}, {"params": light, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.rate)


class Learner:
    """Hold what changes while a network learns, and put it on disk and back."""

    def __init__(self, net: nn.Module, lesson: Lesson, plan: Plan, path: Path) -> None:
        self.net = net.to(plan.device, memory_format=torch.channels_last)
        self.lesson, self.plan, self.path = lesson, plan, path
        self.rng = np.random.default_rng(plan.seed)
        self.optimizer, self.average = make_optimizer(net, plan), Average(net, plan.average)
        self.schedule = Schedule(plan.rate)
        self.history: list[dict[str, float]] = []
        self.epoch, self.seconds, self.finished = 0, 0.0, False
        # Where it runs, and how long it may, can change between two parts of one run.
        same = replace(plan, device="cpu", workers=1, fresh=False, minutes=math.inf)
        self.key = hashlib.sha256(f"{type(net).__name__} {lesson.key} {same}".encode()).hexdigest()[:16]

    def take_up(self) -> None:
        """Go on from the checkpoint of the same run; move one of another run aside."""
        if not self.path.is_file() or self.plan.fresh:
            return
        notes, _, state = checkpoint.load(self.path)
        if notes.get("key") != self.key:
            aside = self.path.with_suffix(f".before{self.path.suffix}")
            self.path.replace(aside)
            shown.say(f"{self.path} is of another run; it is {aside} now.")
            return
        checkpoint.go_on(state, self.net, self.optimizer, self.average, self.rng)
        self.history, self.epoch, self.seconds = notes["history"], notes["epoch"], notes["seconds"]
        self.finished = notes["finished"]
        rest = "it is finished." if self.finished else "going on."
        shown.say(f"{self.path} has {self.epoch} epochs of this run; {rest}")

    def step(self, batch: Batch, progress: float) -> dict[str, float]:
        """Learn from one batch; return the parts of the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(progress)
        self.net.train()
        inputs = to_input(batch[0])
        with torch.autocast(inputs.device.type, torch.bfloat16):
            answer = self.net(inputs)
        answer = tuple(part.float() for part in answer)
        parts = self.lesson.losses(answer, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimizer.step()
        self.average.update(self.net)
        return {name: float(part.detach()) for name, part in parts.items()}

    def keep(self, parts: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """Note an epoch, write the checkpoint and, beside it, the curves."""
        minutes = self.seconds / 60
        self.finished = self.epoch >= self.plan.epochs or minutes >= self.plan.minutes
        row = {"epoch": self.epoch, "minutes": round(minutes, 2)} | {f"{name} loss": v for name, v in parts.items()}
        self.history.append({**row, **scores, "rate": self.optimizer.param_groups[0]["lr"]})
        own = {"key": self.key, "plan": asdict(replace(self.plan, minutes=min(self.plan.minutes, 1e9)))}
        notes = own | {"history": self.history, "epoch": self.epoch, "seconds": self.seconds, "finished": self.finished}
        state = checkpoint.running(self.net, self.optimizer, self.average, self.rng)
        checkpoint.save(self.path, notes, self.average.values, **state)
        curves.write(self.history, self.path.with_suffix(".csv"))
        curves.draw(self.history, self.path.with_suffix(".png"), self.path.stem)
        told = "  ".join(f"{name} {value:.4f}" for name, value in {**parts, **scores}.items())
        shown.say(f"{self.path.stem}: epoch {self.epoch}/{self.plan.epochs}  {minutes:.1f} min  {told}")


def learn(make: Callable[[], nn.Module], lesson: Lesson, plan: Plan, path: Path) -> nn.Module:
    """Teach a fresh network, or go on with one that was interrupted; return it with its averaged weights.

    A checkpoint follows each epoch. The same lesson and plan go on where they were killed, and end with the weights
    they would have had without the break.
    """
    torch.manual_seed(plan.seed)
    run = Learner(make(), lesson, plan, path)
    run.take_up()
    judged = deepcopy(run.net)
    if not run.finished:
        cv2.setNumThreads(1)  # before workers are forked: one that inherits a pool without its threads waits for ever
        ahead = {"num_workers": plan.workers, "prefetch_factor": 8} if plan.workers else {}
        stream = _Stream(lesson, plan.seed, run.epoch * STEPS)
        # A generator of its own: the loader would take a number from the one that dropout uses.
        pinned = plan.device.startswith("cuda")
        batches = iter(DataLoader(stream, batch_size=None, generator=torch.Generator(), pin_memory=pinned, **ahead))
        began = time.monotonic() - run.seconds
        while not run.finished:
            sums: dict[str, float] = {}
            with shown.Bar(f"{path.stem}: epoch {run.epoch + 1}/{plan.epochs}", STEPS) as bar:
                for number in range(STEPS):
                    spent = (time.monotonic() - began) / 60 / plan.minutes
                    progress = max((run.epoch + number / STEPS) / plan.epochs, spent)
                    batch = tuple(part.to(plan.device, non_blocking=True) for part in next(batches))
                    parts = run.step(batch, progress)
                    sums = {name: sums.get(name, 0.0) + value for name, value in parts.items()}
                    bar.step(sum(parts.values()))
            run.epoch, run.seconds = run.epoch + 1, time.monotonic() - began
            judged.load_state_dict(run.average.values)
            scores = lesson.judge(judged.eval())
            run.keep({name: value / STEPS for name, value in sums.items()}, scores)
    judged.load_state_dict(run.average.values)
    return judged.cpu().eval()
