"""How long accepting a photo takes, beside a bare view that stores it, with photos looked at meanwhile and without."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import urllib3

from mask_social.bench.service import Answer, Service, end, refuse_failures, send, wait_until
from mask_social.stack import BASE

BARE, ALONE, BUSY = "a bare view", "ours, nobody analysing", "ours, while photos are analysed"
_WARM_UP = 8


@dataclass(frozen=True, slots=True)
class Result:
    """Uploads by so many clients: milliseconds, and uploads per second."""

    name: str
    clients: int
    p50: float
    p95: float
    longest: float
    per_second: float


def measure(service: Service, photos: Sequence[Path], rounds: int, clients: Sequence[int]) -> list[Result]:
    """Send the photos by turns to the bare view and to the service, whose workers rest and work by turns."""
    each = max(1, (len(photos) - _WARM_UP) // rounds)
    results = []
    with bare_view(service) as post_bare:
        for post in (service.post, post_bare):
            refuse_failures([post(photo) for photo in photos[:_WARM_UP]])
        for count in clients:
            answers: dict[str, list[Answer]] = {BARE: [], ALONE: [], BUSY: []}
            lengths = dict.fromkeys(answers, 0.0)
            for number in range(rounds):
                chunk = photos[_WARM_UP + number * each : _WARM_UP + (number + 1) * each]
                for name, post in ((BARE, post_bare), (ALONE, service.post), (BUSY, service.post)):
                    with ExitStack() as meanwhile:
                        if name == BUSY:  # they begin with what waits from the round before
                            meanwhile.enter_context(service.analysts())
                        began = time.monotonic()
                        with ThreadPoolExecutor(count) as pool:
                            answers[name] += pool.map(post, chunk)
                        lengths[name] += time.monotonic() - began
            for name, given in answers.items():
                refuse_failures(given)
                results.append(_summed_up(name, count, given, lengths[name]))
    return results


@contextmanager
def bare_view(service: Service) -> Iterator[Callable[[Path], Answer]]:
    """Serve the bare view by the command that serves ours; give a call that sends it a photo."""
    media = service.stack.var / "bare"
    media.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    ours = list(map(str, service.stack.process("web").args))  # type: ignore[arg-type]  # we started it with a list
    ours[ours.index("mask_social.wsgi:application")] = "mask_social.bench.bare_view:application"
    ours[ours.index("--bind") + 1] = f"fd://{listener.fileno()}"
    ours[ours.index("--worker-class") + 1] = "gthread"
    ours = [part for part in ours if not part.startswith("python:") and part != "--config"]
    environment = os.environ | {"BARE_VIEW_MEDIA": str(media)}
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *ours[1:]],
        cwd=BASE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )
    pool = urllib3.PoolManager(maxsize=64, retries=False, timeout=60)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/store"
    try:
        wait_until(lambda: _answers(pool, url), 60)
        yield lambda photo: send(pool, url, photo, "somebody")
    finally:
        end(process)
        listener.close()


def _answers(pool: urllib3.PoolManager, url: str) -> bool:
    try:
        return pool.request("GET", url, timeout=5).status >= 400  # it has no file to store
    except urllib3.exceptions.HTTPError:
        return False


def _summed_up(name: str, clients: int, answers: Sequence[Answer], seconds: float) -> Result:
    times = [answer.milliseconds for answer in answers]
    p95 = quantiles(times, n=20, method="inclusive")[-1]
    return Result(name, clients, median(times), p95, max(times), len(times) / seconds)
