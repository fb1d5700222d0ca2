"""Do one thing to many files, in this process or in several, with a bar that shows how far it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def spread(
    prepare: Callable[[], Callable[[_Item], _Result]], items: Sequence[_Item], jobs: int
) -> Iterator[Iterator[_Result]]:
    """Give the result for each item, in order; `prepare` is called once in each process and returns what does it."""
    if jobs == 1:
        yield map(prepare(), items)
        return
    # Fresh processes: a fork would copy this one's threads' locks, but not its threads.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (prepare,)) as pool:
        try:
            yield pool.map(_work, items, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def shown(items: Iterable[_Item], total: int, errors: Console, title: str = "reading photos") -> Iterator[_Item]:
    """Pass the items on under a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # A bar that cannot move, in a log file say, would only leave empty lines.
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        for item in items:
            yield item
            bar.advance(task)


_worker: Callable[[Any], Any] | None = None


def _start_worker(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    global _worker
    _worker = prepare()


def _work(item: Any) -> Any:
    if _worker is None:
        raise RuntimeError("this process was not started by _start_worker")
    return _worker(item)
