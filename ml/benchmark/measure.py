"""Measure contenders that take turns, so that a busy machine slows all of them alike."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml.benchmark.driver import Contender, ContenderError, Worker

#: From so many faces on, as ours counts them, a photograph is a crowd.
CROWD_FACES = 10
# Enough for a request to reach every worker.
_LEAD_SECONDS = 0.1

_Times = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detection:
    """Hold what one contender did at one size; milliseconds per photograph."""

    name: str
    median_ms: float
    p95_ms: float
    photos_per_second: float
    #: How much longer than the first contender it took, the median over all turns.
    ratio: float
    #: The slowest crowd beside the median photograph; none where there was no crowd.
    crowd_ms: float | None
    crowd_ratio: float | None
    peak_mib: float | None
    faces: int


@dataclass(frozen=True, slots=True)
class Start:
    """Hold how long one contender needs to its first photograph, medians over fresh processes."""

    name: str
    #: The weights and the first photograph, once all is imported.
    load_and_first_ms: float
    #: From the start of the process to the first answer.
    process_ms: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Hold photographs per second in one process and in several at once, each on a core of its own."""

    processes: int
    one: float
    together: float

    @property
    def ratio(self) -> float:
        """Return how many times one process all of them are."""
        return self.together / self.one


@dataclass(frozen=True, slots=True)
class Agreement:
    """Hold how far two providers of one detector are apart on the same photographs."""

    photos: int
    #: Photographs on which both found as many faces.
    same_count: int
    #: Over the faces of these photographs, in pixels and in score.
    largest_box_difference: float
    largest_score_difference: float


