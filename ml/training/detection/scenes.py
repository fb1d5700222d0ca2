"""Where the faces are on each photograph of the pool: as people boxed them, or else as two teachers agree."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.geometry import Floats
from ml.images import decode
from ml.training.crops import CROPPED, Photo, iou
from ml.training.detection.teachers import MaskedFaces, Taught, YuNet
from ml.types import STATES, ImageError

FACE, IGNORED = 1, 0
#: States of the ignored: marked so by people, and seen by a teacher only.
SPARE, UNKNOWN = "ignored", "unknown"
_SAME = 0.4
_NEAR = 0.3
# A face that a teacher is this sure of is one where nobody drew boxes, and one that nobody boxed where somebody did.
_SURE_YUNET, _SURE_MASKED, _SURE_BOTH = 0.72, 0.92, 0.5
_DOUBT = 0.4
# Where a photo is one face and no teacher sees it.
_WHOLE = np.array([0.12, 0.08, 0.88, 0.92], np.float32)


@dataclass(frozen=True, slots=True)
class Scene:
    """Hold one photograph's truth: boxes (N,4), kinds (N,) FACE or IGNORED, landmarks (N,5,2), NaN where unknown."""

    file: str
    part: str
    split: str
    boxes: Floats
    kinds: NDArray[np.int64]
    states: tuple[str, ...]
    landmarks: Floats


@dataclass(frozen=True, slots=True)
class Convention:
    """Move a teacher's boxes to where people draw them: shift and scale in units of the box's own sides."""

    shift: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def fitted(cls, taught: Floats, drawn: Floats) -> Convention:
        """Return the medians over matched boxes (N,4)."""
        if not len(taught):
            return cls()
        sides = taught[:, 2:] - taught[:, :2]
        shift = ((drawn[:, :2] + drawn[:, 2:]) - (taught[:, :2] + taught[:, 2:])) / 2 / sides
        scale = (drawn[:, 2:] - drawn[:, :2]) / sides
        (x, y), (wide, tall) = np.median(shift, axis=0), np.median(scale, axis=0)
        return cls((float(x), float(y)), (float(wide), float(tall)))

    def apply(self, boxes: Floats) -> Floats:
        """Return the moved boxes (N,4)."""
        sides = boxes[:, 2:] - boxes[:, :2]
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + sides * np.array(self.shift, np.float32)
        half = sides * np.array(self.scale, np.float32) / 2
        return np.concatenate([centre - half, centre + half], axis=1)


@dataclass(frozen=True, slots=True)
class _Seen:
    photo: Photo
    spare: Floats  # boxes that are neither hit nor miss
    size: tuple[int, int]
    yunet: Taught
    masked: Taught


def find_scenes(root: Path, photos: Sequence[Photo], yunet: Path, masked: Path) -> Iterator[Scene | None]:
    """Yield a scene per photo once all were seen by the teachers, and None meanwhile, once per photo.

    Two passes: how the teachers' boxes differ from people's is learnt on the boxed photographs of the train split.
    """
    first, second, spare = YuNet(yunet), MaskedFaces(masked), _spare_boxes(root)
    seen = []
    for photo in photos:
        yield None
        try:
            image = decode(root / photo.file)
        except ImageError:
            continue
        nothing = np.empty((0, 4), np.float32)
        size = (image.shape[0], image.shape[1])
        seen.append(_Seen(photo, spare.get(photo.file, nothing), size, first.find(image), second.find(image)))
    boxed = [one for one in seen if one.photo.part in ("ilc_scenes", "kaggle_scenes") and one.photo.split == "train"]
    conventions = _convention(boxed, "yunet"), _convention(boxed, "masked")
    for one in seen:
        moved = replace(
            one,
            yunet=replace(one.yunet, boxes=conventions[0].apply(one.yunet.boxes)),
            masked=replace(one.masked, boxes=conventions[1].apply(one.masked.boxes)),
        )
        yield _boxed(moved) if one.photo.boxes or one.photo.state == "boxes" else _unboxed(moved)


