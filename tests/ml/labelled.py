"""Labelled photographs for tests: an index that is written, and photographs that are judged without pixels."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.evaluation.cases import Judged, judge
from ml.evaluation.index import LabelledFace, LabelledPhoto
from ml.evaluation.reading import Observation, Seen
from ml.evaluation.traits import Traits
from ml.types import STATES, Box, FaceReading

COLUMNS = ("file", "part", "split", "label", "boxes")
PLAIN = Traits(blur=0.1, brightness=120, skin=30, pattern=2)

Corners = tuple[float, float, float, float]


def write_index(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `index.csv`; a row that does not say otherwise is of the part `photos` and the split `val`."""
    path = folder / "index.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            boxes = row.get("boxes", [])
            values = {"part": "photos", "split": "val", "label": "boxes", **row}
            writer.writerow({**values, "boxes": boxes if isinstance(boxes, str) else json.dumps(boxes)})
    return path


def face_at(xyxy: Corners, label: str = "mask", chance: float = 0.9, score: float = 0.95) -> FaceReading:
    """Return a found face whose label has this probability; the other states share the rest."""
    rest = (1 - chance) / (len(STATES) - 1)
    return FaceReading(Box(*xyxy), score, {state: chance if state == label else rest for state in STATES})


def labelled(xyxy: Corners = (0, 0, 100, 100), label: str = "mask", joke: bool = False) -> LabelledFace:
    return LabelledFace(label, xyxy, joke)


def seen_on(
    faces: Sequence[LabelledFace],
    found: Sequence[FaceReading],
    *,
    part: str = "scenes",
    label: str = "boxes",
    threshold: float = 0.5,
    traits: Traits = PLAIN,
    yaw: float = 0.0,
) -> Observation:
    """Return what was seen on a photograph that nobody needs to open; without a label it is a boxed one."""
    photo = LabelledPhoto(f"{part}/x.jpg", Path(part, "x.jpg"), part, label, tuple(faces), label == "boxes")
    count = len(faces) if photo.is_scene else 1
    return Observation(photo, tuple(Seen(face, face.score >= threshold, yaw) for face in found), (traits,) * count)


def judged(*observations: Observation) -> list[Judged]:
    return judge(observations)
