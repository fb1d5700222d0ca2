"""A run that is killed goes on as if nothing had happened."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.test_data import make_faces

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from ml.training import checkpoint, curves, engine  # noqa: E402 - only after torch is known to be there
from ml.training.data import draw_weights  # noqa: E402 - the same
from ml.training.presets import PRESETS  # noqa: E402 - the same

TINY = replace(PRESETS["tiny"], widths=(8, 8, 16), size=32, draws=256, epochs=3)
SCRIPT = """
import sys
from pathlib import Path
from typing import Any
import torch
from ml.training import engine
from ml.training.data import draw_weights
from tests.training.test_data import make_faces
from tests.training.test_resume import TINY
torch.set_num_threads(1)
faces = make_faces(24)
engine.train(faces, draw_weights(faces), faces, TINY, Path(sys.argv[1]))
"""


def weights_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint ships."""
    return checkpoint.load(path)[1]


def assert_equal(one: Path, other: Path) -> None:
    """Check that two checkpoints ship the same weights to the last bit."""
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class StoppedError(Exception):
    """End a run from within."""


def stop_at(epoch: int) -> object:
    """Return a voice that ends the run once it has said so many epochs."""

    def say(text: str) -> None:
        if text.startswith(f"epoch {epoch}/"):
            raise StoppedError

    return say


def train(path: Path, plan: engine.Plan | None = None, say: object = lambda _: None) -> engine.Score:
    """Train the smallest net on noise."""
    torch.set_num_threads(1)
    faces = make_faces(24)
    return engine.train(faces, draw_weights(faces), faces, TINY, path, plan, say=say)  # type: ignore[arg-type]


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    train(tmp_path / "whole.pt")
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            train(tmp_path / "broken.pt", say=stop_at(epoch))
    said: list[str] = []
    train(tmp_path / "broken.pt", say=said.append)
    assert "2 epochs of this run; going on" in said[0]
    assert_equal(tmp_path / "whole.pt", tmp_path / "broken.pt")
    whole, broken = (curves.read(tmp_path / f"{name}.csv") for name in ("whole", "broken"))
    assert [row["epoch"] for row in broken] == [1, 2, 3]
    assert [row["loss"] for row in broken] == [row["loss"] for row in whole]


def test_a_run_killed_in_the_middle_of_an_epoch_goes_on_after_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "killed.pt"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not path.is_file() and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.load(path)[0]["epoch"] < TINY.epochs
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True, stdout=subprocess.DEVNULL)
    assert checkpoint.load(path)[0]["epoch"] == TINY.epochs
    train(tmp_path / "whole.pt")
    assert_equal(path, tmp_path / "whole.pt")


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    train(tmp_path / "none.pt", engine.Plan(workers=0))
    train(tmp_path / "two.pt", engine.Plan(workers=2))
    assert_equal(tmp_path / "none.pt", tmp_path / "two.pt")


def test_another_seed_is_another_run_and_the_first_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    train(path)
    first, said = weights_of(path), list[str]()
    train(path, engine.Plan(seed=1), said.append)
    assert "is of another run" in said[0]
    aside = weights_of(tmp_path / "net.before.pt")
    assert all(torch.equal(first[name], aside[name]) for name in first)
    assert not all(torch.equal(first[name], value) for name, value in weights_of(path).items())


def test_a_finished_run_is_left_alone_unless_it_shall_begin_anew(tmp_path: Path) -> None:
    path, said = tmp_path / "net.pt", list[str]()
    first = train(path)
    assert train(path, say=said.append) == first
    assert len(said) == 1
    assert "finished" in said[0]
    train(path, engine.Plan(fresh=True), said.append)
    assert sum(line.startswith("epoch") for line in said) == TINY.epochs


def test_a_run_without_progress_ends_early_with_its_best_weights(tmp_path: Path) -> None:
    faces = make_faces(24)
    # Judged on labels that are wrong, it only gets worse.
    dev = replace(faces, states=(faces.states + 1) % 4)
    preset = replace(TINY, epochs=30, rate=0.02)
    plan, said = engine.Plan(patience=2), list[str]()
    result = engine.train(faces, draw_weights(faces), dev, preset, tmp_path / "net.pt", plan, say=said.append)
    history = curves.read(tmp_path / "net.csv")
    losses = [row["dev loss"] for row in history]
    assert len(history) < 30
    assert int(np.argmin(losses)) == len(losses) - 3
    assert result.loss == pytest.approx(min(losses))
    net, preset, _ = engine.load(tmp_path / "net.pt")
    again = engine.score(engine.softmax(engine.logits_of(net, engine.plain_crops(dev, preset))), dev.states)
    assert again.loss == pytest.approx(min(losses), rel=1e-3)


def test_half_a_checkpoint_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    checkpoint.save(path, {"epoch": 1}, {"a": torch.ones(2)})

    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="full"):
        checkpoint.save(path, {"epoch": 2}, {"a": torch.zeros(2)})
    assert checkpoint.load(path)[0] == {"epoch": 1}
