"""The parts that need torch: learning, averaging, exporting."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.classifier import Classifier
from ml.manifest import ClassifierManifest
from ml.training.pool import Pool
from ml.types import STATES
from tests.training.test_data import make_faces

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from ml.training import engine, export  # noqa: E402 - only after torch is known to be there
from ml.training.data import draw_weights  # noqa: E402 - the same
from ml.training.evaluate import run_onnx  # noqa: E402 - the same
from ml.training.nets import FaceNet  # noqa: E402 - the same
from ml.training.presets import PRESETS  # noqa: E402 - the same
from ml.training.schedule import rate_at  # noqa: E402 - the same

TINY = PRESETS["tiny"]
SHORT = engine.Plan(minutes=0.001)


def test_a_tiny_batch_can_be_learnt_by_heart() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = FaceNet(TINY.widths, len(STATES), dropout=0.0)
    optimizer = engine.make_optimizer(net, TINY)
    crops = torch.randint(0, 256, (8, 96, 96, 3), dtype=torch.uint8)
    states = torch.arange(8) % len(STATES)
    losses = [engine.step(net, optimizer, crops, states, 0.0, mixed=False) for _ in range(30)]
    assert losses[-1] < 0.1 < losses[0]


def test_the_exported_network_says_what_the_trained_one_says(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = FaceNet(TINY.widths, len(STATES)).eval()
    path = tmp_path / "net.onnx"
    export.to_onnx(net, TINY.size, path)
    crops = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    assert export.parity(net, path, crops) < export.CLOSE
    assert run_onnx(path, crops[:1]).shape == (1, len(STATES))
    other = FaceNet(TINY.widths, len(STATES)).eval()
    assert export.parity(other, path, crops) > export.CLOSE


def test_a_run_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    faces = make_faces(16)
    said: list[str] = []
    engine.train(faces, draw_weights(faces), faces, TINY, tmp_path / "net.pt", SHORT, say=said.append)
    net, preset, meta = engine.load(tmp_path / "net.pt")
    assert preset == TINY
    assert meta["epoch"] == 1
    assert "epoch 1/2" in said[0]
    assert engine.logits_of(net, engine.plain_crops(faces, preset)).shape == (16, len(STATES))


def test_only_labels_of_whole_photos_can_be_doubted() -> None:
    faces = make_faces(20)
    faces = replace(faces, parts=np.array(["street_mask", "ilc_scenes"] * 10))
    net = FaceNet(TINY.widths, len(STATES)).eval()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([20.0, 0.0, 0.0, 0.0]))  # says "mask" of everything
    doubted = engine.contradicted(net, faces, TINY)
    assert np.array_equal(doubted, (faces.parts == "street_mask") & (faces.states != 0))


def test_export_writes_weights_that_the_run_time_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.csv").write_text("file,part,split,kind,label,width,height,boxes\n")
    (tmp_path / "teacher.onnx").write_bytes(b"")
    pool = Pool(tmp_path, tmp_path / "teacher.onnx", tmp_path / "work")
    faces = make_faces()
    faces.save(pool.cache("faces"))
    engine.train(faces, draw_weights(faces), faces, TINY, pool.work / "classifier.pt", SHORT, say=lambda _: None)
    options = ["--data", str(tmp_path), "--yunet", str(pool.teacher), "--work", str(pool.work)]
    assert export.main([*options, "--out", str(tmp_path / "out")]) == 0
    assert "parity" in capsys.readouterr().out
    shipped = ClassifierManifest.load(tmp_path / "out")
    assert (shipped.size, shipped.margin, shipped.states) == (TINY.size, TINY.margin, STATES)
    chances = Classifier(shipped).classify(faces.crops[0], faces.boxes[0])
    assert chances.sum(axis=1) == pytest.approx(1)
    assert export.main([*options, "--checkpoint", "nowhere.pt"]) == 2
    assert "no checkpoint" in capsys.readouterr().out


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate_at(progress / 100, 1.0) for progress in range(101)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] == pytest.approx(0)


def test_the_temperature_cools_an_overconfident_net() -> None:
    states = np.array([0, 0, 0, 1] * 25)
    logits = np.tile(np.array([8.0, 0.0, 0.0, 0.0], np.float32), (100, 1))
    assert export.fit_temperature(logits, states, np.full(100, 0.01)) > 2


def test_without_torch_training_says_which_extra_is_missing(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("file,part,split,kind,label,width,height,boxes\n")
    (tmp_path / "teacher.onnx").write_bytes(b"")
    for module in ("train_classifier", "export"):
        code = (
            "import sys; sys.modules['torch'] = None\n"
            f"from ml.training.{module} import main\n"
            f"raise SystemExit(main(['--data', {str(tmp_path)!r}, '--yunet', {str(tmp_path / 'teacher.onnx')!r}]))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "pip install -e '.[train]'" in done.stdout
        assert "Traceback" not in done.stderr