def cores() -> Sequence[int | None]:
    """List the cores this process may use, the first that others use last; one unknown where nobody tells."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return sorted(os.sched_getaffinity(0), reverse=True)


class Turns:
    """Let contenders take turns on the same photographs; who fails is left out from then on."""

    def __init__(self, contenders: Sequence[Contender], photos: Sequence[Path]) -> None:
        self._contenders = contenders
        self._photos = photos
        #: Milliseconds by contender, photograph and round.
        self.times: dict[str, list[list[float]]] = {}
        self.faces: dict[str, list[int]] = {}
        self.peaks: dict[str, float | None] = {}
        self.failures: dict[str, str] = {}

    def run(self, rounds: int, advance: Callable[[], None]) -> None:
        """Measure each photograph once a round in each contender; call `advance` once per photograph and round."""
        with ExitStack() as stack:
            workers = self._start(stack)
            for turn in range(rounds):
                for number, photo in enumerate(self._photos):
                    names = list(workers)
                    # Whoever comes after a heavy contender finds cold caches: it is another one each time.
                    first = (turn + number) % max(1, len(names))
                    for name in names[first:] + names[:first]:
                        try:
                            self._measure(workers[name], number, photo)
                        except ContenderError as error:
                            self._drop(workers, name, error)
                    advance()
            for name, worker in list(workers.items()):
                try:
                    self.peaks[name] = worker.ask(do="memory")["peak_mib"]
                except ContenderError as error:
                    self._drop(workers, name, error)

    def results(self) -> list[Detection]:
        """Sum up who lasted to the end, in the order of the contenders; the first of them is the measure."""
        names = [contender.name for contender in self._contenders if contender.name in self.peaks]
        if not names:
            return []
        times = {name: np.array(self.times[name]) for name in names}
        crowds = [number for number, count in enumerate(self.faces[names[0]]) if count >= CROWD_FACES]
        return [self._sum_up(name, times[name], times[names[0]], crowds) for name in names]

    def _start(self, stack: ExitStack) -> dict[str, Worker]:
        workers: dict[str, Worker] = {}
        for contender in self._contenders:
            try:
                worker = stack.enter_context(Worker(contender, core=cores()[0]))
                worker.receive()
            except ContenderError as error:
                self.failures[contender.name] = str(error)
                continue
            workers[contender.name] = worker
            self.times[contender.name] = [[] for _ in self._photos]
            self.faces[contender.name] = [0] * len(self._photos)
        return workers

    def _measure(self, worker: Worker, number: int, photo: Path) -> None:
        answer = worker.ask(do="run", path=str(photo), warm=True)
        self.times[worker.name][number].append(answer["ms"])
        self.faces[worker.name][number] = answer["faces"]

    def _drop(self, workers: dict[str, Worker], name: str, error: ContenderError) -> None:
        self.failures[name] = str(error)
        workers.pop(name)

    def _sum_up(self, name: str, own: _Times, ours: _Times, crowds: list[int]) -> Detection:
        per_photo = np.median(own, axis=1)
        crowd_ms = float(per_photo[crowds].max()) if crowds else None
        median_ms = float(np.median(per_photo))
        return Detection(
            name=name,
            median_ms=median_ms,
            p95_ms=float(np.quantile(own, 0.95)),
            photos_per_second=1e3 / float(per_photo.mean()),
            ratio=float(np.median(own / ours)),
            crowd_ms=crowd_ms,
            crowd_ratio=None if crowd_ms is None else crowd_ms / median_ms,
            peak_mib=self.peaks[name],
            faces=sum(self.faces[name]),
        )


def start_up(
    contenders: Sequence[Contender], photo: Path, starts: int, advance: Callable[[], None]
) -> tuple[list[Start], dict[str, dict[str, object]], dict[str, str]]:
    """Start each contender afresh several times, in turn.

    Returns what it took, what each says of itself (versions and a note), and why others failed.
    """
    loads: dict[str, list[float]] = {}
    wholes: dict[str, list[float]] = {}
    about: dict[str, dict[str, object]] = {}
    failures: dict[str, str] = {}
    # The first start reads the files from the disk; it does not count.
    for turn in range(starts + 1):
        for contender in contenders:
            if contender.name in failures:
                continue
            try:
                with Worker(contender, core=cores()[0]) as worker:
                    hello = worker.receive()
                    first = worker.ask(do="run", path=str(photo))
                    whole_ms = (time.perf_counter() - worker.started) * 1e3
            except ContenderError as error:
                failures[contender.name] = str(error)
                continue
            if turn:
                loads.setdefault(contender.name, []).append(hello["load_ms"] + first["ms"])
                wholes.setdefault(contender.name, []).append(whole_ms)
            about[contender.name] = {"versions": hello["versions"], "note": hello["note"]}
            advance()
    lasted = [contender.name for contender in contenders if contender.name not in failures]
    found = [Start(name, statistics.median(loads[name]), statistics.median(wholes[name])) for name in lasted]
    return found, about, failures


def throughput(
    contender: Contender, photos: Sequence[Path], processes: int, seconds: float, repeats: int
) -> Throughput | None:
    """Compare several processes at once with one alone, by turns; none where there are too few cores."""
    available = cores()
    if len(available) < processes:
        return None
    alone, together = [], []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(contender, core=core)) for core in available[:processes]]
        for worker in workers:
            worker.receive()
            worker.ask(do="prepare", paths=[str(photo) for photo in photos])
        for _ in range(repeats):
            alone.append(_cycle(workers[:1], seconds))
            together.append(_cycle(workers, seconds))
    return Throughput(processes, statistics.median(alone), statistics.median(together))


def _cycle(workers: Sequence[Worker], seconds: float) -> float:
    """Return the photographs per second of workers that begin at the same moment."""
    start = time.monotonic() + _LEAD_SECONDS
    for worker in workers:
        worker.send(do="cycle", start=start, seconds=seconds)
    return float(sum(worker.receive()["per_second"] for worker in workers))


def repeated(contender: Contender, source: Path, rounds: int) -> tuple[float, float | None]:
    """Run over one file so often; return the median in milliseconds and the process's peak memory in MiB."""
    with Worker(contender, core=cores()[0]) as worker:
        worker.receive()
        took = [worker.ask(do="run", path=str(source), warm=not turn)["ms"] for turn in range(rounds)]
        peak: float | None = worker.ask(do="memory")["peak_mib"]
    return statistics.median(took), peak


def find(contender: Contender, photos: Sequence[Path]) -> list[list[list[float]]]:
    """Return the faces of each photograph, [x1, y1, x2, y2, score] each."""
    with Worker(contender) as worker:
        worker.receive()
        return [worker.ask(do="run", path=str(photo), boxes=True)["boxes"] for photo in photos]


def agreement(one: Sequence[Sequence[Sequence[float]]], other: Sequence[Sequence[Sequence[float]]]) -> Agreement:
    """Compare the faces that two providers found on the same photographs."""
    box, score, same = 0.0, 0.0, 0
    for first, second in zip(one, other, strict=True):
        if len(first) != len(second):
            continue
        same += 1
        for left in first:
            # Faces of near equal scores may have changed places: the nearest one is meant.
            apart = min(([abs(a - b) for a, b in zip(left, right, strict=True)] for right in second), key=sum)
            box, score = max(box, *apart[:4]), max(score, apart[4])
    return Agreement(len(one), same, box, score)
