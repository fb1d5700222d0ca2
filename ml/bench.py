"""Measure the detector: `python -m ml.bench`.

All contenders run in one process, on one thread, photo by photo in turn, so that a busy machine slows all of them
alike; the ratio to ours is then more telling than the milliseconds.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ml.analyzer import Analyzer
from ml.commands import find_files
from ml.convert import write_detector
from ml.detector import Detector, Indices
from ml.geometry import Floats, Octaves, Pixels
from ml.images import decode
from ml.manifest import WEIGHTS, DetectorManifest
from ml.session import CPU
from ml.types import ImageError, WeightsError

DEMO_PHOTOS = Path(__file__).resolve().parents[1] / "mask_social" / "demo" / "photos"
_UNLIMITED = 1 << 40

#: What a contender does with a photo: uint8 RGB in, the number of faces out.
Contender = Callable[[Pixels], int]


class PlainOctaves(Octaves):
    """Scale every pyramid level straight from the whole photo."""

    def resized(self, height: int, width: int) -> Pixels:
        """Scale the whole photo to [height, width, 3] by averaging areas."""
        return cast(Pixels, cv2.resize(self[0], (width, height), interpolation=cv2.INTER_AREA))


class MatrixDetector(Detector):
    """Suppress by a matrix of all overlaps, as most ports of the cascade do."""

    def suppress(self, boxes: Floats, scores: Floats, iou: float, limit: int) -> Indices:
        """Return the same rows as the detector's own method."""
        order = np.argsort(-scores, kind="stable")
        sorted_boxes = boxes[order]
        area = (sorted_boxes[:, 2:] - sorted_boxes[:, :2]).prod(axis=1)
        low = np.maximum(sorted_boxes[:, None, :2], sorted_boxes[None, :, :2])
        high = np.minimum(sorted_boxes[:, None, 2:], sorted_boxes[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=2)
        overlaps = shared / (area[:, None] + area[None, :] - shared) > iou
        alive = np.ones(len(boxes), bool)
        for row in range(len(boxes)):
            if alive[row]:
                alive[row + 1 :] &= ~overlaps[row, row + 1 :]
        return order[np.flatnonzero(alive)[:limit]].astype(np.int64)


def contenders(scratch: Path, peers: Path | None) -> dict[str, Contender]:
    """List what is measured; ours comes first, then ours without one of its savings each, then other detectors."""
    ours = DetectorManifest.load(WEIGHTS)
    write_detector(scratch, prelu_op=True)
    prelu = DetectorManifest.load(scratch)
    whole = dataclasses.replace(ours, strip_pixels=_UNLIMITED)
    found = {
        "ours": _with_octaves(Detector(ours, providers=[CPU]), Octaves),
        "… with the PRelu operator": _with_octaves(Detector(prelu, providers=[CPU]), Octaves),
        "… P-Net without strips": _with_octaves(Detector(whole, providers=[CPU]), Octaves),
        "… stages without chunks": _with_octaves(Detector(_unchunked(ours), providers=[CPU]), Octaves),
        "… pyramid from the photo": _with_octaves(Detector(ours, providers=[CPU]), PlainOctaves),
        "… suppression by matrix": _with_octaves(MatrixDetector(ours, providers=[CPU]), Octaves),
        "all five together": _with_octaves(
            MatrixDetector(_unchunked(dataclasses.replace(prelu, strip_pixels=_UNLIMITED)), providers=[CPU]),
            PlainOctaves,
        ),
        # The package's own default: faces from 20 pixels on, in the photo's own size.
        "… and faces from 20 pixels": _with_octaves(
            MatrixDetector(
                _unchunked(dataclasses.replace(prelu, strip_pixels=_UNLIMITED, min_face=20, long_side=_UNLIMITED)),
                providers=[CPU],
            ),
            PlainOctaves,
        ),
    }
    if find_spec("tensorflow"):
        found["mtcnn, the package"] = _mtcnn()
    for weights in sorted(peers.glob("*.onnx")) if peers else []:
        if weights.name.startswith("yunet"):
            found["YuNet"] = _yunet(weights)
    return found


def _with_octaves(detector: Detector, octaves: type[Octaves]) -> Contender:
    return lambda image: len(detector.detect(octaves(image)))


def _unchunked(manifest: DetectorManifest) -> DetectorManifest:
    stages = {name: dataclasses.replace(stage, chunk=100_000) for name, stage in manifest.stages.items()}
    return dataclasses.replace(manifest, stages=stages)


def _mtcnn() -> Contender:
    from mtcnn import MTCNN

    detector = MTCNN(device="CPU:0")
    return lambda image: len(detector.detect_faces(image))


def _yunet(weights: Path) -> Contender:
    def run(image: Pixels) -> int:
        height, width = image.shape[:2]
        detector.setInputSize((width, height))
        _, faces = detector.detect(np.ascontiguousarray(image[..., ::-1]))
        return 0 if faces is None else len(faces)

    detector = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), 0.6, 0.3, 5000)
    return run


