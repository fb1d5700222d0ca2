"""Choose what to learn from: the index, a folder for each state, or both."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ml.training.crops import Faces
from ml.training.data import twin_groups
from ml.training.folders import PART, FolderPool
from ml.training.pool import Pool, add_arguments


class Source(Protocol):
    """Offer labelled faces; Pool, FolderPool and MixedPool do."""

    @property
    def work(self) -> Path:
        """Name the folder for cuts and checkpoints."""

    @property
    def about(self) -> str:
        """Say what was learnt from, for the manifest."""

    def problem(self, *, needs_torch: bool) -> str | None:
        """Return a sentence about what is missing to work with it, or nothing."""

    def faces(self) -> Faces:
        """Return all faces."""

    def of_split(self, name: str) -> Faces:
        """Return the faces of `dev`, to tune on, or `val`, to judge by."""

    def to_learn_and_tune(self, *, drawn: bool = True, held_out: Collection[str] | None = None) -> tuple[Faces, Faces]:
        """Return the faces to learn from and to tune on."""

    def chances(self, faces: Faces) -> NDArray[np.float64]:
        """Return each row's chance to be drawn."""


@dataclass(frozen=True, slots=True)
class MixedPool:
    """Name the index, the folder, and the folder's share of the draws."""

    index: Pool
    folder: FolderPool
    share: float

    @property
    def work(self) -> Path:
        """Name the folder for cuts and checkpoints."""
        return self.index.work

    @property
    def about(self) -> str:
        """Say what was learnt from, for the manifest."""
        return f"{self.folder.about}; and, for {1 - self.share:.0%} of the draws, {self.index.about}"

    def problem(self, *, needs_torch: bool) -> str | None:
        """Return a sentence about what is missing to work with it, or nothing."""
        return self.folder.problem(needs_torch=needs_torch) or self.index.problem(needs_torch=needs_torch)

    def faces(self) -> Faces:
        """Return the faces of both."""
        return Faces.join([self.index.faces(), self.folder.faces()])

    def of_split(self, name: str) -> Faces:
        """Return the faces of `dev`, to tune on, or `val`, to judge by."""
        return Faces.join([self.index.of_split(name), self.folder.of_split(name)])

    def to_learn_and_tune(self, *, drawn: bool = True, held_out: Collection[str] | None = None) -> tuple[Faces, Faces]:
        """Return the faces to learn from and to tune on; no face of the one is a twin of one held out of the other."""
        pairs = [one.to_learn_and_tune(drawn=drawn, held_out=held_out) for one in (self.index, self.folder)]
        learn, dev = (Faces.join(several) for several in zip(*pairs, strict=True))
        held = Faces.join([dev, self.of_split("val")])
        # A drawn face shares its hash and its file with the bare one, and goes with it.
        groups = twin_groups(Faces.join([learn.pick(_first_of_each(learn)), held]))
        told = np.unique(groups[-len(held) :])
        files = learn.files[_first_of_each(learn)][np.isin(groups[: -len(held)], told)]
        return learn.pick(~np.isin(learn.files, files)), dev

    def chances(self, faces: Faces) -> NDArray[np.float64]:
        """Return each row's chance to be drawn, float64 (N,), summing to 1."""
        chances = np.zeros(len(faces), np.float64)
        ours = np.char.startswith(faces.files, f"{PART}/")
        for rows, pool, share in ((~ours, self.index, 1 - self.share), (ours, self.folder, self.share)):
            chances[rows] = share * pool.chances(faces.pick(rows))
        return chances


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to learn from."""
    add_arguments(parser)
    parser.add_argument("--folder", type=Path, help="learn from FOLDER/mask, FOLDER/no_mask, ... instead of the index")
    parser.add_argument(
        "--mix", type=float, default=1.0, help="the folder's share of the draws, the rest is the index's"
    )
    parser.add_argument(
        "--balance",
        default="sampling",
        choices=("sampling", "weights", "none"),
        help="for a folder: draw each state as often, weigh the scarce ones in the loss, or neither",
    )
    parser.add_argument("--folder-seed", type=int, default=0, help="of the folder's split into train, dev and val")


def open_source(options: argparse.Namespace) -> Source:
    """Return the source that the options name."""
    index = Pool.of(options)
    if options.folder is None:
        return index
    folder = FolderPool(options.folder, options.work, options.folder_seed, options.balance, options.detector)
    return folder if options.mix >= 1 else MixedPool(index, folder, options.mix)


def loss_weights(chances: NDArray[np.float64], states: NDArray[np.int64], count: int) -> tuple[float, ...]:
    """Return a weight for each state that undoes how seldom it is drawn; their mean over the draws is 1."""
    drawn = np.bincount(states, chances, minlength=count)
    there = drawn > 0
    weights = np.ones(count)
    weights[there] = 1 / (drawn[there] * there.sum())
    return tuple(round(float(weight), 4) for weight in weights)


def _first_of_each(faces: Faces) -> NDArray[np.int64]:
    """Return the rows that are no drawn version of an earlier one."""
    pairs = np.array([f"{file} {digest}" for file, digest in zip(faces.files, faces.hashes, strict=True)])
    return np.sort(np.unique(pairs, return_index=True)[1])
