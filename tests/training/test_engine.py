"""The parts that need torch: learning, distilling, exporting."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from ml.classifier import Classifier
from ml.manifest import ClassifierManifest
from ml.training.pool import Pool
from ml.types import STATES
from tests.training.test_data import make_faces

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from ml.training import engine, export  # noqa: E402 - only after torch is known to be there
from ml.training.data import draw_weights  # noqa: E402 - the same
from ml.training.distill import Teachers  # noqa: E402 - the same
from ml.training.evaluate import run_onnx  # noqa: E402 - the same
from ml.training.nets import FaceNet  # noqa: E402 - the same
from ml.training.presets import PRESETS  # noqa: E402 - the same

TINY = PRESETS["tiny"]
SMALL = replace(TINY, widths=(8, 8, 16), size=32, draws=64)
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
    export.write_net(net, TINY.size, path)
    crops = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    assert export.parity(net, path, crops) < export.CLOSE
    assert run_onnx(path, crops[:1]).shape == (1, len(STATES))
    other = FaceNet(TINY.widths, len(STATES)).eval()
    assert export.parity(other, path, crops) > export.CLOSE


def test_a_run_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    faces = make_faces(16)
    said: list[str] = []
    engine.train(faces, draw_weights(faces), faces, SMALL, tmp_path / "net.pt", SHORT, say=said.append)
    net, preset, meta = engine.load(tmp_path / "net.pt")
    assert preset == SMALL
    assert meta["epoch"] == 1
    assert "epoch 1/2" in said[0]
    assert engine.logits_of(net, engine.plain_crops(faces, preset)).shape == (16, len(STATES))


def test_a_pupil_comes_to_think_like_its_teachers() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    crops = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    inputs = engine.to_input(crops)
    states = torch.zeros(16, dtype=torch.int64)
    several = [FaceNet((8, 8, 16), len(STATES)) for _ in range(2)]
    with torch.no_grad():
        several[0].head.bias.copy_(torch.tensor([0.0, 0.0, 6.0, 0.0]))
        several[1].head.bias.copy_(torch.tensor([0.0, 0.0, 6.0, 3.0]))
    teachers = Teachers(several, [32, 48], share=1.0)
    taught = teachers.chances(inputs)
    assert torch.allclose(taught.sum(dim=1), torch.ones(16), atol=1e-5)
    assert bool((taught.argmax(dim=1) == STATES.index("incorrect")).all())
    pupil = FaceNet((8, 8, 16), len(STATES), dropout=0.0)
    optimizer = engine.make_optimizer(pupil, TINY)
    for _ in range(40):
        engine.step(pupil, optimizer, crops, states, 0.0, mixed=False, teachers=teachers)
    learnt = torch.softmax(pupil.train()(inputs).detach() / 2, dim=1)
    assert float((learnt - taught).abs().max()) < 0.1


def test_a_teacher_that_sees_other_squares_is_refused(tmp_path: Path) -> None:
    faces, path = make_faces(16), tmp_path / "teacher.pt"
    engine.train(faces, draw_weights(faces), faces, SMALL, path, SHORT, say=lambda _: None)
    plan = engine.Plan(teachers=(path,))
    assert engine.load_teachers(plan, SMALL) is not None
    with pytest.raises(ValueError, match=r"margin 1.35, not 1.5"):
        engine.load_teachers(plan, replace(SMALL, margin=1.5))


def test_a_scarce_state_weighs_more_in_the_loss_where_that_is_wanted() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    crops = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    states = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])

    def learnt(balance: tuple[float, ...] | None) -> float:
        torch.manual_seed(1)
        net = FaceNet((8, 8, 16), len(STATES), dropout=0.0)
        optimizer = torch.optim.SGD([net.head.weight, net.head.bias], lr=0.05)
        weights = torch.tensor(balance) if balance else None
        for _ in range(5):
            engine.step(net, optimizer, crops, states, 0.0, mixed=False, balance=weights)
        bias = net.head.bias.detach()
        return float(bias[2] - bias[0])

    assert learnt((0.6, 1.0, 4.0, 1.0)) > learnt(None) + 0.01


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
    held_out = {"dev": faces.files[:50].tolist(), "val": faces.files[50:].tolist()}
    notes = {"held_out": held_out, "trained_on": "noise"}
    path = pool.work / "classifier.pt"
    engine.train(faces, draw_weights(faces), faces, SMALL, path, SHORT, notes=notes, say=lambda _: None)
    options = ["--data", str(tmp_path), "--yunet", str(pool.teacher), "--work", str(pool.work)]
    assert export.main([*options, "--out", str(tmp_path / "out")]) == 0
    assert "parity" in capsys.readouterr().out
    shipped = ClassifierManifest.load(tmp_path / "out")
    assert (shipped.size, shipped.margin, shipped.states) == (SMALL.size, SMALL.margin, STATES)
    described = json.loads((tmp_path / "out" / "classifier.json").read_text())
    assert described["parity"]["faces"] == 50
    assert described["parity"]["max_difference"] < export.CLOSE
    assert (described["metrics"]["dev"]["faces"], described["metrics"]["val"]["faces"]) == (50, 10)
    graph = onnx.load(tmp_path / "out" / "classifier.onnx")
    assert [one.version for one in graph.opset_import] == [described["opset"]]
    for said, found in ((described["input"], graph.graph.input), (described["output"], graph.graph.output)):
        shape = found[0].type.tensor_type.shape.dim
        assert found[0].name == said["name"]
        assert [one.dim_param or one.dim_value for one in shape] == said["shape"]
    chances = Classifier(shipped).classify(faces.crops[0], faces.boxes[0])
    assert chances.sum(axis=1) == pytest.approx(1)
    assert export.main([*options, "--checkpoint", "nowhere.pt"]) == 2
    assert "no checkpoint" in capsys.readouterr().out


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
