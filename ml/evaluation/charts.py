"""Draw the numbers as pictures; matplotlib is needed for this alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.evaluation.classification import Classification, Reliability
from ml.evaluation.detection import Detection
from ml.evaluation.groups import SliceResult
from ml.evaluation.posts import Posts
from ml.evaluation.report import Report
from ml.evaluation.stats import Estimate
from ml.types import STATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, as on the photos: the states stay apart for colour-blind eyes.
_COLOURS = {"mask": "#009e73", "no_mask": "#d55e00", "incorrect": "#e69f00", "occluded": "#56b4e9"}
# A curve of fewer faces would be a staircase.
_FEW = 10
_DARK, _LIGHT = "#0072b2", "#bbbbbb"


def can_draw() -> bool:
    """Tell if matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_charts(report: Report, folder: Path) -> list[str]:
    """Write the charts that there are numbers for into a folder; return the names of the files."""
    names = []
    for name, figure in _figures(report):
        figure.savefig(folder / name, dpi=110)
        names.append(name)
    return names


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    if report.detection:
        part, detection = next(iter(report.detection.items()))
        yield "recall_and_strays.png", _recall_and_strays(part, detection, report.about["detector_threshold"])
        classification = report.classification[part]
        if classification.faces:
            yield "confusion.png", _confusion(part, classification)
            yield "reliability.png", _reliability(part, classification)
        yield "posts.png", _posts(part, report.posts[part])
    if report.slices:
        yield "slices.png", _slices(report.slices)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    # Without pyplot no window system is asked for, and nothing is kept after the file is written.
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, number + 1) for number in range(columns)]


def _recall_and_strays(part: str, detection: Detection, threshold: float) -> Figure:
    figure, (axes,) = _figure(7, 5)
    strays = [point.strays_per_photo for point in detection.curve]
    axes.plot(strays, [point.recall for point in detection.curve], color="black", label="all")
    for state, estimate in detection.recall_by_state.items():
        if estimate.n < _FEW:
            continue
        recall = [point.recall_by_state[state] for point in detection.curve]
        axes.plot(strays, recall, color=_COLOURS[state], label=state)
    if detection.strays_per_photo.value is not None and detection.recall.value is not None:
        spot = (detection.strays_per_photo.value, detection.recall.value)
        axes.plot(*spot, "o", color="black", label=f"in use: {threshold:.2f}")
    axes.set(xlabel="strays per photograph", ylabel="recall", title=f"Recall by strays: {part}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _confusion(part: str, classification: Classification) -> Figure:
    counts = classification.confusion
    there = [row for row in range(len(STATES)) if counts[row].sum()]
    figure, (axes,) = _figure(6, 1.5 + 0.8 * len(there))
    shares = counts[there] / counts[there].sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y, row in enumerate(there):
        for x in range(len(STATES)):
            colour = "white" if shares[y, x] > 0.5 else "black"
            axes.text(x, y, f"{shares[y, x]:.1%}\n{counts[row, x]}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(STATES)), STATES)
    axes.set_yticks(range(len(there)), [STATES[row] for row in there])
    axes.set(xlabel="called", ylabel="is", title=f"Confusion of found faces: {part}")
    return figure


def _reliability(part: str, classification: Classification) -> Figure:
    figure, axes = _figure(10, 5, 2)
    error = classification.measures["expected_calibration_error"].value or 0.0
    _reliability_axes(axes[0], classification.top, "probability of the label", "share called right")
    axes[0].set_title(f"{part}: calibration error {error:.3f}")
    _reliability_axes(axes[1], classification.mask, "probability of mask", "share that is masked")
    return figure


def _reliability_axes(axes: Axes, bins: Reliability, said: str, true: str) -> None:
    axes.plot([0, 1], [0, 1], color=_LIGHT, linestyle="--")
    there = [
        (x, y, faces)
        for x, y, faces in zip(bins.said, bins.true, bins.faces, strict=True)
        if x is not None and y is not None
    ]
    axes.plot([x for x, _, _ in there], [y for _, y, _ in there], "o-", color=_DARK)
    for x, y, faces in there:
        axes.annotate(str(faces), (x, y), textcoords="offset points", xytext=(5, -11), fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=said, ylabel=true)
    axes.grid(alpha=0.3)


def _posts(part: str, posts: Posts) -> Figure:
    figure, axes = _figure(11, 5, 2)
    steps = [step for step in posts.sweep if step.precision.value is not None and step.recall.value is not None]
    recall: list[Any] = [step.recall.value for step in steps]
    precision: list[Any] = [step.precision.value for step in steps]
    axes[0].plot(recall, precision, "o-", color=_DARK)
    for number, (x, y, step) in enumerate(zip(recall, precision, steps, strict=True)):
        if number % 2 == 0:
            axes[0].annotate(f"{step.threshold:g}", (x, y), textcoords="offset points", xytext=(4, 5), fontsize=8)
    axes[0].set(xlabel="recall of masked posts", ylabel="precision", title=f"Posts by threshold: {part}")
    thresholds = [step.threshold for step in posts.sweep]
    for name, colour in (
        ("precision", _DARK),
        ("recall", _COLOURS["mask"]),
        ("uncertain", _COLOURS["incorrect"]),
        ("lost", _COLOURS["no_mask"]),
    ):
        values: list[Any] = [getattr(step, name).value for step in posts.sweep]
        axes[1].plot(thresholds, values, color=colour, label=name)
    axes[1].set(xlabel="mask from this probability", ylabel="share")
    axes[1].legend()
    for one in axes:
        one.grid(alpha=0.3)
    return figure


def _slices(results: Sequence[SliceResult]) -> Figure:
    rows = [(f"{result.slice.name}: {group.name}", group) for result in results for group in result.groups][::-1]
    figure, axes = _figure(13, 1.5 + 0.3 * len(rows), 3)
    columns = (
        ("recall", "found, of boxed faces"),
        ("right", "called right, of found"),
        ("other_called_mask", "called mask, and is none"),
    )
    for one, (name, title) in zip(axes, columns, strict=True):
        for y, (_, group) in enumerate(rows):
            _whisker(one, y, getattr(group, name))
        one.set_yticks(range(len(rows)), [label for label, _ in rows] if one is axes[0] else [""] * len(rows))
        one.set(ylim=(-0.6, len(rows) - 0.4), title=title)
        one.margins(x=0.12)
        one.grid(alpha=0.3, axis="x")
    return figure


def _whisker(axes: Axes, y: float, estimate: Estimate) -> None:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return
    axes.plot([estimate.low, estimate.high], [y, y], color=_DARK, linewidth=1.5)
    axes.plot([estimate.value], [y], "o", color=_DARK, markersize=4)
    axes.annotate(str(estimate.n), (estimate.high, y), textcoords="offset points", xytext=(4, -3), fontsize=7)
