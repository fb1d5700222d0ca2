"""Show the worst mistakes: which they are, and a picture of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.evaluation.cases import STATE_OF, Case, Judged
from ml.evaluation.index import Corners
from ml.evaluation.reading import corners
from ml.geometry import Octaves, Pixels, crop_squares
from ml.images import decode
from ml.types import STATES, ImageError

#: How many of each kind are shown.
MOST = 30
_SIDE, _COLUMNS = 112, 10
# The square around a face that is shown, in units of its longer side: enough to see where it is.
_AROUND = 1.8
_RED = (230, 60, 40)
_WARNING = "Not to be published unless every photograph is yours to show."


@dataclass(frozen=True, slots=True)
class Mistake:
    """Hold one mistake: the photograph, where on it, in pixels, and what is wrong in a few words."""

    photo: Path
    file: str
    xyxy: Corners
    caption: str

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {"file": self.file, "xyxy": [round(edge, 1) for edge in self.xyxy], "caption": self.caption}


def worst(judged: Sequence[Judged]) -> dict[str, list[Mistake]]:
    """List the mistakes by kind, the worst of each first: large faces missed, strays and labels most sure of."""
    cases = [case for photo in judged for case in photo.cases]
    missed = sorted((case for case in cases if case.seen is None), key=lambda case: -case.size)
    strays = [(face, photo.photo) for photo in judged if photo.photo.is_scene for face in photo.strays]
    wrong = sorted((case for case in cases if case.said not in (None, case.state)), key=lambda case: -_sure(case))
    to_mask = [case for case in wrong if case.said == STATE_OF["mask"]]
    other = [case for case in wrong if case.said != STATE_OF["mask"]]

    def of(case: Case, caption: str) -> Mistake:
        photo = judged[case.photo].photo
        return Mistake(photo.path, photo.file, case.xyxy, caption)

    return {
        "missed faces": [of(case, f"{STATES[case.state]} {case.size:.0f} px") for case in missed],
        "strays": [
            Mistake(photo.path, photo.file, corners(face), f"stray {face.score:.2f} {face.label}")
            for face, photo in sorted(strays, key=lambda pair: -pair[0].score)
        ],
        "called mask, and is none": [of(case, _confusion(case)) for case in to_mask],
        "called wrongly otherwise": [of(case, _confusion(case)) for case in other],
    }


def draw_sheet(mistakes: dict[str, list[Mistake]]) -> Pixels:
    """Draw the first of each kind, uint8 RGB, each with its caption beneath and its box in red."""
    strips = [_heading(_WARNING)]
    for kind, of in mistakes.items():
        shown = list(_tiles(of[:MOST]))
        strips.append(_heading(f"{kind}: {len(of)}" + (f", the worst {len(shown)}" if len(shown) < len(of) else "")))
        if shown:
            strips.append(contact_sheet([tile for tile, _ in shown], [caption for _, caption in shown], _COLUMNS))
    width = max(strip.shape[1] for strip in strips)
    return np.vstack([np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips])


def contact_sheet(
    crops: Sequence[Pixels] | NDArray[np.uint8], captions: Sequence[str], columns: int = 12
) -> NDArray[np.uint8]:
    """Return crops (N,S,S,3) in rows with their captions beneath, uint8 RGB."""
    tiles = []
    for crop, caption in zip(crops, captions, strict=True):
        tile = cv2.copyMakeBorder(crop, 0, 14, 0, 2, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        spot = (1, crop.shape[0] + 10)
        tiles.append(cv2.putText(tile, caption, spot, cv2.FONT_HERSHEY_PLAIN, 0.7, (255, 255, 255), 1))
    if not tiles:
        return np.zeros((16, 16, 3), np.uint8)
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows).astype(np.uint8)


def _tiles(mistakes: Sequence[Mistake]) -> Iterator[tuple[Pixels, str]]:
    for mistake in mistakes:
        try:
            octaves = Octaves(decode(mistake.photo))
        except ImageError:
            continue  # its faces are missed because it cannot be read; the command has said so
        crop = crop_squares(octaves, [mistake.xyxy], _SIDE, _AROUND)[0]
        sides = np.array([mistake.xyxy[2] - mistake.xyxy[0], mistake.xyxy[3] - mistake.xyxy[1]])
        half = np.rint(sides / sides.max() * _SIDE / _AROUND / 2).astype(int)
        left, top = (_SIDE // 2 - half).tolist()
        right, bottom = (_SIDE // 2 + half).tolist()
        yield np.asarray(cv2.rectangle(crop, (left, top), (right, bottom), _RED, 1), np.uint8), mistake.caption


def _heading(text: str) -> Pixels:
    strip = np.zeros((24, _COLUMNS * (_SIDE + 2), 3), np.uint8)
    return np.asarray(cv2.putText(strip, text, (4, 17), cv2.FONT_HERSHEY_PLAIN, 1.0, (255, 220, 120), 1), np.uint8)


def _sure(case: Case) -> float:
    return 0.0 if case.seen is None else max(case.seen.face.probabilities.values())


def _confusion(case: Case) -> str:
    said = "" if case.said is None else STATES[case.said]
    return f"{_short(STATES[case.state])}>{_short(said)} {_sure(case):.2f}"


def _short(state: str) -> str:
    return state if state in ("mask", "no_mask") else state[:6]
