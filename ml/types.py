"""What crosses the border of ml: plain frozen values, no arrays and no sessions."""

from collections.abc import Mapping
from dataclasses import dataclass

#: The states a face can be in, in the order of the classifier's training; the manifest has the last word.
STATES: tuple[str, ...] = ("mask", "no_mask", "incorrect", "occluded")


@dataclass(frozen=True, slots=True)
class Box:
    """Hold a rectangle in pixels of the upright photo; x grows rightwards, y downwards, x2 > x1, y2 > y1."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class FaceReading:
    """Hold one found face: where it is, how sure the detector is (0..1), and its states (they sum to 1)."""

    box: Box
    score: float
    probabilities: Mapping[str, float]

    @property
    def label(self) -> str:
        """Name the likeliest state."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True, slots=True)
class Timings:
    """Hold the milliseconds each step took."""

    decode_ms: float
    detect_ms: float
    classify_ms: float


@dataclass(frozen=True, slots=True)
class PhotoReading:
    """Hold what was read from one photo: its upright size in pixels and its faces, largest first."""

    width: int
    height: int
    faces: tuple[FaceReading, ...]
    timings: Timings


class ImageError(ValueError):
    """Say why bytes are no usable photo, with a stable code for programs.

    Codes: `not_an_image`, `empty_file`, `truncated_image`, `too_many_pixels`, `too_complex`, `unreadable_file`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WeightsError(RuntimeError):
    """Say which weight file is missing or is not the one its manifest names."""


class ProviderError(RuntimeError):
    """Say which of the requested ONNX Runtime execution providers cannot run here."""
