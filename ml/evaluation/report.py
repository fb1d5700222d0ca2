"""Put the numbers into tables: for the terminal, for Markdown, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ml.evaluation.classification import BINS, Classification
from ml.evaluation.detection import Detection, Operating
from ml.evaluation.groups import Labelled, SliceResult
from ml.evaluation.matching import HIT, NEAR
from ml.evaluation.mistakes import Mistake
from ml.evaluation.posts import Posts
from ml.evaluation.stats import Estimate
from ml.types import STATES

_ROWS_OF_CURVE = 12
_MEASURES = {
    "mask_called_mask": "mask called mask",
    "no_mask_not_called_mask": "no_mask not called mask",
    "binary_balanced": "mean of the two",
    "incorrect_called_incorrect": "incorrect called so",
    "incorrect_called_mask": "incorrect called mask",
    "macro_f1_of_three": "macro-F1 of three states",
    "expected_calibration_error": f"calibration error, {BINS} bins",
    "log_loss": "log loss",
    "brier": "Brier score",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Hold one table: its title, a word on what it counts, the columns' names, and rows of text."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Report:
    """Hold all that was counted; the dictionaries are by part, the one over all boxed parts first."""

    about: Mapping[str, Any]
    detection: Mapping[str, Detection] = field(default_factory=dict)
    classification: Mapping[str, Classification] = field(default_factory=dict)
    posts: Mapping[str, Posts] = field(default_factory=dict)
    labelled: Sequence[Labelled] = ()
    slices: Sequence[SliceResult] = ()
    mistakes: Mapping[str, Sequence[Mistake]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Write it as plain values."""
        photos: dict[str, dict[str, Any]] = {}
        for one in self.labelled:
            photos.setdefault(one.part, {})[one.label] = one.as_json()
        return {
            "about": dict(self.about),
            "detection": {part: one.as_json() for part, one in self.detection.items()},
            "classification": {part: one.as_json() for part, one in self.classification.items()},
            "posts": {part: one.as_json() for part, one in self.posts.items()},
            "photos_without_boxes": photos,
            "slices": {one.slice.name: one.as_json() for one in self.slices},
            "mistakes": {kind: [one.as_json() for one in of] for kind, of in self.mistakes.items()},
        }

    def tables(self) -> Iterator[Table]:
        """Yield the tables in the order to read them in."""
        if self.detection:
            yield from self._detection()
            yield from self._classification()
            yield from self._posts()
        if self.labelled:
            yield _labelled(self.labelled)
        for one in self.slices:
            yield _slice(one)

    def _detection(self) -> Iterator[Table]:
        note = (
            f"Faces of 24 px and more. Found is what overlaps by {HIT} (intersection over union), one to one; "
            f"a stray overlaps no labelled face by {NEAR}."
        )
        rows = []
        for part, found in self.detection.items():
            rows.append(_found(part, "all", found.recall, found.precision_average, _text(found.strays_per_photo)))
            for recalls, averages in (
                (found.recall_by_state, found.average_by_state),
                (found.recall_by_size, found.average_by_size),
            ):
                rows += [_found(part, name, recalls[name], averages[name], "") for name in recalls]
        columns = ("part", "faces", "n", "recall", "average precision", "strays per photo")
        yield Table("Detection", note, columns, rows)
        part, found = next(iter(self.detection.items()))
        states = list(found.recall_by_state)
        curve = [
            (
                f"{point.threshold:.3f}",
                f"{point.recall:.3f}",
                *(f"{point.recall_by_state[state]:.3f}" for state in states),
                f"{point.strays_per_photo:.3f}",
            )
            for point in _some(found.curve)
        ]
        title = f"Recall and strays by the detector's threshold: {part}"
        note = f"The threshold in use is {self.about['detector_threshold']:.3f}."
        yield Table(title, note, ("threshold", "recall", *states, "strays per photo"), curve)

    def _classification(self) -> Iterator[Table]:
        parts = {part: one for part, one in self.classification.items() if one.faces}
        rows = [
            (name, *(_text(one.measures[key], with_n=True) for one in parts.values()))
            for key, name in _MEASURES.items()
        ]
        note = "Of the faces found. In brackets the 95 % interval, then the number of faces."
        yield Table("Classification", note, ("measure", *parts), rows)
        for part, one in parts.items():
            counted = [
                (state, *(str(count) for count in row), str(row.sum()))
                for state, row in zip(STATES, one.confusion, strict=True)
                if row.sum()
            ]
            yield Table(f"Confusion: {part}", "The truth in rows.", ("called", *STATES, "found"), counted)

    def _posts(self) -> Iterator[Table]:
        rows = [
            (part, str(one.photos), str(one.masked), _text(one.precision), _text(one.recall))
            for part, one in self.posts.items()
        ]
        note = "A post is called masked if a face is found and every found face is likeliest to be masked."
        yield Table("Posts called masked", note, ("part", "photos", "masked", "precision", "recall"), rows)
        part, one = next(iter(self.posts.items()))
        steps = [
            (f"{step.threshold:g}", *map(_text, (step.precision, step.recall, step.uncertain, step.lost)))
            for step in one.sweep
        ]
        rule = one.rule
        note = (
            f"Every face of score {rule.min_score:g} and more that has at least {rule.min_ratio:g} of the largest "
            f"one's short side must reach the threshold. If all reach {rule.likely:g}, the post is uncertain; a "
            "masked post that is neither is lost."
        )
        columns = ("mask from", "precision", "recall", "uncertain", "lost")
        yield Table(f"Posts by threshold: {part}", note, columns, steps)


