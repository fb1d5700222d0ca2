"""Look at labelled photographs: what is found on each, and the traits of its faces."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.analyzer import LONG_SIDE
from ml.commands import as_json, from_json
from ml.evaluation.index import LabelledPhoto
from ml.evaluation.traits import Traits, measure, yaw_of
from ml.geometry import Octaves
from ml.images import ReducedPhoto, decode_reduced
from ml.manifest import DetectorManifest
from ml.types import Box, FaceReading, ImageError

if TYPE_CHECKING:
    from ml.classifier import Classifier
    from ml.detector import Detections

#: How low the detector's threshold is set, to see what it would find if it were less strict.
FLOOR = 0.1
_LAST_STAGE = "onet"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold a found face, as `predict` writes it, if the detector as it is returns it, and its yaw in degrees."""

    face: FaceReading
    returned: bool
    yaw: float | None


@dataclass(frozen=True, slots=True)
class Observation:
    """Hold what was found on a photograph, and why it could not be read.

    The faces that the detector as it is returns, the largest first, stand before the others. `traits` are those of the
    labelled faces in their order; of a photograph without boxes, those of the largest returned face, if there is one.
    They are None where the photograph could not be read.
    """

    photo: LabelledPhoto
    seen: tuple[Seen, ...]
    traits: tuple[Traits | None, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Looking:
    """Hold how photographs are looked at: by which weights, on which execution providers."""

    weights: Path
    providers: tuple[str, ...] | None

    @property
    def threshold(self) -> float:
        """Return the score from which the detector returns a face. Raises WeightsError."""
        return DetectorManifest.load(self.weights).stages[_LAST_STAGE].threshold

    def prepare(self) -> Callable[[LabelledPhoto], Observation]:
        """Return what looks at a photograph in this process. Raises WeightsError or ProviderError."""
        # Imported here: whoever judges stored predictions needs no ONNX Runtime.
        import cv2

        from ml.classifier import Classifier
        from ml.detector import Detections, Detector

        cv2.setNumThreads(1)
        manifest = DetectorManifest.load(self.weights)
        last = manifest.stages[_LAST_STAGE]
        lowered = replace(last, threshold=min(FLOOR, last.threshold))
        lenient = replace(manifest, stages={**manifest.stages, _LAST_STAGE: lowered})
        # Two detectors: what the usual one returns is judged whatever the other one does.
        detectors = [Detector(one, providers=self.providers) for one in (manifest, lenient)]
        classifier = Classifier(self.weights, providers=self.providers)

        def look(photo: LabelledPhoto) -> Observation:
            try:
                copy = decode_reduced(photo.path, LONG_SIDE)
            except ImageError as error:
                return Observation(photo, (), (None,) * len(photo.faces), str(error))
            octaves = Octaves(copy.pixels)
            usual, more = (detector.detect(octaves) for detector in detectors)
            # Suppression goes from the best face down: what the usual one returns, the lenient one finds alike.
            rows = ~(more.boxes[:, None] == usual.boxes[None]).all(axis=2).any(axis=1)
            more = Detections(more.boxes[rows], more.scores[rows], more.landmarks[rows])
            seen = _seen(usual, copy, octaves, classifier, returned=True)
            return _observed(photo, copy, octaves, seen + _seen(more, copy, octaves, classifier, returned=False))

        return look


@dataclass(frozen=True, slots=True)
class Remembering:
    """Hold what `predict` found on each photograph, by `name_of` it."""

    found: Mapping[str, Sequence[FaceReading]]

    @property
    def threshold(self) -> float:
        """Return the lowest score there is: nothing is known about the faces that were left out."""
        return min((face.score for faces in self.found.values() for face in faces), default=0.0)

    def prepare(self) -> Callable[[LabelledPhoto], Observation]:
        """Return what measures the faces of a photograph."""
        return functools.partial(_remember, self.found)


def name_of(path: Path) -> str:
    """Return what names a photograph in a file of predictions: its folder and its own name."""
    return "/".join((path if len(path.parts) > 1 else path.absolute()).parts[-2:])


def _seen(
    found: "Detections", copy: ReducedPhoto, octaves: Octaves, classifier: "Classifier", *, returned: bool
) -> list[Seen]:
    """Return found faces, the largest first, as `predict` writes them: so both say the same to the last digit."""
    states, chances = classifier.manifest.states, classifier.classify(octaves, found.boxes)
    faces = [
        FaceReading(Box(*map(float, box)), float(score), dict(zip(states, map(float, row), strict=True)))
        for box, score, row in zip(copy.to_photo(found.boxes), found.scores, chances, strict=True)
    ]
    order = sorted(range(len(faces)), key=lambda i: _area(faces[i]), reverse=True)
    return [Seen(from_json(as_json(faces[i])), returned, yaw_of(found.landmarks[i])) for i in order]


def _remember(found: Mapping[str, Sequence[FaceReading]], photo: LabelledPhoto) -> Observation:
    seen = [Seen(face, True, None) for face in found.get(name_of(photo.path), ())]
    try:
        copy = decode_reduced(photo.path, LONG_SIDE)
    except ImageError as error:
        return Observation(photo, tuple(seen), (None,) * len(photo.faces), str(error))
    return _observed(photo, copy, Octaves(copy.pixels), seen)


def _observed(photo: LabelledPhoto, copy: ReducedPhoto, octaves: Octaves, seen: Sequence[Seen]) -> Observation:
    boxes = [face.xyxy for face in photo.faces]
    if not photo.is_scene:
        boxes = [corners(one.face) for one in seen if one.returned][:1]
    on_copy = (np.array(boxes).reshape(-1, 4) - [copy.left, copy.top, copy.left, copy.top]) / copy.factor
    return Observation(photo, tuple(seen), tuple(measure(octaves, on_copy)))


def corners(face: FaceReading) -> tuple[float, float, float, float]:
    """Return x1, y1, x2, y2 of a found face."""
    return face.box.x1, face.box.y1, face.box.x2, face.box.y2


def _area(face: FaceReading) -> float:
    return (face.box.x2 - face.box.x1) * (face.box.y2 - face.box.y1)