def load(folder: Path | None) -> tuple[str, list[Pixels]]:
    """Read the photos of a folder, those of the demonstration, or draw some; return where they are from."""
    for place in [folder] if folder else [DEMO_PHOTOS]:
        photos = []
        for found in find_files([place]) if place.is_dir() or folder else []:
            try:
                photos.append(decode(found.path))
            except ImageError:
                continue
        if photos:
            return str(place), photos
    if folder:
        raise FileNotFoundError(f"no photo in {folder}")
    return "drawn shapes", [draw(seed) for seed in range(6)]


def draw(seed: int) -> Pixels:
    """Draw blurred ellipses, some with eyes and a mouth, onto 720 by 480 pixels."""
    random = np.random.default_rng(seed)
    image = random.integers(60, 200, (480, 720, 3), dtype=np.uint8)
    for _ in range(8):
        x, y, size = int(random.integers(60, 660)), int(random.integers(60, 420)), int(random.integers(20, 60))
        cv2.ellipse(image, (x, y), (size, size * 4 // 3), 0, 0, 360, (224, 172, 140), -1)
        for side in (-1, 1):
            cv2.circle(image, (x + side * size // 3, y - size // 4), max(2, size // 8), (40, 30, 30), -1)
        cv2.ellipse(image, (x, y + size // 2), (size // 3, max(1, size // 10)), 0, 0, 360, (150, 60, 60), -1)
    return cast(Pixels, cv2.GaussianBlur(image, (5, 5), 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Hold one contender's median and ninth decile in milliseconds per photo, and the faces it found in all."""

    name: str
    median_ms: float
    p90_ms: float
    ratio: float
    faces: int


def measure(found: dict[str, Contender], photos: Sequence[Pixels], rounds: int, progress: Progress) -> list[Result]:
    """Run all contenders over all photos in turn; the fastest of the rounds counts for each photo."""
    times = {name: [float("inf")] * len(photos) for name in found}
    faces = dict.fromkeys(found, 0)
    task = progress.add_task("measuring", total=(rounds + 1) * len(photos))
    # The first round warms caches and allocators and is thrown away.
    for turn in range(rounds + 1):
        for number, photo in enumerate(photos):
            for name, contender in found.items():
                started = time.perf_counter()
                count = contender(photo)
                took = (time.perf_counter() - started) * 1e3
                if turn:
                    times[name][number] = min(times[name][number], took)
                else:
                    faces[name] += count
            progress.advance(task)
    ours = times["ours"]
    return [
        Result(
            name,
            statistics.median(took),
            float(np.quantile(took, 0.9)),
            statistics.median(other / own for other, own in zip(took, ours, strict=True)),
            faces[name],
        )
        for name, took in times.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m ml.bench", description="Measure the face detector.")
    parser.add_argument("--photos", type=Path, help="folder of photos (default: those of the demonstration)")
    parser.add_argument("--peers", type=Path, help="folder with the weights of YuNet, to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="runs over the photos (default: 5)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to as well")
    options = parser.parse_args(arguments)
    errors, out = Console(stderr=True), Console()
    cv2.setNumThreads(1)
    try:
        place, photos = load(options.photos)
        with tempfile.TemporaryDirectory() as scratch:
            found = contenders(Path(scratch), options.peers)
            with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
                results = measure(found, photos, max(1, options.rounds), progress)
    except (OSError, WeightsError) as error:
        errors.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        return 2
    sizes = sorted(max(photo.shape[:2]) for photo in photos)
    out.print(
        f"{len(photos)} photos from {place}, long side {sizes[0]} to {sizes[-1]} pixels; one thread of "
        f"{platform.processor() or platform.machine()}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("detector", "median ms", "90 % ms", "× ours", "faces")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        values = (f"{result.median_ms:.1f}", f"{result.p90_ms:.1f}", f"{result.ratio:.2f}", str(result.faces))
        table.add_row(result.name, *values)
    out.print(table)
    out.print(whole_photos(options.photos or DEMO_PHOTOS), highlight=False, soft_wrap=True)
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=1) + "\n")
    return 0


def whole_photos(folder: Path) -> str:
    """Say how long the whole way takes for the photos of a folder, from bytes to states."""
    analyzer = Analyzer(providers=[CPU])
    readings = []
    for found in find_files([folder]) if folder.exists() else []:
        try:
            readings.append(analyzer.analyze(found.path).timings)
        except ImageError:
            continue
        except WeightsError as error:
            return f"not measured: {error}"
    if not readings:
        return "not measured from file to states: there are no photo files"
    steps = ("decode_ms", "detect_ms", "classify_ms")
    medians = ", ".join(
        f"{step[:-3]} {statistics.median(getattr(timing, step) for timing in readings):.1f}" for step in steps
    )
    return f"from file to states, median ms: {medians}"


if __name__ == "__main__":
    sys.exit(main())
