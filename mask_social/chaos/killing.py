"""Faults: processes of ours that are killed, by the one signal that nobody can catch."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from mask_social.chaos.scene import Scene
from mask_social.stack import reaper

PARTS = ("web", "analysis", "default", "webhooks", "beat")
WORKERS = ("analysis", "default", "webhooks")


def part(name: str) -> Callable[[Scene], str]:
    """Kill a part of the stack with all its children."""

    def strike(scene: Scene) -> str:
        reaper.send(scene.pid(name), signal.SIGKILL)
        scene.killed[name] += 1
        return f"killed {name}"

    return strike


def parent(name: str) -> Callable[[Scene], str]:
    """Kill the first process of a part alone; its children are nobody's then."""

    def strike(scene: Scene) -> str:
        _kill(scene.pid(name))
        scene.killed[f"{name}, the parent alone"] += 1
        return f"killed the parent of {name}"

    return strike


def child(name: str) -> Callable[[Scene], str]:
    """Kill one child of a part."""

    def strike(scene: Scene) -> str:
        children = psutil.Process(scene.pid(name)).children()
        if not children:
            return f"{name} had no child to kill"
        _kill(scene.random.choice(children).pid)
        scene.killed[f"{name}, one child"] += 1
        return f"killed one of {len(children)} children of {name}"

    return strike


def workers(scene: Scene) -> str:
    """Kill some workers, with a pause between them."""
    chosen = scene.random.sample(WORKERS, scene.random.choice((2, 3)))
    for name in chosen:
        part(name)(scene)
        time.sleep(scene.random.uniform(0, 1.5))
    return f"killed {', '.join(chosen)}"


def everything(scene: Scene) -> str:
    """Kill it all in one moment."""
    servers = [scene.server(name) for name in ("redis", "postgres")]
    for name in PARTS:
        part(name)(scene)
    for name, pid in zip(("redis", "postgres"), servers, strict=True):
        _kill(pid)
        scene.killed[name] += 1
    return "killed every process"


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
