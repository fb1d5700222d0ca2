"""The benchmark: who takes turns, what is made of the figures, and what is said of those that cannot be measured."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from ml import bench
from ml.benchmark import environment, machine, measure, suite
from ml.benchmark.driver import Contender, ContenderError, Worker
from ml.benchmark.graphs import Rfb, YuNetInOnnxRuntime
from ml.benchmark.photos import DEMO_PHOTOS, PORTRAIT, Photo, draw_crowd, load, scaled
from ml.benchmark.torchvision_stand_in import batched_nms
from ml.benchmark.worker import Settings
from ml.detector import Detector
from ml.geometry import Floats, Pixels
from ml.session import CPU

FAKE = Path(__file__).with_name("contender.py")
PHOTOS = [Path("a.npy"), Path("b.npy"), Path("c.npy")]


class Cast:
    """Make contenders with known figures, and read who was run on what."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def contender(self, name: str, **plan: object) -> Contender:
        figures = {f"{photo}.npy" if len(photo) == 1 else photo: value for photo, value in plan.items()}
        return Contender(name, (sys.executable, str(FAKE), str(self.log), name, json.dumps(figures)))

    @property
    def runs(self) -> list[tuple[str, ...]]:
        return [tuple(line.split()) for line in self.log.read_text().splitlines()]


@pytest.fixture
def cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cast:
    # The fake takes no --core, and a run must not depend on how many this machine has.
    monkeypatch.setattr(measure, "cores", lambda: [None, None])
    return Cast(tmp_path / "log")


def take_turns(contenders: Sequence[Contender], rounds: int = 1) -> measure.Turns:
    turns = measure.Turns(contenders, PHOTOS)
    turns.run(rounds, lambda: None)
    return turns


def test_contenders_take_turns_photo_by_photo_and_another_begins_each_time(cast: Cast) -> None:
    figures = {"a": [1, 1], "b": [1, 1], "c": [1, 1]}
    take_turns([cast.contender("one", **figures), cast.contender("two", **figures)], rounds=2)
    names, photos = zip(*cast.runs, strict=True)
    assert photos == ("a.npy", "a.npy", "b.npy", "b.npy", "c.npy", "c.npy") * 2
    assert names == ("one", "two", "two", "one", "one", "two", "two", "one", "one", "two", "two", "one")


def test_figures_are_summed_up_beside_the_first_contender(cast: Cast) -> None:
    ours = cast.contender("ours", a=[4.0, 1], b=[5.0, 0], c=[11.0, 40])
    peer = cast.contender("peer", a=[12.0, 1], b=[20.0, 1], c=[22.0, 30])
    first, second = take_turns([ours, peer], rounds=2).results()
    assert (first.name, first.median_ms, first.ratio, first.faces) == ("ours", 5.0, 1.0, 41)
    assert first.photos_per_second == pytest.approx(150)
    # c is the only crowd, for ours finds ten faces or more.
    assert (first.crowd_ms, first.crowd_ratio) == (11.0, 2.2)
    assert (second.median_ms, second.ratio, second.crowd_ratio, second.peak_mib) == (20.0, 3.0, 1.1, 100.0)


def test_without_a_crowd_none_is_reported(cast: Cast) -> None:
    (only,) = take_turns([cast.contender("ours", a=[4, 1], b=[5, 0], c=[6, 9])]).results()
    assert (only.crowd_ms, only.crowd_ratio) == (None, None)


def test_a_contender_that_dies_is_left_out_and_the_others_go_on(cast: Cast) -> None:
    figures = {"a": [1, 1], "b": [1, 1], "c": [1, 1]}
    turns = take_turns([cast.contender("ours", **figures), cast.contender("peer", **{**figures, "b": None})], rounds=2)
    assert [result.name for result in turns.results()] == ["ours"]
    assert turns.failures == {"peer": "peer: MemoryError: enough"}
    assert [photo for name, photo in cast.runs if name == "ours"] == ["a.npy", "b.npy", "c.npy"] * 2


def test_a_contender_that_does_not_start_is_left_out_with_its_last_words(cast: Cast) -> None:
    gone = Contender("gone", ("/no/such/program",))
    contenders = [cast.contender("ours", a=[5, 1]), cast.contender("broken", hello="no weights"), gone]
    starts, about, failures = measure.start_up(contenders, PHOTOS[0], 1, lambda: None)
    assert [start.name for start in starts] == ["ours"]
    assert starts[0].load_and_first_ms == 12.0
    assert about == {"ours": {"versions": {"ours": "1.2"}, "note": "a fake"}}
    assert failures["broken"] == "broken: RuntimeError: no weights"
    assert "/no/such/program" in failures["gone"]


def test_a_contender_that_gives_no_answer_is_ended(cast: Cast) -> None:
    with Worker(cast.contender("slow", a="sleep")) as worker:
        worker.receive()
        worker._patience_seconds = 0.2
        with pytest.raises(ContenderError, match=r"slow: gave no answer for 0.2 s"):
            worker.ask(do="run", path="a.npy")


