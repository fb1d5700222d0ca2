"""Look at labelled photographs: what is found on each, and the traits of its faces."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ml.analyzer import _LONG_SIDE as LONG_SIDE
from ml.commands import as_json, from_json
from ml.evaluation.index import LabelledPhoto
from ml.evaluation.traits import Traits, measure, yaw_of
from ml.geometry import Octaves
from ml.images import ReducedPhoto, decode_reduced
from ml.manifest import DetectorManifest
from ml.types import Box, FaceReading, ImageError

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
    """Hold what was found on a photograph, the largest face first, and why it could not be read.

    `traits` are those of the labelled faces in their order; of a photograph without boxes, those of the largest face
    that the detector returns, if there is one. They are None where the photograph could not be read.
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
        from ml.detector import Detector

        cv2.setNumThreads(1)
        manifest = DetectorManifest.load(self.weights)
        last = manifest.stages[_LAST_STAGE]
        # Suppression goes from the best face down: what is found below the threshold changes nothing above it.
        lowered = replace(last, threshold=min(FLOOR, last.threshold))
        manifest = replace(manifest, stages={**manifest.stages, _LAST_STAGE: lowered})
        detector = Detector(manifest, providers=self.providers)
        classifier = Classifier(self.weights, providers=self.providers)
        states = classifier.manifest.states

        def look(photo: LabelledPhoto) -> Observation:
            try:
                copy = decode_reduced(photo.path, LONG_SIDE)
            except ImageError as error:
                return Observation(photo, (), (None,) * len(photo.faces), str(error))
            octaves = Octaves(copy.pixels)
            found = detector.detect(octaves)
            seen = []
            rows = zip(copy.to_photo(found.boxes), found.scores, classifier.classify(octaves, found.boxes), strict=True)
            for (box, score, chances), landmarks in zip(rows, found.landmarks, strict=True):
                probabilities = {state: float(chance) for state, chance in zip(states, chances, strict=True)}
                face = FaceReading(Box(*map(float, box)), float(score), probabilities)
                # Rounded as in the file of predictions, so that both say the same to the last digit.
                rounded = from_json(as_json(face))
                seen.append((_area(face), Seen(rounded, float(score) > last.threshold, yaw_of(landmarks))))
            seen.sort(key=lambda pair: pair[0], reverse=True)
            return _observed(photo, copy, octaves, [one for _, one in seen])

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
