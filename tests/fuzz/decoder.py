"""``python -m tests.fuzz.decoder``: a hundred thousand spoilt pictures into what reads the photos of strangers.

Each must end as a photo that can be stored or as a refusal that docs/api.md knows: no other error, no crash of the
process, no hang, no more memory than a photo of the largest size takes. Every find is kept with its number.
"""

import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from PIL import Image

from tests.fuzz.corpus import corpus
from tests.fuzz.mutations import mutated

INPUTS = 100_000
# Of the processor, since others may want it too; nothing waits for anybody else, so one that does for so long is stuck.
LONGEST_SECONDS = 5
STUCK_FACTOR = 12
# A photo of 50 megapixels takes 800 MB while it is made anew (moderation.uploads); all else is far below.
MOST_MEGABYTES = 1200
BATCH = 200

Judge = Callable[[bytes], str]


@dataclass(slots=True)
class Found:
    """What came of many inputs: how often each outcome, the slowest, the most memory, and what must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    megabytes: float = 0.0

    def add(self, other: "Found") -> None:
        """Take in what another run found."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.slowest = max(self.slowest, other.slowest)
        self.megabytes = max(self.megabytes, other.megabytes)


class TooLongError(Exception):
    """An input kept the decoder busy."""


def read_upload(data: bytes) -> str:
    """Do with bytes what an upload does, and then what a worker does; return the outcome's code."""
    from mask_social.errors import ApiError
    from ml import images
    from ml.types import ImageError
    from moderation import uploads

    limits = uploads.Limits(max_bytes=15 * 1024**2, max_pixels=50_000_000, max_photos=10)
    try:
        [photo] = uploads.prepare_all([uploads.Upload.of("/photos/0", data)], limits)
    except ApiError as error:
        code = error.code
        if error.status not in {400, 413} or [problem.pointer for problem in error.problems] != ["/photos/0"]:
            raise AssertionError(f"refused as {error.status} without naming the photo") from error
    else:
        code = "taken"
        with Image.open(BytesIO(photo.content)) as stored:
            if stored.format != "JPEG" or stored.info.keys() & {"exif", "icc_profile", "comment", "xmp"}:
                raise AssertionError("something of the file survived besides its pixels")
        images.decode_reduced(photo.content, 1600)
    with contextlib.suppress(ImageError):
        images.decode_reduced(data, 1600)  # what `python -m ml predict` does with a stranger's file
    return code


@dataclass(slots=True)
class _Run:
    """A process at a range of inputs; `at` is the one it has in hand."""

    process: BaseProcess
    numbers: range
    at: Any
    seen: tuple[int, float]

    def is_stuck(self, seconds: float) -> bool:
        """Say whether it has one input in hand for too long: it waits, or a decoder in C hears no alarm."""
        number, since = self.seen
        if self.at.value != number:
            self.seen = self.at.value, time.monotonic()
            return False
        return time.monotonic() - since > STUCK_FACTOR * seconds


def fuzz(judge: Judge, inputs: int, *, first: int = 0, processes: int = 2, seconds: float = LONGEST_SECONDS) -> Found:
    """Judge mutations number `first` and on in processes of their own, started anew where one dies."""
    found = Found()
    waiting = [range(start, min(start + BATCH, first + inputs)) for start in range(first, first + inputs, BATCH)][::-1]
    running: dict[Connection, _Run] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            pipe, run = _start(judge, waiting.pop(), seconds)
            running[pipe] = run
        for answered in cast(list[Connection], wait(list(running), timeout=0.2)):
            run = running.pop(answered)
            try:
                found.add(answered.recv())
            except EOFError:
                run.process.join()
                died = run.at.value
                found.failures.append((died, f"the process died: {_cause(run.process.exitcode)}"))
                if died + 1 < run.numbers.stop:
                    waiting.append(range(died + 1, run.numbers.stop))
            run.process.join()
        for run in running.values():
            if run.is_stuck(seconds):
                run.process.kill()
    return found


def _start(judge: Judge, numbers: range, seconds: float) -> tuple[Connection, _Run]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    at = context.Value("q", numbers.start)
    process = context.Process(target=_work, args=(judge, numbers, seconds, at, theirs), daemon=True)
    process.start()
    theirs.close()
    return ours, _Run(process, numbers, at, (numbers.start, time.monotonic()))


def _cause(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit {code}"


def _work(judge: Judge, numbers: range, seconds: float, at: Any, pipe: Connection) -> None:
    signal.signal(signal.SIGPROF, _too_long)
    faulthandler.disable()  # a crash is told by the parent
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libtiff says much about each
    found, files = Found(), corpus()
    for number in numbers:
        at.value = number
        data = mutated(files, number)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            found.outcomes[judge(data)] += 1
        except BaseException as error:
            found.failures.append((number, f"{type(error).__name__}: {error}"[:300]))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        found.slowest = max(found.slowest, (time.process_time() - began, number))
    found.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if found.megabytes > MOST_MEGABYTES:
        found.failures.append((numbers.start, f"one of {len(numbers)} took {found.megabytes:.0f} MB"))
    pipe.send(found)
    pipe.close()


def _too_long(*_: object) -> None:
    raise TooLongError("it took too long")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the decoders and say what came of it; 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.decoder", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with; each number is one input")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("var/fuzz"), help="where finds are written")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mask_social.settings")
    read_upload(corpus()[0])  # loads what each process then has from its start
    began = time.monotonic()
    found = Found()
    step = max(BATCH, chosen.inputs // 20)
    for start in range(chosen.first, chosen.first + chosen.inputs, step):
        found.add(
            fuzz(
                read_upload,
                min(step, chosen.first + chosen.inputs - start),
                first=start,
                processes=chosen.processes,
            )
        )
        print(f"{found.outcomes.total():>9,} inputs, {len(found.failures)} finds", flush=True)  # noqa: T201
    for number, what in found.failures:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        (chosen.keep / f"{number}.bin").write_bytes(mutated(corpus(), number))
        print(f"{number}: {what}")  # noqa: T201
    seconds = time.monotonic() - began
    for code, times in found.outcomes.most_common():
        print(f"{times:>9,}  {code}")  # noqa: T201
    slowest, number = found.slowest
    print(  # noqa: T201
        f"{found.outcomes.total():,} inputs in {seconds:.0f} s; the slowest took {slowest * 1000:.0f} ms of CPU "
        f"(number {number}); {found.megabytes:.0f} MB at most; {len(found.failures)} finds"
    )
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
