"""The Celery application with a task that takes its time, and one that takes memory."""

import time
from pathlib import Path

from mask_social.celery import app

_kept: list[bytes] = []


@app.task
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def keep(mebibytes: int, done: str) -> None:
    _kept.append(b"x" * (mebibytes * 1024**2))
    time.sleep(1)
    with Path(done).open("a") as file:
        file.write("done\n")