def _spare_boxes(root: Path) -> dict[str, Floats]:
    """Return per file the boxes that `read_index` leaves out: marked `ignore`, or `joke`, or of an unknown label."""
    spare = {}
    with (root / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            boxes = [b["xyxy"] for b in json.loads(row["boxes"] or "[]") if b["label"] not in STATES or b.get("joke")]
            if boxes:
                spare[row["file"]] = np.array(boxes, np.float32)
    return spare


def _convention(seen: Iterable[_Seen], teacher: str) -> Convention:
    taught, drawn = [], []
    for one in seen:
        found: Taught = getattr(one, teacher)
        truth = np.array([box for _, box in one.photo.boxes], np.float32).reshape(-1, 4)
        if not len(found.boxes) or not len(truth):
            continue
        overlap = iou(truth, found.boxes)
        for row in np.flatnonzero((overlap.max(axis=1) >= _SAME) & ((truth[:, 2:] - truth[:, :2]).min(axis=1) >= 24)):
            taught.append(found.boxes[overlap[row].argmax()])
            drawn.append(truth[row])
    return Convention.fitted(np.array(taught, np.float32), np.array(drawn, np.float32))


def _merged(one: _Seen) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Return what the teachers found together: boxes (N,4), whether they are sure (N,), landmarks (N,5,2)."""
    a, b = one.yunet, one.masked
    overlap = iou(a.boxes, b.boxes)
    partner = np.array([row.max(initial=0) >= _SAME for row in overlap], bool)
    other = np.array([b.scores[row.argmax()] if row.size else 0 for row in overlap], np.float32) * partner
    sure = (a.scores >= _SURE_YUNET) | (other >= _SURE_MASKED) | ((a.scores >= _SURE_BOTH) & (other >= _SURE_BOTH))
    alone = (
        np.array([column.max(initial=0) < _NEAR for column in overlap.T], bool) if len(b.boxes) else np.empty(0, bool)
    )
    boxes = np.concatenate([a.boxes, b.boxes[alone]])
    seen = np.concatenate([(a.scores >= _DOUBT) | partner, b.scores[alone] >= _DOUBT])
    sure = np.concatenate([sure, b.scores[alone] >= _SURE_MASKED])
    marks = np.concatenate([a.landmarks, b.landmarks[alone]])
    return boxes[seen], sure[seen], marks[seen]


def _boxed(one: _Seen) -> Scene:
    truth = np.array([box for _, box in one.photo.boxes], np.float32).reshape(-1, 4)
    spare = one.spare
    boxes, _, marks = _merged(one)
    known = np.concatenate([truth, spare])
    overlap = iou(known, boxes) if len(boxes) and len(known) else np.zeros((len(known), len(boxes)), np.float32)
    landmarks = np.full((len(truth), 5, 2), np.nan, np.float32)
    for row in range(len(truth)):
        if len(boxes) and overlap[row].max() >= _SAME:
            landmarks[row] = marks[overlap[row].argmax()]
    unknown = boxes[overlap.max(axis=0, initial=0) < _NEAR]
    rest = np.concatenate([spare, unknown])
    return Scene(
        one.photo.file,
        one.photo.part,
        one.photo.split,
        np.concatenate([truth, rest]),
        np.array([FACE] * len(truth) + [IGNORED] * len(rest), np.int64),
        (*(state for state, _ in one.photo.boxes), *(SPARE for _ in spare), *(UNKNOWN for _ in unknown)),
        np.concatenate([landmarks, np.full((len(rest), 5, 2), np.nan, np.float32)]),
    )


def _unboxed(one: _Seen) -> Scene:
    boxes, sure, marks = _merged(one)
    if not sure.any() and len(boxes) and one.photo.part not in ("crowd_mask", "crowd_no_mask", "rmfd_mask"):
        # The photo is about a face: the largest doubtful one is it.
        sure[(boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()] = True
    if not len(boxes) and one.photo.part in CROPPED:
        height, width = one.size
        boxes = (_WHOLE * np.array([width, height, width, height], np.float32))[None]
        sure, marks = np.array([True]), np.full((1, 5, 2), np.nan, np.float32)
    state = one.photo.state
    return Scene(
        one.photo.file,
        one.photo.part,
        one.photo.split,
        boxes,
        sure.astype(np.int64),
        tuple(state if s else UNKNOWN for s in sure),
        marks,
    )


def save_scenes(path: Path, scenes: Iterable[Scene]) -> None:
    """Write the scenes as JSON; never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "file": s.file,
            "part": s.part,
            "split": s.split,
            "boxes": s.boxes.round(1).tolist(),
            "kinds": s.kinds.tolist(),
            "states": list(s.states),
            "landmarks": [None if np.isnan(m).any() else m.round(1).tolist() for m in s.landmarks],
        }
        for s in scenes
    ]
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(rows))
    scratch.replace(path)


def load_scenes(path: Path) -> list[Scene]:
    """Read what `save_scenes` wrote."""
    unknown = np.full((5, 2), np.nan)
    return [
        Scene(
            row["file"],
            row["part"],
            row["split"],
            np.array(row["boxes"], np.float32).reshape(-1, 4),
            np.array(row["kinds"], np.int64),
            tuple(row["states"]),
            np.array([unknown if m is None else m for m in row["landmarks"]], np.float32).reshape(-1, 5, 2),
        )
        for row in json.loads(path.read_text())
    ]
