"""Learn from photographs in a folder for each state: our detector cuts the faces, each photo's largest one.

    FOLDER/mask/...  FOLDER/no_mask/...  FOLDER/incorrect/...  FOLDER/occluded/...

A folder below a state's names a source (a person, a camera, an album); what is of one source, or nearly the same
picture, is all learnt from or all held out.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.detector import Detector
from ml.geometry import OUTSIDE
from ml.images import decode
from ml.manifest import WEIGHTS, DetectorManifest
from ml.training.crops import MARGIN, SIDE, SMALLEST, Faces, Photo, pack, rows_of
from ml.training.data import twin_groups
from ml.training.pool import draw_on, missing
from ml.training.progress import say, track
from ml.types import STATES, ImageError

PART = "folder"  # the part name, and the first folder of the file names
HELD_OUT = 0.1  # of the sources to tune on, and as many to judge by
DRAWN_SHARE = 0.3  # of the draws of a state that has photographs; all of a state that has none

Weights = NDArray[np.float64]


def photos_of(folder: Path) -> list[Photo]:
    """List the files of each state's folder; hidden ones are left out."""
    return [
        Photo(f"{PART}/{path.relative_to(folder).as_posix()}", PART, "train", state, ())
        for state in STATES
        for path in sorted((folder / state).rglob("*"))
        if path.is_file() and not any(name.startswith(".") for name in path.relative_to(folder).parts)
    ]


def source_of(file: str) -> str:
    """Name what must stay together: the folder below the state's, or the photo itself."""
    folders = Path(file).parts[2:-1]
    return f"{folders[0]}/" if folders else file


def find_largest(image: NDArray[np.uint8], detector: Detector) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return box (1,4) and landmarks (1,5,2) of the largest face, or none; a tight portrait gets room around it."""
    for pad in (0, round(0.4 * max(image.shape[:2]))):
        room = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3)
        found = detector.detect(np.asarray(room, np.uint8))
        if len(found):
            best = [int(np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1).argmax())]
            return found.boxes[best] - np.float32(pad), found.landmarks[best] - np.float32(pad)
    return np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32)


def cut_folder(
    folder: Path, photos: Sequence[Photo], weights: Path = WEIGHTS
) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Yield for each photo its row, or none and why not."""
    cv2.setNumThreads(1)
    detector = Detector(weights)
    for photo in photos:
        try:
            image = decode(folder / Path(photo.file).relative_to(PART))
        except ImageError as error:
            yield [], str(error)
            continue
        boxes, landmarks = find_largest(image, detector)
        rows = rows_of(photo, image, boxes, landmarks, boxes)
        small = f"the face is smaller than {SMALLEST:g} pixels"
        yield rows, "" if rows else small if len(boxes) else "no face was found"


def split_three(faces: Faces, groups: NDArray[np.int64], seed: int, share: float = HELD_OUT) -> NDArray[np.str_]:
    """Name for each face, by group, `train`, `dev` or `val`; a state with three groups has some in each."""
    named: dict[int, str] = {}
    rng = np.random.default_rng(seed)
    # The scarcest state first: its groups are chosen before others take them along.
    for state in np.argsort(np.bincount(faces.states, minlength=len(STATES)), kind="stable"):
        names = rng.permutation(np.unique(groups[faces.states == state])).tolist()
        wanted = round(len(names) * share) if len(names) < 3 else max(1, round(len(names) * share))
        for split in ("val", "dev"):
            short = wanted - sum(named.get(name) == split for name in names)
            named.update(dict.fromkeys([name for name in names if name not in named][: max(0, short)], split))
        # What is left of this state is learnt from, even if another state would hold it out.
        named.update({name: "train" for name in names if name not in named})
    return np.array([named[int(group)] for group in groups])


