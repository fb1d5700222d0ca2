"""Keep what each epoch measured as CSV and draw it as a picture: `python -m ml.training.curves FILE.csv`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ml.training.progress import say

History = Sequence[Mapping[str, float]]
UNDRAWN = ("epoch", "minutes")


def write(history: History, path: Path) -> None:
    """Write one row per epoch; a column that an epoch lacks is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".csv.part")
    with scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in history for name in row)))
        writer.writeheader()
        writer.writerows(history)
    scratch.replace(path)


def read(path: Path) -> list[dict[str, float]]:
    """Read what `write` wrote. Raises FileNotFoundError, ValueError."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def panels_of(history: History) -> dict[str, list[str]]:
    """Sort the columns into panels: losses, the learning rate, and scores in 0..1."""
    panels: dict[str, list[str]] = {"loss": [], "score": [], "learning rate": []}
    for name in dict.fromkeys(name for row in history for name in row):
        if name in UNDRAWN:
            continue
        panels["learning rate" if name == "rate" else "loss" if name.endswith("loss") else "score"].append(name)
    return {title: names for title, names in panels.items() if names}


def draw(history: History, path: Path, title: str = "") -> bool:
    """Draw a PNG with one panel for each kind of number over the epochs; tell whether there was anything to draw with.

    history: one mapping per epoch with `epoch`, any number of `...loss`, `rate`, and scores in 0..1.
    """
    if not history or find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    panels = panels_of(history)
    figure = Figure(figsize=(5 * max(1, len(panels)), 4), layout="constrained")
    for at, (name, columns) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), at)
        for column in columns:
            there = [row for row in history if column in row]
            dots = "o" if len(there) == 1 else ""
            axes.plot([row["epoch"] for row in there], [row[column] for row in there], marker=dots, label=column)
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.grid(alpha=0.3)
        if name == "score":
            axes.set_ylim(top=1.01)
        axes.legend(fontsize="small")
    if title:
        figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Draw the curves of a run again."""
    parser = argparse.ArgumentParser(prog="python -m ml.training.curves", description=__doc__)
    parser.add_argument("file", type=Path, help="the CSV beside a checkpoint")
    options = parser.parse_args(arguments)
    try:
        history = read(options.file)
    except (FileNotFoundError, ValueError) as error:
        say(f"{options.file} holds no epochs: {error}")
        return 2
    if not draw(history, options.file.with_suffix(".png"), options.file.stem):
        say("Nothing was drawn: there are no epochs, or matplotlib is not installed: pip install -e '.[train]'")
        return 2
    say(str(options.file.with_suffix(".png")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
