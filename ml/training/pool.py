"""The faces that training, export and evaluation share: cut and drawn once, then kept in the work folder."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.manifest import WEIGHTS, DetectorManifest
from ml.training.crops import MARGIN, SIDE, Faces, cut_pool, pack, read_index
from ml.training.data import corrected, draw_weights, selfie_files, split, twin_groups
from ml.training.progress import say as say
from ml.training.progress import track
from ml.training.synthesis import synthesize
from ml.types import WeightsError

WORK = Path("var/training")
TEACHER = Path("peers/yunet_2026may.onnx")  # beside the data folder
DRAWING = ("synthesis.py", "transfer.py", "draw_*.py")  # what they drew before a change is stale


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the photographs, the teacher and the cuts are."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with index.csv")
    parser.add_argument("--yunet", type=Path, help="YuNet's weights (default: peers/ beside the data)")
    parser.add_argument("--detector", type=Path, default=WEIGHTS, help="the folder of the detector that cuts the faces")
    parser.add_argument("--work", type=Path, default=WORK, help="cuts and checkpoints (default: var/training)")


def missing(weights: Path, *, needs_torch: bool) -> str | None:
    """Return a sentence about what is missing to cut faces, and to train where that is wanted, or nothing."""
    if needs_torch and find_spec("torch") is None:
        return "Training needs torch, which is not installed: pip install -e '.[train]'"
    try:
        DetectorManifest.load(weights)
    except WeightsError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class Pool:
    """Name the labelled photographs, the teacher that finds faces on unboxed ones, the work folder, our detector."""

    data: Path
    teacher: Path
    work: Path
    weights: Path = WEIGHTS

    @property
    def about(self) -> str:
        """Say what was learnt from, for the manifest."""
        photos = sum(1 for _ in read_index(self.data))
        return (
            f"train split of {photos:,} web photographs collected by others for research (street and news scenes, "
            "Kaggle, RMFD, K12, smokers, CelebA, FFHQ), and masks drawn or moved onto bare faces of it"
        )

    @classmethod
    def of(cls, options: argparse.Namespace) -> Pool:
        """Read what `add_arguments` added."""
        return cls(options.data, options.yunet or options.data.parent / TEACHER, options.work, options.detector)

    def problem(self, *, needs_torch: bool) -> str | None:
        """Return a sentence about what is missing to work with it, or nothing."""
        if not (self.data / "index.csv").is_file():
            return f"There are no training photographs: {self.data / 'index.csv'} is not there (see --data)."
        if not self.teacher.is_file():
            return f"The detector that finds faces in unboxed photographs is not there: {self.teacher} (see --yunet)."
        return missing(self.weights, needs_torch=needs_torch)

    def cache(self, kind: str) -> Path:
        """Name the file for cuts of these photographs by these detectors; others are never taken for them."""
        digest = hashlib.sha256(f"{DetectorManifest.load(self.weights).digest} {SIDE} {MARGIN} ".encode())
        for source in (self.data / "index.csv", self.teacher):
            digest.update(hashlib.sha256(source.read_bytes()).digest())
        return self.work / f"{kind}-{digest.hexdigest()[:12]}.npz"

    def faces(self) -> Faces:
        """Return all faces, cut now or at an earlier run, with the states that a second look gave them."""
        cache = self.cache("faces")
        if not cache.is_file():
            self._cut().save(cache)
        return corrected(Faces.load(cache))

    def of_split(self, name: str) -> Faces:
        """Return the faces of `val`, or of `dev`, those of the train split that are held out for tuning."""
        if name == "dev":
            return self.to_learn_and_tune(drawn=False)[1]
        faces = self.faces()
        return faces.pick(faces.splits == name)

    def to_learn_and_tune(self, *, drawn: bool = True, held_out: Collection[str] | None = None) -> tuple[Faces, Faces]:
        """Return the faces to learn from, drawn ones if wanted, and to tune on; none is a twin of a `val` face.

        held_out: the files to tune on, where an earlier run has chosen them.
        """
        faces = self.faces()
        parts = split(faces, twin_groups(faces))
        selfies = np.isin(faces.files, np.array(sorted(selfie_files(self.data))))
        usable = np.setdiff1d(np.concatenate([parts.train, parts.dev]), np.flatnonzero(selfies))
        tuned = (
            np.isin(usable, parts.dev)
            if held_out is None
            else np.isin(faces.files[usable], np.array(sorted(held_out), str))
        )
        learn, dev = faces.pick(usable[~tuned]), faces.pick(usable[tuned])
        say(f"faces: {len(learn)} to learn from, {len(dev)} to tune on")
        return (draw_on(learn, self.work) if drawn else learn), dev

    def chances(self, faces: Faces) -> NDArray[np.float64]:
        """Return each row's chance to be drawn, float64 (N,), summing to 1."""
        return draw_weights(faces)

    def _cut(self) -> Faces:
        photos = read_index(self.data)
        cuts = track(cut_pool(self.data, self.teacher, photos, self.weights), "cutting faces", len(photos))
        return pack([row for found in cuts for row in found])


def draw_on(learn: Faces, work: Path) -> Faces:
    """Return the faces and, after them, versions with drawn and moved masks, made now or at an earlier run.

    Only from faces to learn from: a drawn version of one held out, or its mask on another, would tell of it.
    """
    digest = hashlib.sha256(learn.hashes.tobytes() + learn.states.tobytes())
    for pattern in DRAWING:
        for source in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(source.read_bytes())
    cache = work / f"drawn-{digest.hexdigest()[:12]}.npz"
    if not cache.is_file():
        made = list(track(synthesize(learn), "drawing masks"))
        (Faces.join(made) if made else learn.pick(np.arange(0))).save(cache)
    more = Faces.load(cache)
    say(f"drawn: {len(more)}")
    return Faces.join([learn, more])
