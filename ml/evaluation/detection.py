"""Judge the detector: what it finds, by state and size, at its threshold and at all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.cases import STATE_OF, Judged
from ml.evaluation.index import SMALLEST
from ml.evaluation.matching import match
from ml.evaluation.reading import corners
from ml.evaluation.stats import Estimate, Resampler, Values, area_under, divided
from ml.evaluation.traits import SIZE
from ml.types import STATES, FaceReading

_THRESHOLDS = 60
_SIZES = len(SIZE.groups)
# Columns of the counts: all faces, those of each state, those of each size.
_WIDTH = 1 + len(STATES) + _SIZES


@dataclass(frozen=True, slots=True)
class Operating:
    """Hold what one threshold gives: how much of the faces is found, of each state, and strays per photograph."""

    threshold: float
    recall: float
    recall_by_state: dict[str, float]
    strays_per_photo: float


@dataclass(frozen=True, slots=True)
class Detection:
    """Hold what was counted on the boxed photographs; groups without a face are left out."""

    photos: int
    recall: Estimate
    precision_average: Estimate
    strays_per_photo: Estimate
    recall_by_state: dict[str, Estimate]
    average_by_state: dict[str, Estimate]
    recall_by_size: dict[str, Estimate]
    average_by_size: dict[str, Estimate]
    curve: tuple[Operating, ...]

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "photos": self.photos,
            "recall": self.recall.as_json(),
            "average_precision": self.precision_average.as_json(),
            "strays_per_photo": self.strays_per_photo.as_json(),
            "by_state": _pairs(self.recall_by_state, self.average_by_state),
            "by_size": _pairs(self.recall_by_size, self.average_by_size),
            "curve": [
                {
                    "threshold": round(point.threshold, 4),
                    "recall": round(point.recall, 4),
                    "recall_by_state": {state: round(value, 4) for state, value in point.recall_by_state.items()},
                    "strays_per_photo": round(point.strays_per_photo, 4),
                }
                for point in self.curve
            ],
        }


class DetectionCounts:
    """Count, for each photograph and threshold, the faces that are hit and the strays; then judge any part of them."""

    def __init__(self, judged: Sequence[Judged], floor: float) -> None:
        scores = [one.face.score for photo in judged if photo.photo.is_scene for one in photo.seen]
        self.thresholds = thresholds_of(scores, floor)
        shape = (len(judged), len(self.thresholds))
        self._hits = np.zeros((*shape, _WIDTH))
        self._strays = np.zeros((*shape, 1 + _SIZES))
        self._faces = np.zeros((len(judged), _WIDTH))
        self._now = np.zeros((len(judged), _WIDTH))
        self._strays_now = np.zeros(len(judged))
        for number, photo in enumerate(judged):
            if photo.photo.is_scene:
                self._count(number, photo)

    def _count(self, number: int, photo: Judged) -> None:
        columns = {i: _columns(face.label, face.size) for i, face in enumerate(photo.photo.faces) if face.counts}
        for i, places in columns.items():
            self._faces[number, places] += 1
            self._now[number, places] += i in photo.match.hits
        self._strays_now[number] = len(photo.match.strays)
        sizes = [_stray_columns(one.face) for one in photo.seen]
        scores = np.array([one.face.score for one in photo.seen])
        among: list[int] = []
        for step, threshold in enumerate(self.thresholds.tolist()):
            more = np.flatnonzero(scores >= threshold).tolist()
            if step and more == among:
                self._hits[number, step] = self._hits[number, step - 1]
                self._strays[number, step] = self._strays[number, step - 1]
                continue
            among = more
            found = match(photo.overlaps, among)
            for i, places in columns.items():
                self._hits[number, step, places] += i in found.hits
            for j in found.strays:
                self._strays[number, step, sizes[j]] += 1

    def judge(self, of: NDArray[np.bool_], resampler: Resampler) -> Detection:
        """Return the numbers of the photographs `of` [photos]; those that are not boxed must not be among them."""
        among = of[:, None]
        hits, faces = self._now * among, self._faces * among
        columns = {"all": 0} | {state: 1 + place for state, place in STATE_OF.items()}
        sizes = {name: 1 + len(STATES) + place for place, name in enumerate(SIZE.groups)}
        there = [name for name, column in (columns | sizes).items() if faces[:, column].any()]

        def recall(column: int) -> Estimate:
            return resampler.share(hits[:, column], faces[:, column])

        def average(column: int, strays: int) -> Estimate:
            counts = np.concatenate(
                [self._hits[:, :, column] * among, self._strays[:, :, strays] * among, faces[:, [column]]], axis=1
            )
            return resampler.estimate(counts, self._average, round(faces[:, column].sum()))

        return Detection(
            photos=int(of.sum()),
            recall=recall(0),
            precision_average=average(0, 0),
            strays_per_photo=resampler.estimate(
                np.stack([self._strays_now * of, of], axis=1),
                lambda sums: divided(sums[..., 0], sums[..., 1]),
                int(of.sum()),
            ),
            recall_by_state={name: recall(column) for name, column in columns.items() if name in there[1:]},
            average_by_state={name: average(column, 0) for name, column in columns.items() if name in there[1:]},
            recall_by_size={name: recall(column) for name, column in sizes.items() if name in there},
            average_by_size={
                name: average(column, 1 + place) for place, (name, column) in enumerate(sizes.items()) if name in there
            },
            curve=self._curve(of, columns),
        )

    def _average(self, sums: Values) -> Values:
        steps = len(self.thresholds)
        hits, strays = sums[..., :steps], sums[..., steps : 2 * steps]
        return area_under(divided(hits, sums[..., 2 * steps :]), divided(hits, hits + strays))

    def _curve(self, of: NDArray[np.bool_], columns: dict[str, int]) -> tuple[Operating, ...]:
        hits, faces = self._hits[of].sum(axis=0), self._faces[of].sum(axis=0)
        strays = self._strays[of, :, 0].sum(axis=0) / max(1, int(of.sum()))
        recall = divided(hits, faces)
        return tuple(
            Operating(
                float(threshold),
                float(recall[step, 0]),
                {state: float(recall[step, place]) for state, place in columns.items() if place and faces[place]},
                float(strays[step]),
            )
            for step, threshold in enumerate(self.thresholds)
            if faces[0]
        )


def thresholds_of(scores: Sequence[float], floor: float, count: int = _THRESHOLDS) -> Values:
    """Return at most `count` thresholds, strictest first: scores that lie evenly among those found, and the floor."""
    ordered = np.unique(np.asarray([*scores, floor], np.float64))
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return np.asarray(ordered[np.unique(np.rint(places).astype(int))][::-1], np.float64)


def _columns(label: str, size: float) -> list[int]:
    group = SIZE.groups.index(str(SIZE.group(size)))
    return [0, 1 + STATE_OF[label], 1 + len(STATES) + group]


def _stray_columns(face: FaceReading) -> list[int]:
    x1, y1, x2, y2 = corners(face)
    size = min(x2 - x1, y2 - y1)
    return [0] if size < SMALLEST else [0, 1 + SIZE.groups.index(str(SIZE.group(size)))]


def _pairs(recalls: dict[str, Estimate], averages: dict[str, Estimate]) -> dict[str, Any]:
    return {
        name: {"recall": recalls[name].as_json(), "average_precision": averages[name].as_json()} for name in recalls
    }
