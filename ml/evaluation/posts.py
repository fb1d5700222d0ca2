"""Judge whole photographs as posts: who is called masked, and what a threshold on that would give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.cases import STATE_OF, Judged
from ml.evaluation.stats import Estimate, Resampler
from ml.types import FaceReading

_MASK = "mask"
_GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold which faces a policy looks at: from which score, and from which share of the largest face's short side.

    From `likely` up, and below the threshold under trial, the mask of a face is uncertain.
    """

    min_score: float = 0.0
    min_ratio: float = 0.0
    likely: float = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """Hold what a threshold on the probability of `mask` gives, if every face that counts has to reach it.

    precision: how many of those called masked are; recall: how many masked ones are called so; uncertain: the share of
    all photographs that would be sent to a person; lost: masked ones that would be neither.
    """

    threshold: float
    precision: Estimate
    recall: Estimate
    uncertain: Estimate
    lost: Estimate

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        named = {"precision": self.precision, "recall": self.recall, "uncertain": self.uncertain, "lost": self.lost}
        return {"threshold": self.threshold, **{name: value.as_json() for name, value in named.items()}}


@dataclass(frozen=True, slots=True)
class Posts:
    """Hold what was counted: with every found face called by its likeliest state, and by thresholds under a rule."""

    photos: int
    masked: int
    precision: Estimate
    recall: Estimate
    rule: Rule
    sweep: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "photos": self.photos,
            "masked": self.masked,
            "precision": self.precision.as_json(),
            "recall": self.recall.as_json(),
            "rule": {
                "faces": "all",
                "min_face_score": self.rule.min_score,
                "min_face_ratio": self.rule.min_ratio,
                "mask_likely": self.rule.likely,
            },
            "thresholds": [step.as_json() for step in self.sweep],
        }


def judge_posts(judged: Sequence[Judged], of: NDArray[np.bool_], rule: Rule, resampler: Resampler) -> Posts:
    """Judge the boxed photographs among `of` [photos] that have a face to count.

    A post is masked if all its faces are: those of at least 24 pixels that are no joke. Under the rule only faces of
    `min_ratio` times the largest one's short side are asked, among the labelled as well as among the found.
    """
    counted = np.array(
        [bool(use and photo.cases and photo.photo.is_scene) for photo, use in zip(judged, of, strict=True)]
    )
    masked = counted & np.array([_masked(photo, 0.0) for photo in judged], np.bool_)
    said = counted & np.array([_said(photo.returned) for photo in judged], np.bool_)
    truly = counted & np.array([_masked(photo, rule.min_ratio) for photo in judged], np.bool_)
    least = np.array([_least(photo.returned, rule) for photo in judged])
    return Posts(
        int(counted.sum()),
        int(masked.sum()),
        resampler.share(masked & said, said),
        resampler.share(masked & said, masked),
        rule,
        tuple(_step(threshold, counted, truly, least, rule, resampler) for threshold in _GRID),
    )


def _step(
    threshold: float,
    counted: NDArray[np.bool_],
    masked: NDArray[np.bool_],
    least: NDArray[np.float64],
    rule: Rule,
    resampler: Resampler,
) -> Step:
    said = counted & (least >= threshold)
    unsure = counted & ~said & (least >= rule.likely)
    return Step(
        threshold,
        resampler.share(masked & said, said),
        resampler.share(masked & said, masked),
        resampler.share(unsure, counted),
        resampler.share(masked & ~said & ~unsure, masked),
    )


def _masked(photo: Judged, min_ratio: float) -> bool:
    largest = max((case.size for case in photo.cases), default=0.0)
    asked = [case for case in photo.cases if case.size >= min_ratio * largest]
    return bool(asked) and all(case.state == STATE_OF[_MASK] for case in asked)


def _said(faces: Sequence[FaceReading]) -> bool:
    return bool(faces) and all(face.label == _MASK for face in faces)


def _least(faces: Sequence[FaceReading], rule: Rule) -> float:
    """Return the lowest probability of a mask among the faces that are asked; -1 where there is none."""
    seen = [face for face in faces if face.score >= rule.min_score]
    largest = max((_short_side(face) for face in seen), default=0.0)
    asked = [face for face in seen if _short_side(face) >= rule.min_ratio * largest]
    return min((face.probabilities.get(_MASK, 0.0) for face in asked), default=-1.0)


def _short_side(face: FaceReading) -> float:
    return min(face.box.x2 - face.box.x1, face.box.y2 - face.box.y1)
