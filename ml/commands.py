"""The commands `predict` and `annotate`: files and folders in, JSON or drawn copies out."""

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ml.analyzer import Analyzer
from ml.drawing import draw_faces
from ml.images import decode
from ml.processes import shown, spread
from ml.types import Box, FaceReading, ImageError, PhotoReading

# Formats a copy is written in under its own name; of any other the copy becomes a PNG.
_WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}


@dataclass(frozen=True, slots=True)
class Found:
    """Hold one file to read and the name it has below the path that was given."""

    path: Path
    name: Path


@dataclass(frozen=True, slots=True)
class Reader:
    """Hold how photos are read: with which weights and providers, and in how many processes."""

    weights: Path
    providers: tuple[str, ...] | None
    jobs: int

    def analyzer(self) -> Analyzer:
        """Make an analyzer for one process."""
        return Analyzer(threads=1, providers=self.providers, weights=self.weights)

    def prepare(self) -> Callable[[Path], PhotoReading | str]:
        """Return what reads a file in this process, or says why it is no photo."""
        return functools.partial(_read, self.analyzer())


def find_files(paths: Iterable[Path]) -> list[Found]:
    """List the files named, and those in the folders named, in a stable order, each once; hidden ones are left out.

    Raises FileNotFoundError for a path that does not exist.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                name = file.relative_to(path)
                if file.is_file() and not any(part.startswith(".") for part in name.parts):
                    found.setdefault(file, Found(file, name))
        elif path.exists():
            found.setdefault(path, Found(path, Path(path.name)))
        else:
            raise FileNotFoundError(f"no such file or folder: {path}")
    return list(found.values())


def predict(files: Sequence[Found], target: Path | None, reader: Reader, errors: Console) -> int:
    """Read the files; write {file: faces} to `target`, or a line each to stdout. Return how many were read."""
    readings: dict[str, list[dict[str, Any]]] = {}
    out = Console(soft_wrap=True, highlight=False)
    for found, reading in _read_all(files, reader, errors):
        readings[str(found.path)] = [as_json(face) for face in reading.faces]
        if target is None:
            out.print(escape(f"{found.path}: {_in_words(reading)}"))
    if target is not None:
        with replacing(target) as partial:
            partial.write_text(json.dumps(readings, indent=1) + "\n", encoding="utf-8")
    return len(readings)


def annotate(files: Sequence[Found], folder: Path, reader: Reader, errors: Console) -> int:
    """Draw boxes and labels on copies of the files below `folder`. Return how many were drawn."""
    return _draw(((found, reading.faces) for found, reading in _read_all(files, reader, errors)), files, folder)


def annotate_known(predictions: Path, folder: Path) -> int:
    """Draw what `predict` wrote to `predictions`, without reading the photos anew. Return how many were drawn.

    Raises ValueError if the file holds anything else, ImageError if a photo has become unreadable.
    """
    known = read_predictions(predictions)
    files = [Found(path, Path(path.name)) for path in known]
    return _draw(((found, known[found.path]) for found in files), files, folder)


def read_predictions(predictions: Path) -> dict[Path, list[FaceReading]]:
    """Return what `predict` wrote: the faces of each file. Raises ValueError if the file holds anything else."""
    try:
        return {
            Path(name): [from_json(face) for face in faces]
            for name, faces in json.loads(predictions.read_bytes()).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{predictions} is not what predict writes: {error!r}") from error


def _draw(readings: Iterable[tuple[Found, Sequence[FaceReading]]], files: Sequence[Found], folder: Path) -> int:
    taken: set[Path] = set()
    names = {found.path: _copy_name(found.name, taken) for found in files}
    originals = {found.path.resolve() for found in files}
    overwritten = [name for name in names.values() if (folder / name).resolve() in originals]
    if overwritten:
        raise ValueError(f"{folder / overwritten[0]} is one of the photos: draw the copies into another folder")
    drawn = 0
    for found, faces in readings:
        target = folder / names[found.path]
        picture = draw_faces(decode(found.path), faces)
        with replacing(target) as partial:
            picture.save(partial, format=_WRITABLE[target.suffix.lower()], quality=92)
        drawn += 1
    return drawn


def as_json(face: FaceReading) -> dict[str, Any]:
    """Write a face as plain values: pixels with two decimals, shares of one with five."""
    return {
        "xyxy": [round(edge, 2) for edge in (face.box.x1, face.box.y1, face.box.x2, face.box.y2)],
        "score": round(face.score, 5),
        "label": face.label,
        "probabilities": {state: round(value, 5) for state, value in face.probabilities.items()},
    }


def from_json(face: Mapping[str, Any]) -> FaceReading:
    """Read what `as_json` wrote. Raises KeyError, TypeError or ValueError if it is anything else."""
    return FaceReading(Box(*map(float, face["xyxy"])), float(face["score"]), dict(face["probabilities"]))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place to write to that takes the file's place when all went well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_all(files: Sequence[Found], reader: Reader, errors: Console) -> Iterator[tuple[Found, PhotoReading]]:
    """Yield what was read in the order of the files, with a bar and a word about each file that is no photo."""
    with spread(reader.prepare, [found.path for found in files], reader.jobs) as readings:
        for found, reading in shown(zip(files, readings, strict=True), len(files), errors):
            if isinstance(reading, PhotoReading):
                yield found, reading
            else:
                errors.print(escape(f"skipped {found.path}: {reading}"), highlight=False, soft_wrap=True)


def _read(analyzer: Analyzer, path: Path) -> PhotoReading | str:
    try:
        return analyzer.analyze(path)
    except ImageError as error:
        return str(error)


def _in_words(reading: PhotoReading) -> str:
    faces = ", ".join(f"{face.label} {face.probabilities[face.label]:.2f}" for face in reading.faces)
    return faces or "no face"


def _copy_name(name: Path, taken: set[Path]) -> Path:
    if name.suffix.lower() not in _WRITABLE:
        name = name.with_name(f"{name.name}.png")
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = name.with_stem(f"{name.stem}-{count}")
    taken.add(candidate)
    return candidate
