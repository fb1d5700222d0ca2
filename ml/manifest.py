"""Read the manifests beside the weights: what inputs and outputs mean, and which bytes a model consists of."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ml.types import WeightsError

#: Where the weights live that come with the project.
WEIGHTS = Path(__file__).parent / "weights"
DETECTOR = "detector.json"
CLASSIFIER = "classifier.json"
DETECTOR_STAGES = ("pnet", "rnet", "onet")

_REMEDY = "restore it from the repository, or train it anew"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Hold how one network of the cascade is run; sizes in pixels, thresholds on scores and IoU in 0..1."""

    threshold: float
    nms_iou: float
    limit: int
    #: Of the crops it sees: their side, and the part of the photo they show in units of the box's longer side. The
    #: first network sees the whole photo and has none.
    size: int = 0
    margin: float = 1.0
    chunk: int = 1


@dataclass(frozen=True, slots=True)
class DetectorManifest:
    """Hold the detector's settings and the sha256 of each of its files."""

    folder: Path
    name: str
    version: str
    digest: str
    files: Mapping[str, str]
    #: Photos are shrunk to this long side, never blown up.
    long_side: int
    #: Pixels of the shrunk photo under which a face's longer side is not reported.
    min_face: float
    #: Pixels per cell of the first network's maps, finest first.
    strides: tuple[int, ...]
    #: Sizes at which the first network sees the photo, as shares of the shrunk one; all but the first only look for
    #: faces of at least `least_face` pixels, on pictures of at least `least_pass`.
    passes: tuple[float, ...]
    least_face: float
    least_pass: int
    stages: Mapping[str, StageSettings]
    #: The score of a face is the sigmoid of the three stages' logits, weighted, plus a bias.
    score_weights: tuple[float, ...]
    score_bias: float
    #: Where no face reaches the last stage's threshold, the likeliest one counts from this score on.
    lone_threshold: float
    #: What scores more than this after the last network's first look, and is overlapped by nothing better by more than
    #: the second number, is looked at once more.
    look_again: float
    look_again_iou: float
    #: From this score on the first look is enough.
    sure_at_once: float
    #: Of two found faces the worse is dropped if they share more than this of the smaller one's area.
    nested_share: float

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> "DetectorManifest":
        """Read `detector.json`. Raises WeightsError if it is missing or malformed."""
        return _load(folder / DETECTOR, cls._parse)

    @classmethod
    def _parse(cls, folder: Path, values: Mapping[str, Any]) -> "DetectorManifest":
        stages = {str(name): StageSettings(**stage) for name, stage in values["stages"].items()}
        missing = [name for name in DETECTOR_STAGES if name not in stages]
        if missing:
            raise ValueError(f"no settings for the stage {missing[0]}")
        _check_cascade(values, stages)
        return cls(
            folder=folder,
            name=str(values["name"]),
            version=str(values["version"]),
            digest=_digest(values),
            files={str(name): str(sha256) for name, sha256 in values["files"].items()},
            long_side=int(values["long_side"]),
            min_face=float(values["min_face"]),
            strides=tuple(int(stride) for stride in values["strides"]),
            passes=tuple(float(part) for part in values["passes"]),
            least_face=float(values["least_face"]),
            least_pass=int(values["least_pass"]),
            stages=stages,
            score_weights=tuple(float(weight) for weight in values["score"]["weights"]),
            score_bias=float(values["score"]["bias"]),
            lone_threshold=float(values["lone_threshold"]),
            look_again=float(values["look_again"]["threshold"]),
            look_again_iou=float(values["look_again"]["nms_iou"]),
            sure_at_once=float(values["look_again"]["sure_at_once"]),
            nested_share=float(values["nested_share"]),
        )

    def read(self, name: str) -> bytes:
        """Return the bytes of one of the files. Raises WeightsError if they are not the ones named here."""
        return read_weights(self.folder / name, self.files[name])


