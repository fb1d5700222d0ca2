"""Use an analyzer on both sides of a fork; run as a program, in a process that has done nothing else.

Inside the test run it could not be told whose threads a child is missing: those of the analyzer, or of another test.

    python -m tests.ml.forking read WEIGHTS PHOTO THREADS    reads before the fork, in the child and after it
    python -m tests.ml.forking lock WEIGHTS PHOTO THREADS    forks while another thread holds the analyzer's lock
"""

import json
import multiprocessing
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ml.analyzer import Analyzer
from ml.session import CPU
from ml.types import PhotoReading

PATIENCE_SECONDS = 60


def faces_of(reading: PhotoReading) -> list[tuple[float, ...]]:
    return [(face.box.x1, face.box.y1, face.score, *face.probabilities.values()) for face in reading.faces]


def read_in_child(analyzer: Analyzer, photo: Path, threads: int) -> tuple[list[tuple[float, ...]], int]:
    """Return what a forked child reads, and how many threads it then has."""
    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_read, args=(analyzer, photo, threads, sending))
    child.start()
    try:
        if not receiving.poll(PATIENCE_SECONDS):
            raise TimeoutError("the child hangs")
        faces, alive = receiving.recv()
        child.join(PATIENCE_SECONDS)
        if child.exitcode != 0:
            raise RuntimeError(f"the child ended with {child.exitcode}")
        return faces, alive
    finally:
        child.kill()
        child.join()


def _read(analyzer: Analyzer, photo: Path, threads: int, answers: Connection) -> None:
    faces = faces_of(analyzer.analyze(photo))
    tasks = Path("/proc/self/task")
    answers.send((faces, sum(1 for _ in tasks.iterdir()) if tasks.is_dir() else threads))


def _hold(analyzer: Analyzer, held: threading.Event, enough: threading.Event) -> None:
    with analyzer._lock:
        held.set()
        enough.wait(2 * PATIENCE_SECONDS)


def main(what: str, weights: Path, photo: Path, threads: int) -> dict[str, Any]:
    analyzer = Analyzer(threads=threads, providers=[CPU], weights=weights)
    if what == "read":
        before = faces_of(analyzer.analyze(photo))
        child, alive = read_in_child(analyzer, photo, threads)
        return {"before": before, "child": child, "alive": alive, "after": faces_of(analyzer.analyze(photo))}
    held, enough = threading.Event(), threading.Event()
    holder = threading.Thread(target=_hold, args=(analyzer, held, enough))
    holder.start()
    held.wait(PATIENCE_SECONDS)
    try:
        return {"child": read_in_child(analyzer, photo, threads)[0]}
    finally:
        enough.set()
        holder.join()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