def print_tables(report: Report, out: Console) -> None:
    """Print the tables."""
    for table in report.tables():
        rich = RichTable(
            title=escape(table.title), caption=escape(table.note), title_justify="left", caption_justify="left"
        )
        for number, name in enumerate(table.columns):
            rich.add_column(escape(name), justify="left" if number == 0 else "right")
        for row in table.rows:
            rich.add_row(*map(escape, row))
        out.print(rich)


def in_markdown(report: Report, pictures: Sequence[str]) -> str:
    """Return the tables, and links to pictures beside the file, as Markdown."""
    lines = ["# Evaluation", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in report.about.items()]
    lines += [
        "",
        "In square brackets is the 95 % interval: of photographs drawn anew with replacement, and Wilson's for a share "
        "of 0 or 1. It covers the luck of the draw, not that other photographs are of another kind.",
    ]
    for table in report.tables():
        lines += ["", f"## {table.title}", "", table.note, "", _row(table.columns)]
        lines.append(_row(["---", *("---:" for _ in table.columns[1:])]))
        lines += [_row(row) for row in table.rows]
    for name in pictures:
        lines += ["", f"![{name.removesuffix('.png').replace('_', ' ')}]({name})"]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _found(part: str, faces: str, recall: Estimate, average: Estimate, strays: str) -> tuple[str, ...]:
    return part, faces, str(recall.n), _text(recall), _text(average), strays


def _labelled(results: Sequence[Labelled]) -> Table:
    rows = [
        (one.part, one.label, str(one.photos), *map(_text, (one.face_found, one.some_face_mask, one.largest_right)))
        for one in results
    ]
    columns = ("part", "label", "photos", "face found", "some face called mask", "largest face called so")
    return Table("Photographs without boxes", "The label is that of the whole photograph.", columns, rows)


def _slice(result: SliceResult) -> Table:
    rows = [
        (
            group.name,
            *(
                _text(value, with_n=True)
                for value in (group.recall, group.right, group.mask_called_mask, group.other_called_mask)
            ),
        )
        for group in result.groups
    ]
    note = f"{result.slice.note[0].upper()}{result.slice.note[1:]}. Not measured: {result.unmeasured} faces."
    columns = ("faces", "recall, boxed", "called right", "mask called mask", "other called mask")
    return Table(f"By {result.slice.name}", note, columns, rows)


def _text(estimate: Estimate, *, with_n: bool = False) -> str:
    if estimate.value is None:
        return "-"
    text = f"{estimate.value:.3f}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{text} {estimate.n}" if with_n else text


def _some(curve: Sequence[Operating]) -> Sequence[Operating]:
    step = max(1, len(curve) // _ROWS_OF_CURVE)
    return curve[::-1][::step][::-1]
