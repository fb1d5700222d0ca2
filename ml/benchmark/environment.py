"""Give the peers that are Python packages an environment of their own, at the versions of a lock file."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BASE = Path(__file__).resolve().parents[2]
LOCK = BASE / "requirements-bench.lock"
ENVIRONMENT = BASE / "var" / "bench" / "venv"
_QUIETLY = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1")


@dataclass(frozen=True, slots=True)
class Package:
    """Hold what pip is asked for: with what each name needs, and names that come alone."""

    name: str
    wanted: tuple[str, ...]
    #: Their own pins are older than anything that runs here, or ask for another build.
    alone: tuple[str, ...] = ()


PACKAGES = (
    Package("mtcnn", ("mtcnn", "tensorflow-cpu")),
    Package(
        "facenet-pytorch",
        ("torch", "numpy", "opencv-python-headless", "pillow", "requests", "tqdm"),
        alone=("facenet-pytorch", "torchvision"),
    ),
)


class InstallError(RuntimeError):
    """Say why a package could not be installed."""


def install(
    package: Package, say: Callable[[str], None], *, environment: Path = ENVIRONMENT, lock: Path = LOCK
) -> Path:
    """Install a package unless it is there at the locked versions; return the environment's Python.

    Raises InstallError if pip cannot, for want of a network perhaps.
    """
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = environment / scripts / ("python.exe" if sys.platform == "win32" else "python")
    stamp = environment / f".{package.name}"
    # Another Python or another lock needs another installation.
    due = hashlib.sha256(f"{sys.version}\n{package}\n".encode() + lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == due:
        return python
    say(f"Installing {package.name} into {environment} (a minute or two) ...")
    # On one that is there already this mends what an interrupted run has left out.
    _call([sys.executable, "-m", "venv", str(environment)])
    pip = [str(python), "-m", "pip", "install", *_QUIETLY, "--constraint", str(lock)]
    _call([*pip, *package.wanted])
    if package.alone:
        _call([*pip, "--no-deps", *package.alone])
    stamp.write_text(due)
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise InstallError(next((line for line in said if line.startswith("ERROR")), said[-1]))
