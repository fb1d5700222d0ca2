"""Show how far a long piece of work is: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHOWN = 0.5  # seconds between two looks at the loss: on a GPU each look waits for the step to end

T = TypeVar("T")


def say(text: str) -> None:
    """Print a line at once, also into a file."""
    print(text, flush=True)  # noqa: T201 - the commands of training speak through this


class Bar:
    """Count steps, with the latest loss; a line each `every` seconds where the output is no terminal.

    with Bar("epoch 1/60", total=192) as bar: bar.step(loss)
    """

    def __init__(
        self, title: str, total: int | None = None, *, every: float = 60.0, console: Console | None = None
    ) -> None:
        self.title, self.total, self.every, self.done = title, total, every, 0
        self._console = console or Console()
        self._looked = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            note = TextColumn("{task.fields[note]}")
            # It goes when it is done: what is worth keeping is said in a line.
            self._bar = Progress(*columns, note, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, loss: Any = None) -> None:
        """Count one more step; `loss` is anything that float() takes."""
        self.done += 1
        now = time.monotonic()
        if now - self._looked < SHOWN and self.done != self.total:
            return
        self._looked = now
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=_note(loss))
        elif now - self._said >= self.every:
            self._said = now
            of = f"/{self.total}" if self.total else ""
            self._console.print(f"{self.title}: {self.done}{of}{_note(loss)}", markup=False, highlight=False)


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how many have passed."""
    with Bar(title, total) as bar:
        for item in items:
            yield item
            bar.step()


def _note(loss: Any) -> str:
    return "" if loss is None else f"  loss {float(loss):.4f}"