@dataclass(frozen=True, slots=True)
class FolderPool:
    """Name the folder of photographs, the work folder, the seed of the split, how to balance states, our detector."""

    folder: Path
    work: Path
    seed: int = 0
    balance: str = "sampling"
    weights: Path = WEIGHTS

    def problem(self, *, needs_torch: bool) -> str | None:
        """Return a sentence about what is missing to work with it, or nothing."""
        if not self.folder.is_dir():
            return f"There is no folder {self.folder} (see --folder)."
        there = [state for state in STATES if (self.folder / state).is_dir()]
        if len(there) < 2:
            return f"{self.folder} needs at least two of the folders {', '.join(STATES)}; it has {len(there)}."
        return missing(self.weights, needs_torch=needs_torch)

    @property
    def about(self) -> str:
        """Say what was learnt from, for the manifest."""
        counts = np.bincount(self.faces().states, minlength=len(STATES))
        said = ", ".join(f"{count} {state}" for state, count in zip(STATES, counts, strict=True))
        return f"photographs of a folder for each state ({said}), and masks drawn onto its bare faces"

    def cache(self) -> Path:
        """Name the file for cuts of these photographs by this detector; others are never taken for them."""
        digest = hashlib.sha256(f"{DetectorManifest.load(self.weights).digest} {SIDE} {MARGIN} ".encode())
        for photo in photos_of(self.folder):
            facts = (self.folder / Path(photo.file).relative_to(PART)).stat()
            digest.update(f"{photo.file} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        return self.work / f"folder-{digest.hexdigest()[:12]}.npz"

    def faces(self) -> Faces:
        """Return all faces, cut now or at an earlier run, each with its split. Raises ValueError if there is none."""
        cache = self.cache()
        if not cache.is_file():
            self._cut().save(cache)
        faces = Faces.load(cache)
        sources = np.array([source_of(file) for file in faces.files.tolist()])
        return replace(faces, splits=split_three(faces, twin_groups(replace(faces, files=sources)), self.seed))

    def of_split(self, name: str) -> Faces:
        """Return the faces of `train`, `dev` (to tune on) or `val` (to judge by)."""
        faces = self.faces()
        return faces.pick(faces.splits == name)

    def to_learn_and_tune(self, *, drawn: bool = True, held_out: Collection[str] | None = None) -> tuple[Faces, Faces]:
        """Return the faces to learn from, drawn ones if wanted, and to tune on.

        held_out: the files to tune on, where an earlier run has chosen them. Raises ValueError if a side is empty.
        """
        faces = self.faces()
        if held_out is not None:
            tuned = np.isin(faces.files, np.array(sorted(held_out), str)) & (faces.splits != "val")
            faces = replace(faces, splits=np.where(tuned, "dev", np.where(faces.splits == "val", "val", "train")))
        learn, dev = (faces.pick(faces.splits == name) for name in ("train", "dev"))
        if not len(learn) or not len(dev):
            raise ValueError(f"{self.folder} has too few photographs with a face: {len(faces)}")
        say(f"faces of {self.folder}: {len(learn)} to learn from, {len(dev)} to tune on")
        return (draw_on(learn, self.work) if drawn else learn), dev

    def chances(self, faces: Faces) -> Weights:
        """Return each row's chance to be drawn, float64 (N,), summing to 1: states alike, or photographs alike."""
        own = faces.parts == PART
        counts = np.array([(own & (faces.states == state)).sum() for state in range(len(STATES))], float)
        usual = counts[counts > 0].mean()
        weights = np.zeros(len(faces), np.float64)
        for state, count in enumerate(counts):
            of = faces.states == state
            size = 1.0 if self.balance == "sampling" else count or usual
            for rows, share in ((of & own, 1 - DRAWN_SHARE), (of & ~own, DRAWN_SHARE)):
                if rows.any():
                    weights[rows] = size * (share if (of & own).any() and (of & ~own).any() else 1.0) / rows.sum()
        return np.asarray(weights / weights.sum(), np.float64)

    def _cut(self) -> Faces:
        photos = photos_of(self.folder)
        rows, left = [], []
        for photo, (found, reason) in zip(
            photos, track(cut_folder(self.folder, photos, self.weights), "cutting faces", len(photos)), strict=True
        ):
            rows += found
            if reason:
                left.append((Path(photo.file).relative_to(PART).as_posix(), reason))
        listed = self.cache().with_suffix(".left-out.csv")
        listed.parent.mkdir(parents=True, exist_ok=True)
        with listed.open("w", newline="") as file:
            csv.writer(file).writerows([("file", "reason"), *left])
        for name, reason in left[:20]:
            say(f"left out: {name}: {reason}")
        say(f"{len(rows)} faces, one a photo; {len(left)} photographs left out, listed in {listed}")
        return pack(rows)