@dataclass(frozen=True, slots=True)
class ClassifierManifest:
    """Hold what the classifier's input and output mean; the order of `states` is that of the logits."""

    folder: Path
    name: str
    version: str
    digest: str
    file: str
    sha256: str
    input_name: str
    size: int
    mean: float
    scale: float
    output_name: str
    states: tuple[str, ...]
    temperature: float
    #: Added to the logits, one per state, before they are divided by the temperature.
    bias: tuple[float, ...]
    margin: float

    @classmethod
    def load(cls, folder: Path = WEIGHTS) -> "ClassifierManifest":
        """Read `classifier.json`. Raises WeightsError if it is missing, malformed or of an unknown layout."""
        return _load(folder / CLASSIFIER, cls._parse)

    @classmethod
    def _parse(cls, folder: Path, values: Mapping[str, Any]) -> "ClassifierManifest":
        crops, logits = values["input"], values["output"]
        if (crops["layout"], crops["color"]) != ("NCHW", "RGB"):
            raise ValueError(f"input layout {crops['layout']} {crops['color']} is not the NCHW RGB that is supported")
        manifest = cls(
            folder=folder,
            name=str(values["name"]),
            version=str(values["version"]),
            digest=_digest(values),
            file=str(values["file"]),
            sha256=str(values["sha256"]),
            input_name=str(crops["name"]),
            size=int(crops["size"]),
            mean=float(crops["mean"]),
            scale=float(crops["scale"]),
            output_name=str(logits["name"]),
            states=tuple(str(state) for state in logits["states"]),
            temperature=float(values["temperature"]),
            bias=tuple(float(value) for value in values.get("bias", [0.0] * len(logits["states"]))),
            margin=float(values["crop"]["margin"]),
        )
        if manifest.size < 1 or manifest.scale <= 0 or manifest.temperature <= 0 or manifest.margin <= 0:
            raise ValueError("size, scale, temperature and margin must be positive")
        if not manifest.states or len(set(manifest.states)) != len(manifest.states):
            raise ValueError("states must be named once each")
        if len(manifest.bias) != len(manifest.states):
            raise ValueError(f"bias has {len(manifest.bias)} numbers for {len(manifest.states)} states")
        return manifest

    def read(self) -> bytes:
        """Return the bytes of the network. Raises WeightsError if they are not the ones named here."""
        return read_weights(self.folder / self.file, self.sha256)


def _check_cascade(values: Mapping[str, Any], stages: Mapping[str, StageSettings]) -> None:
    """Raise ValueError for settings that would find nobody, or fail at the first photo."""
    for name in (*(f"{stage}.onnx" for stage in DETECTOR_STAGES), "nms.onnx"):
        if name not in values["files"]:
            raise ValueError(f"no sha256 for {name}")
    if not values["passes"] or not values["strides"]:
        raise ValueError("passes and strides must not be empty")
    if min(*values["passes"], *values["strides"], values["long_side"]) <= 0:
        raise ValueError("passes, strides and long_side must be positive")
    if len(values["score"]["weights"]) != len(DETECTOR_STAGES):
        raise ValueError("score.weights needs one number for each stage")
    again = values["look_again"]
    chances = [*(stage.threshold for stage in stages.values()), again["threshold"], again["sure_at_once"]]
    if not all(0 < chance < 1 for chance in chances):
        raise ValueError("thresholds must lie between 0 and 1")
    if any(stage.chunk < 1 or stage.limit < 1 or stage.margin <= 0 for stage in stages.values()):
        raise ValueError("chunk, limit and margin must be positive")
    if min(stages["rnet"].size, stages["onet"].size) < 1:
        raise ValueError("size must be positive")


def _load(path: Path, parse: Callable[[Path, Mapping[str, Any]], _T]) -> _T:
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        return parse(path.parent, values)
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing; {_REMEDY}") from None
    except KeyError as error:
        raise WeightsError(f"{path} lacks the entry {error}; {_REMEDY}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read as a manifest ({error}); {_REMEDY}") from error


def read_weights(path: Path, sha256: str) -> bytes:
    """Return the file's bytes if they have this sha256. Raises WeightsError if not, or if there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing; {_REMEDY}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path} is not the file its manifest names (sha256 {found[:12]}…, expected {sha256[:12]}…); {_REMEDY}"
        )
    return content


def _digest(values: Mapping[str, Any]) -> str:
    # The manifest names the sha256 of every weight file, so its own covers them; sorted keys and fixed spacing
    # make it independent of how the JSON was laid out.
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
