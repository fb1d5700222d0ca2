"""Train the cascade that finds faces: `python -m ml.training.train_detector --data ../shared/data`."""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.images import decode
from ml.manifest import WEIGHTS
from ml.training.crops import read_index
from ml.training.detection.scenes import Scene, find_scenes, load_scenes, save_scenes
from ml.training.pool import WORK
from ml.training.progress import say, track

if TYPE_CHECKING:
    from torch import nn

    from ml.training.detection.candidates import Candidates
    from ml.training.detection.draws import Labelled
    from ml.training.detection.learn import Plan
    from ml.training.detection.nets import OutputNet, RefineNet

YUNET, MASKED = "yunet_2026may.onnx", "rfb640_masked_face_v2.onnx"
#: Epochs of 250 steps, and the top learning rate. `polish` goes on with the output network, on what it still errs on.
COURSES = {"proposal": (42, 3e-3), "refine": (24, 2e-3), "output": (40, 2e-3), "polish": (28, 8e-4)}
#: How often the first network looks at a part's photographs, at several sizes, to find what else looks like a face.
PASSES = {"ilc_scenes": 5, "kaggle_scenes": 2, "crowd_mask": 2, "beards": 2}
# Photographs with badly worn masks and bare faces are fewer, and drawn twice as often.
SCARCE = ("no_mask", "incorrect")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m ml.training.train_detector", description=__doc__)
    made.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with index.csv")
    made.add_argument("--teachers", type=Path, help=f"folder with {YUNET} and {MASKED} (default: peers/ beside --data)")
    made.add_argument("--work", type=Path, default=WORK / "detector", help="scenes, cuts and checkpoints")
    made.add_argument("--out", type=Path, default=WEIGHTS, help="where the trained cascade goes")
    made.add_argument("--epochs", type=int, help="of each network, instead of its own number")
    made.add_argument("--minutes", type=float, default=math.inf, help="end each network, cooled down, after so long")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--device", default="auto", help="cuda or cpu (default: cuda where there is one)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--fresh", action="store_true", help="begin anew instead of going on from the checkpoints")
    return made


@dataclass(frozen=True, slots=True)
class Task:
    """Name the photographs, the teachers that box the unboxed ones, and the work folder."""

    data: Path
    teachers: Path
    work: Path

    def problem(self) -> str | None:
        """Return a sentence about what is missing to train, or nothing."""
        if not (self.data / "index.csv").is_file():
            return f"There are no training photographs: {self.data / 'index.csv'} is not there (see --data)."
        for name in (YUNET, MASKED):
            if not (self.teachers / name).is_file():
                return f"A detector that boxes unboxed photographs is not there: {self.teachers / name} (--teachers)."
        if find_spec("torch") is None:
            return "Training needs torch, which is not installed: pip install -e '.[train]'"
        return None

    def scenes(self) -> list[Scene]:
        """Return where the faces of the train split are, found now or at an earlier run."""
        digest = hashlib.sha256()
        for source in (self.data / "index.csv", self.teachers / YUNET, self.teachers / MASKED):
            digest.update(source.read_bytes())
        path = self.work / f"scenes-{digest.hexdigest()[:12]}.json"
        if not path.is_file():
            photos = [photo for photo in read_index(self.data) if photo.split == "train"]
            found = find_scenes(self.data, photos, self.teachers / YUNET, self.teachers / MASKED)
            # Each photo passes twice: seen by the teachers, then boxed.
            save_scenes(path, [s for s in track(found, "looking for faces", 2 * len(photos)) if s is not None])
        return load_scenes(path)

    def photos(self, scenes: Sequence[Scene]) -> dict[str, list[Labelled]]:
        """Decode the photographs, by part; some three gigabytes for ten thousand small ones."""
        from ml.training.detection.draws import Labelled

        loaded: dict[str, list[Labelled]] = {}
        for scene in track(scenes, "decoding", len(scenes)):
            photo = Labelled(decode(self.data / scene.file), scene)
            loaded.setdefault(scene.part, []).append(photo)
            if scene.part in PASSES and any(state in SCARCE for state in scene.states):
                loaded[scene.part].append(photo)
        return loaded


