"""Measure what may make a face hard to find or to read: pixels and landmarks in, plain numbers out.

All of it is estimated from the picture, for groups of faces; none of it says anything reliable about one person.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml.geometry import Octaves, Pixels, crop_squares

# Pixels: every face is measured at this size, so that a large photo is not sharper than a small one by its size alone.
_SIDE = 96
# How far the tip of the nose stands out, in units of half the distance between the eyes.
_NOSE = 0.85
# Where skin shows above a mask, in shares of the box: the forehead and the two cheekbones; left, top, right, bottom.
_SKIN = ((0.30, 0.12, 0.70, 0.26), (0.12, 0.40, 0.32, 0.50), (0.68, 0.40, 0.88, 0.50))
# The middle of a mask: its edges show skin and straps beside the cloth.
_CLOTH = (0.27, 0.58, 0.73, 0.88)
_LEAST_SKIN = 0.25


@dataclass(frozen=True, slots=True)
class Traits:
    """Hold the measures of one face.

    blur: variance of the Laplacian over that of the gray values, without unit; brightness: mean gray, 0..255;
    skin: individual typology angle in degrees, None where too few pixels look like skin; pattern: how much colours
    vary on the lower half of the face, in CIELAB units.
    """

    blur: float
    brightness: float
    skin: float | None
    pattern: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Hold one way to group faces: names of the groups, and the bounds between them on a measure."""

    name: str
    groups: tuple[str, ...]
    bounds: tuple[float, ...]
    note: str
    #: The measure is known of found faces only, so that of these all are found.
    of_found: bool = False

    def group(self, measure: float | None) -> str | None:
        """Name the group of a measure; None for what could not be measured."""
        return None if measure is None else self.groups[int(np.searchsorted(self.bounds, measure, side="right"))]


SIZE = Slice(
    "size",
    ("24-32 px", "32-64 px", "64-128 px", "128 px and more"),
    (32.0, 64.0, 128.0),
    "the shorter side of the face's box",
)
BLUR = Slice(
    "blur",
    ("blurred", "in between", "sharp"),
    (0.03, 0.15),
    "variance of the Laplacian over the variance of the gray values, at 96 px; small faces are blurred by it",
)
BRIGHTNESS = Slice(
    "brightness", ("dark", "in between", "bright"), (80.0, 160.0), "mean gray value of the face, 0 to 255"
)
YAW = Slice(
    "yaw",
    ("frontal", "half turned", "side view"),
    (20.0, 45.0),
    "degrees from frontal, estimated from the detector's landmarks; only for found faces",
    of_found=True,
)
SKIN = Slice(
    "skin tone",
    ("darker", "medium", "lighter"),
    (10.0, 41.0),
    "individual typology angle of forehead and cheekbones: an estimate that light and camera shift, "
    "good for comparing groups and for nothing else",
)
PATTERN = Slice(
    "pattern",
    ("plain", "patterned"),
    (5.5,),
    "how much colours vary where the mask is, an estimate; only for faces labelled mask",
)


def measure(octaves: Octaves, boxes_xyxy: ArrayLike) -> list[Traits]:
    """Return the traits of the faces in boxes float [N, 4], pixels."""
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    return [_traits(crop, box) for crop, box in zip(crop_squares(octaves, boxes, _SIDE), boxes.tolist(), strict=True)]


def yaw_of(landmarks: ArrayLike) -> float | None:
    """Return how far a face is turned, in degrees from 0 to 90, or None for landmarks that fit no face.

    landmarks: float [5, 2], the eyes, the tip of the nose, the corners of the mouth, the picture's left ones first.
    """
    points = np.asarray(landmarks, np.float64)
    between = points[1] - points[0]
    half = float(np.hypot(*between)) / 2
    down = (points[3] + points[4]) / 2 - (points[0] + points[1]) / 2
    if half <= 0 or not np.hypot(*down):
        return None
    # Along the line of the eyes, so that a tilted head is not taken for a turned one.
    aside = float((points[2] - (points[0] + points[1]) / 2) @ between) / (2 * half)
    # Eyes in profile come close to each other; the height of the face does not change.
    half = max(half, 0.1 * float(np.hypot(*down)))
    return math.degrees(math.atan(abs(aside) / half / _NOSE))


def _traits(crop: Pixels, box: list[float]) -> Traits:
    gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float64)
    face = gray[_part((0, 0, 1, 1), box)]
    edges = cv2.Laplacian(gray, cv2.CV_64F)[_part((0, 0, 1, 1), box)]
    lab = np.asarray(cv2.cvtColor(crop.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB), np.float32)
    return Traits(
        blur=float(edges.var() / max(face.var(), 1.0)),
        brightness=float(face.mean()),
        skin=_typology_angle([lab[_part(shares, box)] for shares in _SKIN]),
        pattern=_print_of(lab[_part(_CLOTH, box)]),
    )


def _part(shares: tuple[float, float, float, float], box: list[float]) -> tuple[slice, slice]:
    """Return rows and columns, in the square crop around a box, of a part of the box given by shares of its sides."""
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    places = np.rint(_SIDE * (0.5 + (np.array(shares) - 0.5) * sides / sides.max())).astype(int)
    left, top, right, bottom = np.clip(places, 0, _SIDE).tolist()
    left, top = min(left, _SIDE - 1), min(top, _SIDE - 1)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _typology_angle(patches: list[NDArray[np.float32]]) -> float | None:
    """Return the angle after Chardon et al., 1991, of the median of what looks like skin in CIELAB patches."""
    pixels = np.concatenate([patch.reshape(-1, 3) for patch in patches]).astype(np.float64)
    lightness, red, yellow = pixels.T
    hue = np.degrees(np.arctan2(yellow, red))
    skin = (np.hypot(red, yellow) > 6) & (hue > 10) & (hue < 85) & (lightness > 12) & (lightness < 96)
    if skin.mean() < _LEAST_SKIN:
        return None
    return math.degrees(math.atan2(float(np.median(lightness[skin])) - 50, float(np.median(yellow[skin]))))


def _print_of(patch: NDArray[np.float32]) -> float:
    # The light on a face changes slowly, a print does not. Pleats are shades of one colour and lie across the face:
    # so colours count whole, and of the lightness only how it changes from left to right.
    small = cv2.resize(patch, (24, 20), interpolation=cv2.INTER_AREA).astype(np.float64)
    _, red, yellow = (small - cv2.GaussianBlur(small, (0, 0), 5)).std(axis=(0, 1))
    return float(np.hypot(red, yellow) + np.median(np.abs(np.diff(small[..., 0], axis=1))))
