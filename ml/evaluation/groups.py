"""Judge groups of faces, by what may make them hard, and photographs with one label for all of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.evaluation.cases import STATE_OF, Case, Judged
from ml.evaluation.index import SMALLEST
from ml.evaluation.stats import Estimate, Resampler, Values
from ml.evaluation.traits import BLUR, BRIGHTNESS, PATTERN, SIZE, SKIN, YAW, Slice, Traits

_MASK = STATE_OF["mask"]


@dataclass(frozen=True, slots=True)
class Group:
    """Hold what was counted on one group of faces.

    recall: of boxed ones, how many are found; right: of found ones, how many are called what they are;
    mask_called_mask: of found masks; other_called_mask: of all other found ones.
    """

    name: str
    recall: Estimate
    right: Estimate
    mask_called_mask: Estimate
    other_called_mask: Estimate

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        names = ("recall", "right", "mask_called_mask", "other_called_mask")
        return {"group": self.name, **{name: getattr(self, name).as_json() for name in names}}


@dataclass(frozen=True, slots=True)
class SliceResult:
    """Hold the groups of one slice, and how many faces could not be measured."""

    slice: Slice
    groups: tuple[Group, ...]
    unmeasured: int

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "note": self.slice.note,
            "bounds": list(self.slice.bounds),
            "unmeasured": self.unmeasured,
            "groups": [group.as_json() for group in self.groups],
        }


@dataclass(frozen=True, slots=True)
class Labelled:
    """Hold what was counted on the photographs of a part that have one label for all of it."""

    part: str
    label: str
    photos: int
    face_found: Estimate
    some_face_mask: Estimate
    largest_right: Estimate

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        return {
            "photos": self.photos,
            "face_found": self.face_found.as_json(),
            "some_face_mask": self.some_face_mask.as_json(),
            "largest_face_right": self.largest_right.as_json(),
        }


def _trait(name: str) -> Callable[[Case], float | None]:
    def of(case: Case) -> float | None:
        traits: Traits | None = case.traits
        return None if traits is None else getattr(traits, name)

    return of


_MEASURES: tuple[tuple[Slice, Callable[[Case], float | None]], ...] = (
    (SIZE, lambda case: case.size if case.size >= SMALLEST else None),
    (BLUR, _trait("blur")),
    (BRIGHTNESS, _trait("brightness")),
    (YAW, lambda case: None if case.seen is None else case.seen.yaw),
    (SKIN, _trait("skin")),
    (PATTERN, _trait("pattern")),
)


def slices(cases: Sequence[Case], photos: int, resampler: Resampler) -> list[SliceResult]:
    """Judge the faces by size, blur, brightness, yaw, skin tone and pattern; groups without a face are left out."""
    results = []
    for by, measure in _MEASURES:
        of = [case for case in cases if case.state == _MASK] if by is PATTERN else cases
        members: dict[str | None, list[Case]] = {}
        for case in of:
            members.setdefault(by.group(measure(case)), []).append(case)
        groups = tuple(_group(by, name, members[name], photos, resampler) for name in by.groups if name in members)
        results.append(SliceResult(by, groups, len(members.get(None, []))))
    return results


def _group(by: Slice, name: str, cases: Sequence[Case], photos: int, resampler: Resampler) -> Group:
    boxed = [case for case in cases if case.boxed and not by.of_found]
    found = [case for case in cases if case.seen is not None]
    masks = [case for case in found if case.state == _MASK]
    others = [case for case in found if case.state != _MASK]

    def share(hits: Callable[[Case], bool], among: Sequence[Case]) -> Estimate:
        return resampler.share(_per_photo([case for case in among if hits(case)], photos), _per_photo(among, photos))

    return Group(
        name,
        share(lambda case: case.seen is not None, boxed),
        share(lambda case: case.said == case.state, found),
        share(lambda case: case.said == _MASK, masks),
        share(lambda case: case.said == _MASK, others),
    )


def _per_photo(cases: Sequence[Case], photos: int) -> Values:
    return np.bincount(np.array([case.photo for case in cases], np.int64), minlength=photos).astype(np.float64)


def labelled(judged: Sequence[Judged], resampler: Resampler) -> list[Labelled]:
    """Judge the photographs without boxes, by part and label."""
    kinds = sorted({(photo.photo.part, photo.photo.label) for photo in judged if not photo.photo.is_scene})
    results = []
    for part, label in kinds:
        of = np.array([not p.photo.is_scene and (p.photo.part, p.photo.label) == (part, label) for p in judged])
        found = of & np.array([bool(photo.returned) for photo in judged])
        mask = of & np.array([any(face.label == "mask" for face in photo.returned) for photo in judged])
        right = of & np.array([any(case.said == case.state for case in photo.cases) for photo in judged])
        results.append(
            Labelled(
                part,
                label,
                int(of.sum()),
                resampler.share(found, of),
                resampler.share(mask, of),
                resampler.share(right, found),
            )
        )
    return results
