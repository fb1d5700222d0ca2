"""Start workers and talk to them over pipes."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from ml.benchmark.environment import BASE

#: One thread each, however a library counts them; and the GPU is measured apart.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
}


class ContenderError(RuntimeError):
    """Say which contender cannot go on, and why."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Hold how a contender is started: the program speaks as `ml.benchmark.worker` does."""

    name: str
    command: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, kind: str, *, weights: Path | None = None, python: Path | None = None, providers: str = ""
    ) -> "Contender":
        """Name one of the kinds of `ml.benchmark.worker`, and the Python that has what it needs."""
        command = [str(python or sys.executable), "-m", "ml.benchmark.worker", kind]
        if weights:
            command += ["--weights", str(weights)]
        if providers:
            command += ["--providers", providers]
        return cls(name, tuple(command))


class Worker:
    """Hold one contender's process; a context manager, at whose end the process ends too."""

    def __init__(self, contender: Contender, *, core: int | None = None, patience_seconds: float = 600) -> None:
        self._patience_seconds = patience_seconds
        self.name = contender.name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is
        command = [*contender.command, *([] if core is None else ["--core", str(core)])]
        self.started = time.perf_counter()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                cwd=BASE,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise ContenderError(f"{self.name}: {error}") from error
        self._requests, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def receive(self) -> dict[str, Any]:
        """Return the next answer; the first of all says what was loaded.

        Raises ContenderError if the process has ended, or has to be ended for it does not answer.
        """
        watchdog = threading.Timer(self._patience_seconds, self._process.kill)
        asked = time.perf_counter()
        watchdog.start()
        try:
            line = self._answers.readline()
        finally:
            watchdog.cancel()
        if not line:
            silent = time.perf_counter() - asked > self._patience_seconds
            why = f"gave no answer for {self._patience_seconds:g} s" if silent else self._last_words()
            raise ContenderError(f"{self.name}: {why}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, **request: Any) -> None:
        """Ask for something; the answer is the next that `receive` returns."""
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
        except OSError as error:
            raise ContenderError(f"{self.name}: {self._last_words()}") from error

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send and receive."""
        self.send(**request)
        return self.receive()

    def close(self) -> None:
        """End the process, and wait for its end."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        # A request that was never read breaks the pipe when it is flushed.
        with suppress(OSError):
            self._requests.close()
        self._answers.close()
        self._errors.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"ended with status {status}"
