"""Name the machine that was measured on: numbers without it mean nothing."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

# From this load per core on something else was running too.
_BUSY = 0.3


@dataclass(frozen=True, slots=True)
class Machine:
    """Hold what the machine is, and how busy it was before anything was measured."""

    processor: str
    #: As many as this process may use.
    cores: int
    memory_gib: float
    system: str
    python: str
    gpu: str | None
    #: Processes that ran or waited in the last minute; none where the system does not say.
    load: float | None

    @property
    def busy(self) -> bool:
        """Tell whether something else was running."""
        return self.load is not None and self.load > _BUSY * self.cores


def describe() -> Machine:
    """Ask the system."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        system=platform.platform(),
        python=platform.python_version(),
        gpu=_gpu(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - found on PATH
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None
