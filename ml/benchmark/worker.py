"""Hold one contender and run it as told: `python -m ml.benchmark.worker KIND [--weights PATH] ...`.

It runs under the Python of the contender's own environment, so it imports the standard library alone, and the module
of its kind. One JSON object per line comes in and one goes out; the first that goes out says that all is loaded.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

#: Where each kind's `Runner` is. Imported when asked for: no environment has what all of them need.
KINDS = {
    "detector": "ml.benchmark.ours:DetectorRunner",
    "classifier": "ml.benchmark.ours:ClassifierRunner",
    "analyzer": "ml.benchmark.ours:AnalyzerRunner",
    "yunet-onnxruntime": "ml.benchmark.graphs:YuNetInOnnxRuntime",
    "yunet-opencv": "ml.benchmark.graphs:YuNetInOpenCV",
    "rfb": "ml.benchmark.graphs:Rfb",
    "mtcnn": "ml.benchmark.peer_mtcnn:Mtcnn",
    "facenet-pytorch": "ml.benchmark.peer_facenet:Facenet",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what a runner is made with: a file or folder of weights, and ONNX Runtime's providers."""

    weights: Path
    providers: tuple[str, ...]


class Runner(Protocol):
    """Say what every contender can do; made with `Settings`, all loaded."""

    #: The distributions whose versions the report names; those that are not installed are left out.
    distributions: tuple[str, ...]
    #: What a reader of the numbers must know about this contender, or nothing.
    note: str

    def open(self, path: Path) -> Any:
        """Read what `run` takes; not measured."""

    def run(self, source: Any) -> Any:
        """Do the work that is measured."""

    def faces(self, answer: Any) -> list[list[float]]:
        """Tell what `run` found, [x1, y1, x2, y2, score] in pixels each; not measured."""


def main(arguments: list[str] | None = None) -> int:
    """Load the contender, then answer line by line until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m ml.benchmark.worker")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--weights", type=Path, default=Path())
    parser.add_argument("--providers", default="CPUExecutionProvider", help="by comma")
    parser.add_argument("--core", type=int, help="the one processor core to stay on")
    options = parser.parse_args(arguments)
    if options.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    # Packages print to standard output as they like; the answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    module, name = KINDS[options.kind].split(":")
    kind: Callable[[Settings], Runner] = getattr(import_module(module), name)
    started = time.perf_counter()
    runner = kind(Settings(options.weights, tuple(options.providers.split(","))))
    load_ms = (time.perf_counter() - started) * 1e3
    hello = {"load_ms": load_ms, "versions": _versions(runner.distributions), "note": runner.note}
    answers.write(json.dumps(hello) + "\n")
    desk = Desk(runner)
    for line in sys.stdin:
        answers.write(json.dumps(desk.answer(json.loads(line))) + "\n")
    return 0


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in distributions:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


class Desk:
    """Answer requests about one runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._sources: list[Any] = []

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the entry `do` names, with the other entries as arguments."""
        commands: Mapping[str, Callable[..., dict[str, Any]]] = {
            "run": self._run,
            "prepare": self._prepare,
            "cycle": self._cycle,
            "memory": self._memory,
        }
        return commands[request["do"]](**{name: value for name, value in request.items() if name != "do"})

    def _run(self, path: str, warm: bool = False, boxes: bool = False) -> dict[str, Any]:
        """Run over one file; `warm` runs once before the clock starts, as if the last photo had been of this size."""
        source = self._runner.open(Path(path))
        if warm:
            self._runner.run(source)
        started = time.perf_counter()
        answer = self._runner.run(source)
        took_ms = (time.perf_counter() - started) * 1e3
        faces = self._runner.faces(answer)
        return {"ms": took_ms, "faces": len(faces), **({"boxes": faces} if boxes else {})}

    def _prepare(self, paths: Sequence[str]) -> dict[str, Any]:
        """Read files to cycle over, and run over each once."""
        self._sources = [self._runner.open(Path(path)) for path in paths]
        for source in self._sources:
            self._runner.run(source)
        return {}

    def _cycle(self, start: float, seconds: float) -> dict[str, Any]:
        """Run over the prepared files again and again for so long, from a moment of the system's clock on."""
        time.sleep(max(0.0, start - time.monotonic()))
        started, photos = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            self._runner.run(self._sources[photos % len(self._sources)])
            photos += 1
        return {"per_second": photos / (time.perf_counter() - started)}

    def _memory(self) -> dict[str, Any]:
        """Read the most memory this process ever held at once, in MiB; none where the system does not keep it.

        `getrusage` tells it too, but counts in what the process held that started this one.
        """
        status = Path("/proc/self/status")
        if not status.exists():
            return {"peak_mib": None}
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return {"peak_mib": int(fields["VmHWM"].split()[0]) / 1024}


if __name__ == "__main__":
    sys.exit(main())
