"""Run all measurements, one after the other, and keep what they tell."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import Progress

from ml.benchmark import measure
from ml.benchmark.driver import Contender, ContenderError
from ml.benchmark.machine import Machine
from ml.benchmark.measure import Agreement, Detection, Start, Throughput
from ml.benchmark.photos import PORTRAIT, Photo, write_arrays, write_large_jpeg
from ml.images import decode
from ml.session import CUDA, cuda_runs

_FACES = 8
# The face on the demonstration's portrait, and steps by which eight crops of it differ.
_FACE = np.array([170, 60, 275, 190], np.float32)
_STEPS = np.arange(_FACES, dtype=np.float32)[:, None]
_CYCLED = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what is measured: contenders (ours first), sizes, and how often."""

    contenders: Sequence[Contender]
    weights: Path
    sizes: Sequence[int]
    rounds: int
    starts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Whole:
    """Hold the way of a large JPEG from bytes to states."""

    megapixels: float
    megabytes: float
    median_ms: float
    peak_mib: float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """Hold what CUDA does: how far from the CPU, and photographs per second by number of processes."""

    agreement: Agreement
    per_second: dict[int, float]


@dataclass(slots=True)
class Report:
    """Hold all that was measured; a part that could not be is none, and `left_out` says why."""

    machine: Machine
    photos: int
    plan: Plan
    #: Versions and a note, by contender.
    about: dict[str, dict[str, object]] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    #: By long side in pixels.
    detection: dict[int, list[Detection]] = field(default_factory=dict)
    throughput: Throughput | None = None
    classification_ms: float | None = None
    whole: Whole | None = None
    gpu: Gpu | None = None
    left_out: dict[str, str] = field(default_factory=dict)


def run(plan: Plan, photos: Sequence[Photo], machine: Machine, scratch: Path, progress: Progress) -> Report:
    """Measure everything. Raises ContenderError if ours, the first contender, cannot run."""
    report = Report(machine, len(photos), plan)
    ours = plan.contenders[0]
    arrays = {size: write_arrays(photos, size, scratch / str(size)) for size in plan.sizes}
    smallest = arrays[min(plan.sizes)]
    portrait = write_arrays([Photo("portrait", decode(PORTRAIT))], min(plan.sizes), scratch / "first")[0]
    with _step(progress, "starting", (plan.starts + 1) * len(plan.contenders)) as advance:
        report.starts, report.about, failed = measure.start_up(plan.contenders, portrait, plan.starts, advance)
    report.left_out.update(failed)
    if ours.name in failed:
        raise ContenderError(failed[ours.name])
    lasting = [contender for contender in plan.contenders if contender.name not in failed]
    for size in plan.sizes:
        turns = measure.Turns(lasting, arrays[size])
        with _step(progress, f"detecting at {size} pixels", plan.rounds * len(photos)) as advance:
            turns.run(plan.rounds, advance)
        report.detection[size] = turns.results()
        report.left_out.update({f"{name} at {size} pixels": reason for name, reason in turns.failures.items()})
    with _step(progress, "two processes at once", 1):
        _try(report, "two processes at once", lambda: _work_together(report, smallest))
    with _step(progress, "classifying", 1):
        _try(report, "classification", lambda: _classify(report, scratch))
    with _step(progress, "from bytes to states", 1):
        _try(report, "from bytes to states", lambda: _read_whole(report, scratch))
    if cuda_runs():
        with _step(progress, "on the GPU", 1):
            _try(report, "GPU", lambda: _use_gpu(report, smallest))
    else:
        report.left_out["GPU"] = "there is no CUDA device here, or its libraries are missing"
    return report


@contextmanager
def _step(progress: Progress, name: str, total: int) -> Iterator[Callable[[], None]]:
    task = progress.add_task(name, total=total)
    # A log file shows no bar: it is told what goes on.
    if not progress.console.is_terminal:
        progress.console.print(f"{name} ...", highlight=False)
    yield lambda: progress.advance(task)
    progress.update(task, completed=total)


def _try(report: Report, name: str, part: Callable[[], None]) -> None:
    try:
        part()
    except ContenderError as error:
        report.left_out[name] = str(error)


def _work_together(report: Report, photos: Sequence[Path]) -> None:
    plan = report.plan
    report.throughput = measure.throughput(plan.contenders[0], photos[:_CYCLED], 2, plan.seconds, plan.rounds)
    if report.throughput is None:
        report.left_out["two processes at once"] = "there is one core only"


def _classify(report: Report, scratch: Path) -> None:
    """Classify eight faces at a time, cutting them out included."""
    source = scratch / "faces.npz"
    np.savez(source, image=decode(PORTRAIT), boxes=_FACE + _STEPS)
    contender = Contender.of("classifier", "classifier", weights=report.plan.weights)
    median_ms, _ = measure.repeated(contender, source, 4 * report.plan.rounds)
    report.classification_ms = median_ms / _FACES


def _read_whole(report: Report, scratch: Path) -> None:
    source = scratch / "large.jpg"
    write_large_jpeg(source)
    contender = Contender.of("analyzer", "analyzer", weights=report.plan.weights)
    median_ms, peak_mib = measure.repeated(contender, source, 2 * report.plan.rounds)
    report.whole = Whole(12.0, source.stat().st_size / 1e6, median_ms, peak_mib)


def _use_gpu(report: Report, photos: Sequence[Path]) -> None:
    plan = report.plan
    on_gpu = Contender.of("ours on CUDA", "detector", weights=plan.weights, providers=CUDA)
    agreement = measure.agreement(measure.find(plan.contenders[0], photos), measure.find(on_gpu, photos))
    per_second = {}
    for processes in (1, 2, 4):
        measured = measure.throughput(on_gpu, photos[:_CYCLED], processes, plan.seconds, plan.rounds)
        if measured:
            per_second[processes] = measured.together
    report.gpu = Gpu(agreement, per_second)