def teach(task: Task, plans: dict[str, Plan], seed: int) -> dict[str, nn.Module]:
    """Train the three networks, each on what the ones before let pass."""
    from ml.training.detection import lessons
    from ml.training.detection.learn import learn
    from ml.training.detection.nets import OutputNet, ProposalNet, RefineNet

    photos = task.photos(task.scenes())
    proposal = learn(ProposalNet, lessons.ProposalLesson(photos), plans["proposal"], task.work / "proposal.pt")
    candidates = mine_all(task, proposal, photos, seed)
    photos.clear()
    lesson = lessons.CropLesson(candidates, RefineNet)
    refine = learn(RefineNet, lesson, plans["refine"], task.work / "refine.pt")
    lesson = lessons.CropLesson(candidates, OutputNet, doubt=_doubt(refine, candidates, RefineNet))
    output = learn(OutputNet, lesson, plans["output"], task.work / "output.pt")
    lesson = lessons.CropLesson(candidates, OutputNet, doubt=_doubt(output, candidates, OutputNet))
    output = learn(lambda: deepcopy(output), lesson, plans["polish"], task.work / "polish.pt")
    return {"pnet": proposal, "rnet": refine, "onet": output}


def _doubt(net: nn.Module, candidates: Candidates, kind: type[RefineNet] | type[OutputNet]) -> NDArray[np.float32]:
    """Return how likely a network takes each candidate for a face, float32 (N,)."""
    from ml.training.detection.lessons import logits_of, plain

    sure = logits_of(net, plain(candidates, kind.SIZE, kind.MARGIN))
    return np.asarray(1 / (1 + np.exp(-sure)), np.float32)


def mine_all(task: Task, proposal: nn.Module, photos: dict[str, list[Labelled]], seed: int) -> Candidates:
    """Return what the proposal network finds on the training photographs, cut now or at an earlier run."""
    from ml.detector import Detector
    from ml.training.detection.candidates import Candidates, mined
    from ml.training.detection.export import SETTINGS, write_cascade
    from ml.training.detection.nets import OutputNet, RefineNet

    digest = hashlib.sha256(str(seed).encode())
    for value in proposal.state_dict().values():
        digest.update(value.numpy().tobytes())
    path = task.work / f"candidates-{digest.hexdigest()[:12]}.npz"
    if not path.is_file():
        # Twice in the list are the scarce ones; once is enough here.
        once = {photo.scene.file: photo for of in photos.values() for photo in of}
        stages = SETTINGS["stages"] | {"pnet": SETTINGS["stages"]["pnet"] | {"threshold": 0.05}}
        with TemporaryDirectory() as folder:
            nets = {"pnet": proposal, "rnet": RefineNet(), "onet": OutputNet()}
            write_cascade(Path(folder), nets, SETTINGS | {"stages": stages})
            detector = Detector(Path(folder))
        pairs = ((photo.image, photo.scene) for photo in once.values())
        found = mined(detector, pairs, np.random.default_rng(seed), PASSES)
        Candidates.join(list(track(found, "looking at proposals"))).save(path)
    return Candidates.load(path)


def main(arguments: list[str] | None = None) -> int:
    """Find the boxes, train the three networks and write the cascade."""
    options = parser().parse_args(arguments)
    task = Task(options.data, options.teachers or options.data.parent / "peers", options.work)
    if problem := task.problem():
        say(problem)
        return 2
    import torch

    from ml.training.detection.export import SETTINGS, write_cascade
    from ml.training.detection.learn import Plan
    from ml.training.device import choose_device, choose_workers

    cv2.setNumThreads(1)
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    plans = {
        name: Plan(
            options.epochs or epochs,
            rate,
            minutes=options.minutes,
            seed=options.seed,
            device=device,
            workers=choose_workers(device),
            fresh=options.fresh,
        )
        for name, (epochs, rate) in COURSES.items()
    }
    apart = write_cascade(options.out, teach(task, plans, options.seed), SETTINGS)
    say(f"{options.out}: parity " + ", ".join(f"{name} {value:.1e}" for name, value in apart.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
