"""The command `evaluate`: labelled photographs in; tables, a report, charts and a sheet of mistakes out."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape

from ml.commands import read_predictions, replacing
from ml.evaluation import charts
from ml.evaluation.cases import Judged, judge
from ml.evaluation.classification import classify
from ml.evaluation.detection import DetectionCounts
from ml.evaluation.groups import labelled, slices
from ml.evaluation.index import LabelledPhoto, read_index
from ml.evaluation.mistakes import draw_sheet, worst
from ml.evaluation.posts import Rule, judge_posts
from ml.evaluation.reading import FLOOR, Looking, Observation, Remembering, name_of
from ml.evaluation.report import Report, in_markdown, print_tables
from ml.evaluation.stats import Resampler
from ml.manifest import ClassifierManifest, DetectorManifest
from ml.processes import shown, spread
from ml.types import FaceReading

#: Names the numbers over all boxed parts together.
ALL_PARTS = "all boxed parts"


@dataclass(frozen=True, slots=True)
class Task:
    """Hold what to judge: which photographs of an index, by which weights or stored predictions, and how."""

    index: Path
    split: str
    parts: tuple[str, ...]
    weights: Path
    providers: tuple[str, ...] | None
    predictions: Path | None
    jobs: int
    seed: int
    rounds: int
    rule: Rule


def evaluate(task: Task, folder: Path, out: Console, errors: Console) -> int:
    """Judge, print the tables and write the files into a folder. Return how many photographs were read.

    Raises ValueError, OSError, WeightsError or ProviderError where the index, the predictions or the weights are not
    what they must be.
    """
    photos = read_index(task.index, task.split, task.parts)
    looking = Looking(task.weights, task.providers) if task.predictions is None else _stored(task.predictions, photos)
    observations = []
    with spread(looking.prepare, photos, task.jobs) as results:
        for observation in shown(results, len(photos), errors):
            if observation.problem:
                line = f"skipped {observation.photo.path}: {observation.problem}"
                errors.print(escape(line), highlight=False, soft_wrap=True)
            observations.append(observation)
    about = _about(task, looking, observations)
    report = judged_report(about, judge(observations), Resampler(len(photos), task.rounds, task.seed), task.rule)
    print_tables(report, out)
    _write(report, folder, errors)
    return sum(observation.problem is None for observation in observations)


def judged_report(about: dict[str, Any], judged: Sequence[Judged], resampler: Resampler, rule: Rule) -> Report:
    """Count everything on judged photographs; about: what is said of how it was made, with `detector_floor`."""
    scenes = np.array([photo.photo.is_scene for photo in judged])
    names = np.array([photo.photo.part for photo in judged])
    parts = {str(name): names == name for name in np.unique(names[scenes])}
    if len(parts) > 1:
        parts = {ALL_PARTS: scenes, **parts}
    counts = DetectionCounts(judged, about["detector_floor"])
    cases = [case for photo in judged for case in photo.cases]
    return Report(
        about,
        {name: counts.judge(of, resampler) for name, of in parts.items()},
        {
            name: classify([case for case in cases if of[case.photo]], len(judged), resampler)
            for name, of in parts.items()
        },
        {name: judge_posts(judged, of, rule, resampler) for name, of in parts.items()},
        labelled(judged, resampler),
        slices(cases, len(judged), resampler),
        worst(judged),
    )


def _stored(predictions: Path, photos: Sequence[LabelledPhoto]) -> Remembering:
    wanted = Counter(name_of(photo.path) for photo in photos)
    twice = [name for name, count in wanted.items() if count > 1]
    if twice:
        raise ValueError(f"predictions are found by folder and name, and {twice[0]} is there twice in the index")
    found: dict[str, list[FaceReading]] = {}
    for path, faces in read_predictions(predictions).items():
        name = name_of(path)
        if name in found:
            raise ValueError(f"{predictions} holds two photographs that end in {name}")
        found[name] = faces
    if not wanted.keys() & found.keys():
        raise ValueError(f"{predictions} knows none of the {len(photos)} photographs")
    return Remembering({name: faces for name, faces in found.items() if name in wanted})


def _about(task: Task, looking: Looking | Remembering, observations: Sequence[Observation]) -> dict[str, Any]:
    photos = [observation.photo for observation in observations]
    about: dict[str, Any] = {
        "index": task.index.name if task.index.is_file() else task.index.resolve().name,
        "split": task.split,
        "parts": sorted({photo.part for photo in photos}),
        "photos": len(photos),
        "photos_not_read": sum(observation.problem is not None for observation in observations),
        "boxed_faces_counted": sum(face.counts for photo in photos for face in photo.faces),
        "faces_found": sum(one.returned for observation in observations for one in observation.seen),
        "draws": task.rounds,
        "seed": task.seed,
        "detector_threshold": looking.threshold,
    }
    if isinstance(looking, Remembering):
        missing = sum(name_of(photo.path) not in looking.found for photo in photos)
        return about | {
            "detector_floor": looking.threshold,
            "predictions": task.predictions.name if task.predictions else "",
            "photos_not_predicted": missing,
        }
    detector, classifier = DetectorManifest.load(task.weights), ClassifierManifest.load(task.weights)
    return about | {
        "detector_floor": min(FLOOR, looking.threshold),
        "detector": f"{detector.name} {detector.version} {detector.digest}",
        "classifier": f"{classifier.name} {classifier.version} {classifier.digest}",
    }


def _write(report: Report, folder: Path, errors: Console) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    if charts.can_draw():
        pictures = charts.draw_charts(report, folder)
    else:
        errors.print("no charts: matplotlib is not installed (pip install matplotlib)", highlight=False)
    sheet = cv2.cvtColor(draw_sheet({kind: list(of) for kind, of in report.mistakes.items()}), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(folder / "mistakes.png"), sheet):
        raise OSError(f"{folder / 'mistakes.png'} cannot be written")
    for name, text in (
        ("report.json", json.dumps(report.as_json(), indent=1) + "\n"),
        ("report.md", in_markdown(report, pictures)),
    ):
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