def test_processes_at_once_are_compared_with_one_alone(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    contender = cast.contender("ours")
    both = measure.throughput(contender, PHOTOS, 2, 0.1, 2)
    assert both is not None
    assert (both.one, both.together, both.ratio) == (30.0, 60.0, 2.0)
    monkeypatch.setattr(measure, "cores", lambda: [0])
    assert measure.throughput(contender, PHOTOS, 2, 0.1, 2) is None


def test_agreement_is_the_largest_difference_of_faces_in_any_order() -> None:
    one = [[[0.0, 0.0, 10.0, 10.0, 0.9], [50.0, 50.0, 60.0, 60.0, 0.8]], [[1.0, 1.0, 2.0, 2.0, 0.5]]]
    other = [[[50.0, 50.5, 60.0, 60.0, 0.8], [0.0, 0.0, 10.0, 10.0, 0.75]], []]
    same = measure.agreement(one, other)
    assert (same.photos, same.same_count, same.largest_box_difference) == (2, 1, 0.5)
    assert same.largest_score_difference == pytest.approx(0.15)


def test_ours_is_measured_from_photos_to_json(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "cuda_runs", lambda: False)
    photos, numbers = tmp_path / "photos", tmp_path / "bench.json"
    photos.mkdir()
    (photos / "one.jpg").write_bytes(PORTRAIT.read_bytes())
    (photos / "notes.txt").write_text("no photo")
    arguments = ["--photos", str(photos), "--weights", str(weights), "--json", str(numbers), "--beside"]
    quick = ["--sizes", "640", "--rounds", "1", "--starts", "1", "--seconds", "0.1"]
    assert bench.main([*arguments, *quick]) == 0
    report = json.loads(numbers.read_text())
    (ours,) = report["detection"]["640"]
    # The portrait, and the crowd that is drawn beside whatever is given.
    assert report["photos"] == 2
    assert (ours["name"], ours["ratio"]) == ("ours", 1.0)
    assert ours["faces"] > 1
    assert report["plan"]["contenders"] == ["ours"]
    assert report["about"]["ours"]["versions"]["numpy"]
    assert report["machine"]["processor"]
    assert report["classification_ms"] > 0
    assert report["whole"]["megapixels"] == 12
    assert report["throughput"] or report["left_out"]["two processes at once"]
    assert "no CUDA device" in report["left_out"]["GPU"]
    printed = capsys.readouterr().out
    assert "long side 640 pixels" in printed
    assert "megapixels" in printed


def test_a_worker_finds_what_the_detector_finds(
    tmp_path: Path, weights: Path, detector: Detector, portrait: Pixels
) -> None:
    np.save(tmp_path / "portrait.npy", portrait)
    ((face,),) = measure.find(Contender.of("ours", "detector", weights=weights), [tmp_path / "portrait.npy"])
    found = detector.detect(portrait)
    assert face == [*found.boxes[0].tolist(), found.scores[0].item()]


def test_two_providers_are_compared_on_the_same_photos(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, portrait: Pixels
) -> None:
    # Where there is no GPU the CPU stands in for it, and agrees with itself.
    monkeypatch.setattr(suite, "CUDA", CPU)
    monkeypatch.setattr(measure, "cores", lambda: [None, None])
    np.save(tmp_path / "portrait.npy", portrait)
    ours = Contender.of("ours", "detector", weights=weights)
    report = suite.Report(machine.describe(), 1, suite.Plan([ours], weights, [512], 1, 1, 0.05))
    suite._use_gpu(report, [tmp_path / "portrait.npy"])
    assert report.gpu is not None
    assert report.gpu.agreement == measure.Agreement(1, 1, 0.0, 0.0)
    assert set(report.gpu.per_second) == {1, 2}


def test_without_our_weights_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--weights", str(tmp_path), "--beside", "--sizes", "320"]) == 2
    assert "is missing" in capsys.readouterr().err


def test_a_folder_without_photos_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--photos", str(tmp_path)]) == 2
    assert "no photo in" in capsys.readouterr().err


def test_absent_peers_are_named_and_ours_is_measured_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(package: environment.Package, _say: object) -> Path:
        raise environment.InstallError(f"no matching distribution of {package.name}")

    monkeypatch.setattr(bench, "install", refuse)
    found, absent = bench.gather(tmp_path, tmp_path, bench.PEERS, Console(quiet=True))
    assert [contender.name for contender in found] == ["ours"]
    assert absent["RFB-640"] == f"there is no rfb640*.onnx in {tmp_path}"
    assert absent["mtcnn"] == "it could not be installed: no matching distribution of mtcnn"
    assert len(absent) == len(bench.GRAPHS) + len(environment.PACKAGES)


def test_a_package_is_installed_once_per_lock_and_alone_where_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def call(command: list[str]) -> None:
        calls.append(command)
        if "venv" in command:
            for folder in ("bin", "Scripts"):
                (tmp_path / "venv" / folder).mkdir(parents=True, exist_ok=True)
                (tmp_path / "venv" / folder / ("python" if folder == "bin" else "python.exe")).touch()

    monkeypatch.setattr(environment, "_call", call)
    lock = tmp_path / "lock"
    lock.write_text("a==1\n")
    package = environment.Package("a", ("a", "b"), alone=("c",))
    for _ in range(2):
        environment.install(package, lambda _line: None, environment=tmp_path / "venv", lock=lock)
    assert len(calls) == 3
    assert calls[1][-4:] == ["--constraint", str(lock), "a", "b"]
    assert calls[2][-4:] == ["--constraint", str(lock), "--no-deps", "c"]
    lock.write_text("a==2\n")
    environment.install(package, lambda _line: None, environment=tmp_path / "venv", lock=lock)
    assert len(calls) == 6


def test_what_pip_says_is_the_reason() -> None:
    program = "import sys; sys.exit('warning: old\\nERROR: no such package\\nhint: none')"
    with pytest.raises(environment.InstallError, match=r"^ERROR: no such package$"):
        environment._call([sys.executable, "-c", program])


def test_the_lock_pins_each_package_and_names_no_address() -> None:
    text = environment.LOCK.read_text()
    pinned = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert {name for package in environment.PACKAGES for name in (*package.wanted, *package.alone)} <= pinned
    assert "://" not in text


@pytest.mark.parametrize(("long_side", "shape"), [(256, (128, 256, 3)), (512, (256, 512, 3)), (800, (400, 800, 3))])
def test_photos_are_scaled_by_their_longer_side(long_side: int, shape: tuple[int, ...]) -> None:
    assert scaled(Photo("wide", np.zeros((256, 512, 3), np.uint8)), long_side).shape == shape


def test_the_drawn_crowd_is_one_to_a_detector(detector: Detector) -> None:
    assert len(detector.detect(draw_crowd())) > 48


def test_photos_are_kept_no_larger_than_they_are_measured() -> None:
    photos = load(DEMO_PHOTOS, 400)
    assert photos[-1].name == "drawn crowd"
    assert {photo.pixels.shape[1] for photo in photos} == {400}
    # The demonstration's squares are cut to the shape of a camera's picture.
    assert max(photo.pixels.shape[0] for photo in photos) == 300


def test_yunets_answers_become_boxes(tmp_path: Path) -> None:
    columns, rows = 4, 3
    answers: dict[str, Floats] = {}
    for stride in (8, 16, 32):
        count = (96 // stride) * (128 // stride)
        answers |= {f"{part}_{stride}": np.zeros((1, count, 1), np.float32) for part in ("cls", "obj")}
        answers[f"bbox_{stride}"] = np.zeros((1, count, 4), np.float32)
    # The last cell of the coarsest stride, and its left neighbour, which says the same a little less surely.
    for cell, sure, shift in ((columns * rows - 1, 1.0, 0.5), (columns * rows - 2, 0.81, 1.5)):
        answers["cls_32"][0, cell], answers["obj_32"][0, cell] = sure, 1.0
        answers["bbox_32"][0, cell] = [shift, 0.5, np.log(0.5), 0.0]
    runner = YuNetInOnnxRuntime(Settings(constant_model(tmp_path, [1, 3, 96, 128], answers), (CPU,)))
    # 120 by 90 pixels are padded to whole cells of 32.
    found = runner.faces(runner.run(np.zeros((90, 120, 3), np.uint8)))
    assert np.allclose(found, [[104, 64, 120, 96, 1.0]])


def test_rfbs_answers_become_boxes_of_the_photos_own_size(tmp_path: Path) -> None:
    scores = np.array([[[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.0, 0.8, 0.2], [0.2, 0.5, 0.3]]], np.float32)
    boxes = np.array([[[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.41], [0.5, 0.5, 1, 1]]], np.float32)
    model = constant_model(tmp_path, [1, 3, 480, 640], {"scores": scores, "boxes": boxes})
    runner = Rfb(Settings(model, (CPU,)))
    assert np.allclose(runner.faces(runner.run(np.zeros((100, 200, 3), np.uint8))), [[20, 20, 60, 41, 0.8]])


def constant_model(folder: Path, shape: list[int], answers: dict[str, Floats]) -> Path:
    """Write a network that takes an image of this shape and answers always the same."""
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
            for name, value in answers.items()
        ],
        "constant",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in answers.items()],
    )
    path = folder / "constant.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_the_stand_in_suppresses_within_groups_only() -> None:
    torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40]])
    scores, groups = torch.tensor([0.8, 0.9, 0.7, 0.95]), torch.tensor([0, 0, 1, 0])
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == [3, 1, 2]
    assert batched_nms(boxes, scores, groups, 0.9).tolist() == [3, 1, 0, 2]
    assert batched_nms(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []
