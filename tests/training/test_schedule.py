"""How fast a run learns, when it ends, and what it shows of itself."""

import io
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from ml.training import curves
from ml.training.progress import Bar, track
from ml.training.schedule import CUT, Schedule, rate_at


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate_at(progress / 100, 1.0) for progress in range(101)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] == pytest.approx(0)


def test_the_rate_falls_on_a_plateau_and_not_before() -> None:
    schedule = Schedule(1.0, "plateau", wait=2)
    assert [schedule.note(loss) for loss in (3.0, 2.0, 2.5)] == [True, True, False]
    assert schedule.rate(0.5) == 1
    schedule.note(2.5)
    assert schedule.rate(0.5) == pytest.approx(CUT)
    again = Schedule(**asdict(schedule))
    schedule.note(1.0)
    assert schedule.rate(0.9) == again.rate(0.9) == pytest.approx(CUT)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    schedule = Schedule(1.0, patience=2)
    assert [(schedule.note(loss), schedule.over) for loss in (2.0, 3.0, 1.0, 1.0, 1.5)] == [
        *((True, False), (False, False), (True, False), (False, False), (False, True))
    ]
    endless = Schedule(1.0)
    assert not any(endless.note(loss) and endless.over for loss in (1.0, *[2.0] * 50))
    assert not endless.over


def test_curves_are_kept_as_csv_and_drawn(tmp_path: Path) -> None:
    history = [{"epoch": 1, "loss": 1.0, "rate": 0.1}, {"epoch": 2, "loss": 0.5, "rate": 0.0, "dev F1": 0.75}]
    curves.write(history, tmp_path / "run.csv")
    assert curves.read(tmp_path / "run.csv") == history
    assert curves.panels_of(history) == {"loss": ["loss"], "score": ["dev F1"], "learning rate": ["rate"]}
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed")
    assert curves.main([str(tmp_path / "run.csv")]) == 0
    drawn = cv2.imread(str(tmp_path / "run.png"))
    assert drawn is not None
    assert drawn.shape[1] > 2.5 * drawn.shape[0]
    assert np.ptp(drawn) > 200


def test_a_file_without_epochs_is_one_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curves.main([str(tmp_path / "nowhere.csv")]) == 2
    assert "nowhere.csv holds no epochs" in capsys.readouterr().out
    assert not curves.draw([], tmp_path / "none.png")


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    file = io.StringIO()
    with Bar("epoch 1/2", 8, every=60, console=Console(file=file)) as bar:
        for loss in range(8):
            bar.step(loss)
    assert file.getvalue().splitlines() == ["epoch 1/2: 3/8  loss 2.0000", "epoch 1/2: 6/8  loss 5.0000"]


def test_progress_is_a_bar_on_a_terminal() -> None:
    file = io.StringIO()
    with Bar("epoch 1/2", 2, console=Console(file=file, force_terminal=True, width=100)) as bar:
        bar.step(0.5)
        bar.step(0.25)
    assert "epoch 1/2" in file.getvalue()
    assert "loss 0.2500" in file.getvalue()
    assert "2/2" in file.getvalue()


def test_tracking_yields_every_item() -> None:
    assert list(track(iter("abc"), "letters")) == ["a", "b", "c"]
