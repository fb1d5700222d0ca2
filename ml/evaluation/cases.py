"""Bring together what is labelled and what was found: the faces that are judged, and the strays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.evaluation.index import LabelledPhoto
from ml.evaluation.matching import Match, Shares, match, overlaps
from ml.evaluation.reading import Observation, Seen, corners
from ml.evaluation.stats import Values
from ml.evaluation.traits import Traits
from ml.types import STATES, FaceReading

STATE_OF = {state: number for number, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Case:
    """Hold one face whose state is known: where it is, how it looks, and what was found there, if anything.

    photo: position of its photograph. boxed: it was boxed by hand; otherwise it is the largest face that was found on
    a photograph with one label for all of it.
    """

    photo: int
    state: int
    boxed: bool
    xyxy: tuple[float, float, float, float]
    traits: Traits | None
    seen: Seen | None

    @property
    def size(self) -> float:
        """Return the shorter side in pixels."""
        return min(self.xyxy[2] - self.xyxy[0], self.xyxy[3] - self.xyxy[1])

    @property
    def said(self) -> int | None:
        """Return the state it was called, by its position in STATES, or None if it was not found."""
        return None if self.seen is None else int(chances_of(self.seen.face).argmax())


@dataclass(frozen=True, slots=True)
class Judged:
    """Hold one photograph with all that is known of it."""

    photo: LabelledPhoto
    #: All that was seen, also what the detector as it is would not return.
    seen: tuple[Seen, ...]
    overlaps: Shares
    match: Match
    cases: tuple[Case, ...]

    @property
    def returned(self) -> list[FaceReading]:
        """List the faces that the detector returns."""
        return [one.face for one in self.seen if one.returned]

    @property
    def strays(self) -> list[FaceReading]:
        """List the returned faces that overlap no labelled one."""
        return [self.seen[j].face for j in self.match.strays]


def judge(observations: Sequence[Observation]) -> list[Judged]:
    """Match what was found on each photograph with its boxes."""
    return [_judged(number, observation) for number, observation in enumerate(observations)]


def chances_of(face: FaceReading) -> Values:
    """Return the probabilities float64 [states] in the order of STATES. Raises ValueError if there are others."""
    strange = [state for state in face.probabilities if state not in STATE_OF]
    if strange or not face.probabilities:
        named = f"the state {strange[0]!r}" if strange else "no state"
        raise ValueError(f"a found face has {named}; only {', '.join(STATES)} can be judged")
    return np.array([face.probabilities.get(state, 0.0) for state in STATES])


def _judged(number: int, observation: Observation) -> Judged:
    photo, seen = observation.photo, observation.seen
    shares = overlaps([face.xyxy for face in photo.faces], [corners(one.face) for one in seen])
    returned = [j for j, one in enumerate(seen) if one.returned]
    found = match(shares, returned)
    if photo.is_scene:
        cases = [
            Case(
                number,
                STATE_OF[face.label],
                True,
                face.xyxy,
                observation.traits[i],
                seen[found.hits[i]] if i in found.hits else None,
            )
            for i, face in enumerate(photo.faces)
            if face.counts
        ]
    else:
        cases = [
            Case(number, STATE_OF[photo.label], False, corners(seen[j].face), traits, seen[j])
            for j, traits in zip(returned, observation.traits, strict=False)
        ]
    return Judged(photo, seen, shares, found, tuple(cases))
