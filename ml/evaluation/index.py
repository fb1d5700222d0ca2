"""Read the table of labelled photographs: `index.csv`, with the photographs beside it."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.types import STATES

INDEX = "index.csv"
SPLITS = ("val", "train", "all")
COLUMNS = ("file", "part", "split", "label", "boxes")
#: What `label` says of a photograph whose faces are boxed one by one.
BOXED = "boxes"
#: The label of a box that is neither a hit nor a miss, whatever is found there.
IGNORE = "ignore"
#: Pixels: a face with a shorter side is neither a hit nor a miss.
SMALLEST = 24.0

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """Hold one boxed face: its state or `ignore`, corners x1, y1, x2, y2 in pixels, if it is a joke."""

    label: str
    xyxy: Corners
    joke: bool = False

    @property
    def size(self) -> float:
        """Return the shorter side in pixels."""
        return min(self.xyxy[2] - self.xyxy[0], self.xyxy[3] - self.xyxy[1])

    @property
    def counts(self) -> bool:
        """Tell if finding this face is a hit, and not finding it a miss."""
        return self.label != IGNORE and not self.joke and self.size >= SMALLEST


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """Hold one row: the photograph, the part of the index it belongs to, its boxed faces or the label of all of it.

    `is_scene` says that its part is boxed: then a found face away from all boxes is a mistake.
    """

    file: str
    path: Path
    part: str
    label: str
    faces: tuple[LabelledFace, ...]
    is_scene: bool


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    split: str
    photo: LabelledPhoto


def read_index(index: Path, split: str = "val", parts: Sequence[str] | None = None) -> list[LabelledPhoto]:
    """List the photographs of a split and, where parts are named, of these parts, in the order of the index.

    index: the table, or the folder that holds it as `index.csv`. A part is boxed where any of its rows has boxes.
    Raises FileNotFoundError if there is no table, ValueError naming file, row and column of what is wrong in it.
    """
    index = index / INDEX if index.is_dir() else index
    if not index.is_file():
        raise FileNotFoundError(f"there is no table of labelled photographs: {index}")
    rows = _rows(index)
    known = {row.photo.part for row in rows}
    for part in parts or ():
        if part not in known:
            raise ValueError(f"{index} has no part {part!r}; it has {', '.join(sorted(known))}")
    chosen = [row for row in rows if split in (row.split, "all") and (not parts or row.photo.part in parts)]
    if not chosen:
        raise ValueError(f"{index} has no photograph of the split {split!r} in these parts")
    boxed = {row.photo.part for row in chosen if row.photo.faces}
    return [_placed(index, row, is_scene=row.photo.part in boxed) for row in chosen]


def _placed(index: Path, row: _Row, *, is_scene: bool) -> LabelledPhoto:
    photo = row.photo
    if not is_scene and photo.label not in STATES:
        states = ", ".join(STATES)
        raise _wrong(
            index, row.number, "label", f"{photo.label!r} is none of {states}, and the photograph has no boxes"
        )
    if not photo.path.is_file():
        raise _wrong(index, row.number, "file", f"there is no photograph {photo.path}")
    return LabelledPhoto(photo.file, photo.path, photo.part, photo.label, photo.faces, is_scene)


def _rows(index: Path) -> list[_Row]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            for name in COLUMNS:
                if name not in (table.fieldnames or ()):
                    raise ValueError(f"{index}, row 1: there is no column {name!r}; needed are {', '.join(COLUMNS)}")
            rows = [_row(index, number, values) for number, values in enumerate(table, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{index} is not a table of comma-separated values in UTF-8: {error}") from error
    first: dict[str, int] = {}
    for row in rows:
        if row.photo.file in first:
            raise _wrong(index, row.number, "file", f"{row.photo.file!r} is in row {first[row.photo.file]} already")
        first[row.photo.file] = row.number
    return rows


def _row(index: Path, number: int, values: Mapping[str, Any]) -> _Row:
    for name in COLUMNS:
        if values[name] is None:
            raise _wrong(index, number, name, "the row ends before this column")
    for name in ("file", "part"):
        if not values[name].strip():
            raise _wrong(index, number, name, "it is empty")
    if values["split"] not in SPLITS[:2]:
        raise _wrong(index, number, "split", f"{values['split']!r} is neither 'train' nor 'val'")
    if values["label"] not in (BOXED, *STATES):
        raise _wrong(index, number, "label", f"{values['label']!r} is none of {', '.join((BOXED, *STATES))}")
    try:
        faces = _faces(json.loads(values["boxes"] or "[]"))
    except json.JSONDecodeError as error:
        raise _wrong(index, number, "boxes", f"it is no JSON ({error})") from error
    except ValueError as error:
        raise _wrong(index, number, "boxes", str(error)) from error
    path = index.parent / values["file"]
    return _Row(
        number, values["split"], LabelledPhoto(values["file"], path, values["part"], values["label"], faces, False)
    )


def _faces(boxes: Any) -> tuple[LabelledFace, ...]:
    if not isinstance(boxes, list):
        raise ValueError("it is no list of boxes")
    return tuple(_face(number, box) for number, box in enumerate(boxes, 1))


def _face(number: int, box: Any) -> LabelledFace:
    if not isinstance(box, dict) or "label" not in box or "xyxy" not in box:
        raise ValueError(f"box {number} has no 'label' and 'xyxy'")
    label, edges = box["label"], box["xyxy"]
    if label not in (*STATES, IGNORE):
        raise ValueError(f"the label {label!r} of box {number} is none of {', '.join((*STATES, IGNORE))}")
    numbers = isinstance(edges, list) and all(isinstance(edge, (int, float)) for edge in edges)
    if not numbers or len(edges) != 4 or not all(map(math.isfinite, edges)):
        raise ValueError(f"'xyxy' of box {number} is not four numbers")
    x1, y1, x2, y2 = map(float, edges)
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {number} has no extent: x2 and y2 must be greater than x1 and y1")
    return LabelledFace(label, (x1, y1, x2, y2), bool(box.get("joke")))


def _wrong(index: Path, row: int, column: str, why: str) -> ValueError:
    return ValueError(f"{index}, row {row}, column {column}: {why}")
