"""Teaching the cascade: what the networks shall answer, learning, going on after a stop, exporting."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.detector import Detector
from ml.manifest import DetectorManifest
from ml.session import CPU
from ml.training.detection.candidates import FACE_KIND, MARGIN, NOT_KIND, PART_KIND, SIDE, UNSURE_KIND, Candidates
from ml.training.detection.scenes import FACE, IGNORED, Scene
from tests.training.test_scenes import a_scene, with_discs

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from ml.training import checkpoint, curves  # noqa: E402 - only after torch is known to be there
from ml.training.detection import export, learn, lessons, proposal  # noqa: E402 - the same
from ml.training.detection.draws import Labelled  # noqa: E402 - the same
from ml.training.detection.nets import STRIDES, OutputNet, ProposalNet, RefineNet  # noqa: E402 - the same
from ml.training.onnx_file import difference  # noqa: E402 - the same


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def tiny() -> Any:
    return ProposalNet(widths=(4, 4, 8, 8, 8), depths=(1, 1, 1))


def by_stride(cells: np.ndarray, size: int) -> dict[int, np.ndarray]:
    """Split what `targets` returns, finest first, into squares of cells."""
    counts = [(size // stride) ** 2 for stride in STRIDES]
    parts = np.split(cells, np.cumsum(counts)[:-1])
    sides = {stride: size // stride for stride in STRIDES}
    return {stride: part.reshape(side, side, -1) for (stride, side), part in zip(sides.items(), parts, strict=True)}


def test_decoding_what_is_wanted_gives_the_boxes_back() -> None:
    boxes = np.array([[10, 20, 34, 50], [60, 40, 150, 140], [100, 130, 112, 143]], np.float32)
    wanted, where = proposal.targets(boxes, np.array([FACE] * 3), 160)
    maps = []
    for stride, places in by_stride(where, 160).items():
        cells = np.arange(160 // stride) + 0.5
        x = (places[..., 0] + places[..., 2]) / 2 / stride - cells[None]
        y = (places[..., 1] + places[..., 3]) / 2 / stride - cells[:, None]
        sides = np.log(np.maximum(places[..., 2:] - places[..., :2], 1) / stride)
        maps.append(torch.from_numpy(np.stack([x * 0, x, y, sides[..., 0], sides[..., 1]])[None]).float())
    _, decoded = proposal.decode_maps(maps)
    faces = wanted == 1
    assert decoded[0].numpy()[faces] == pytest.approx(where[faces], abs=1e-3)
    assert {tuple(box) for box in where[faces].tolist()} == {tuple(box) for box in boxes.tolist()}


@pytest.mark.parametrize(("side", "strides"), [(12, {8}), (38, {8, 16}), (60, {16}), (90, {16, 32}), (150, {32})])
def test_a_face_is_for_the_strides_of_its_size(side: int, strides: set[int]) -> None:
    boxes = np.array([[3, 4, 3 + side, 4 + side]], np.float32)
    wanted = by_stride(proposal.targets(boxes, np.array([FACE]), 160)[0], 160)
    assert {stride for stride, cells in wanted.items() if (cells == 1).any()} == strides
    for stride in strides:
        rows, columns = np.nonzero((wanted[stride] == 1)[..., 0])
        assert np.abs((columns.mean() + 0.5) * stride - 3 - side / 2) < stride
        assert np.abs((rows.mean() + 0.5) * stride - 4 - side / 2) < stride


def test_ignored_faces_are_neither_wanted_nor_unwanted() -> None:
    box = np.array([[40, 40, 90, 90]], np.float32)
    wanted = by_stride(proposal.targets(box, np.array([IGNORED]), 160)[0], 160)
    for stride, cells in wanted.items():
        assert not (cells == 1).any()
        middle = int(65 // stride)
        assert cells[middle, middle, 0] == -1
        assert cells[0, 0, 0] == 0


def test_a_small_face_before_a_large_one_keeps_its_cells() -> None:
    boxes = np.array([[60, 60, 84, 84], [52, 52, 92, 92]], np.float32)
    for order in (boxes, boxes[::-1]):
        wanted, where = proposal.targets(order, np.array([FACE] * 2), 160)
        middle = by_stride(where, 160)[8][9, 9]
        assert middle.tolist() == boxes[0].tolist()
        assert by_stride(wanted, 160)[8][9, 9] == 1


def test_overlap_is_that_of_pairs_and_distance_counts_too() -> None:
    one = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    other = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    iou, distance = proposal.overlap(one, other)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0])
    assert distance[0] == pytest.approx(1)
    assert distance[1] > 0 > distance[2]


def a_photo(part: str = "ilc_scenes") -> Labelled:
    boxes = [[40.0, 40.0, 80.0, 80.0], [250.0, 150.0, 350.0, 250.0]]
    return Labelled(with_discs(boxes), a_scene(boxes, part=part))


def test_the_proposal_network_learns_where_faces_are() -> None:
    lesson = lessons.ProposalLesson({"ilc_scenes": [a_photo()], "smoker": [a_photo("smoker")]}, batch=2, size=64)
    batch = lesson.batch(np.random.default_rng(0))
    assert [tuple(part.shape) for part in batch] == [(2, 64, 64, 3), (2, 84), (2, 84, 4)]
    assert (batch[1] == 1).any()
    net, losses = tiny().train(), list[float]()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-2)
    for _ in range(30):
        parts = lesson.losses(net(learn.to_input(batch[0])), batch)
        loss = sum(parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert lesson.judge(net) == {}


def test_a_lesson_of_other_boxes_is_another_lesson() -> None:
    photo, other = a_photo(), a_photo()
    other.scene.boxes[0, 0] += 1
    keys = [lessons.ProposalLesson({"ilc_scenes": [one]}).key for one in (photo, a_photo(), other)]
    assert keys[0] == keys[1] != keys[2]
    assert lessons.ProposalLesson({"ilc_scenes": [photo]}, size=96).key != keys[0]


def some_candidates(count: int = 60) -> Candidates:
    """Return faces (bright), parts of faces and strangers (dark) of many photographs."""
    rng = np.random.default_rng(0)
    kinds = np.array([FACE_KIND, NOT_KIND, PART_KIND])[np.arange(count) % 3]
    low, high = SIDE / 2 - SIDE / MARGIN / 2, SIDE / 2 + SIDE / MARGIN / 2
    boxes = np.tile(np.array([low, low, high, high], np.float32), (count, 1))
    marks = np.tile(np.array([[38, 40], [58, 40], [48, 50], [40, 58], [56, 58]], np.float32), (count, 1, 1))
    stranger = kinds == NOT_KIND
    boxes[stranger], marks[stranger] = np.nan, np.nan
    grain = rng.integers(-20, 20, (SIDE, SIDE, 3)).astype(np.int8)
    looks = {
        kind: (grain + np.int16(200 if kind == FACE_KIND else 40)).astype(np.uint8) for kind in set(kinds.tolist())
    }
    states = np.array(["mask", "none", "incorrect", "no_mask", "none", "mask"])[np.arange(count) % 6]
    parts = np.array(["ilc_scenes", "smoker"])[np.arange(count) % 2]
    return Candidates(
        np.stack([looks[kind] for kind in kinds.tolist()]),
        kinds.astype(np.int64),
        boxes,
        marks,
        rng.normal(size=count).astype(np.float32),
        states.astype("U12"),
        parts.astype("U16"),
        np.array([f"{part}/{number}.jpg" for number, part in enumerate(parts)], "U96"),
    )


def test_hand_boxed_photographs_alone_are_held_out_and_always_the_same() -> None:
    files = [f"ilc_scenes/{number}.jpg" for number in range(1000)]
    held = [lessons.is_held_out(file) for file in files]
    assert 60 < sum(held) < 140
    assert held == [lessons.is_held_out(file) for file in files]
    assert not any(lessons.is_held_out(f"smoker/{number}.jpg") for number in range(1000))


def test_no_held_out_candidate_is_learnt_from() -> None:
    some = some_candidates(300)
    lesson = lessons.CropLesson(some, RefineNet)
    held = [lessons.is_held_out(file) for file in some.files.tolist()]
    assert 0 < sum(held) == len(lesson.held.kinds)
    assert not any(lessons.is_held_out(file) for file in lesson.learnt.files.tolist())
    assert len(lesson.learnt) == 300 - sum(held)


def test_faces_parts_and_strangers_are_drawn_by_their_shares() -> None:
    some = some_candidates(240)
    weights = lessons._weights(some, None)
    parts = {int(kind): weights[some.kinds == kind].sum() for kind in (FACE_KIND, PART_KIND, NOT_KIND)}
    assert parts[PART_KIND] == pytest.approx(0.08)
    assert parts[NOT_KIND] == pytest.approx(0.47)
    faces = some.kinds == FACE_KIND
    # There are faces with a mask and bare ones, each of one kind of photographs: 0.4 of 0.45 in scenes, and so on.
    assert parts[FACE_KIND] == pytest.approx(0.45 * (0.40 * 0.6 + 0.36 * 0.4))
    assert set(some.states[faces].tolist()) == {"mask", "no_mask"}
    strangers = some.kinds == NOT_KIND
    scenes = some.parts == "ilc_scenes"
    assert weights[strangers & scenes].sum() == pytest.approx(2 * weights[strangers & ~scenes].sum())


def test_what_the_network_before_refuses_is_seldom_seen() -> None:
    some = some_candidates(240)
    doubt = np.where(np.arange(240) < 120, 0.5, 0.001).astype(np.float32)
    strangers = some.kinds == NOT_KIND
    weights = lessons._weights(some, doubt)[strangers]
    assert weights.sum() == pytest.approx(0.47)
    half = len(weights) // 2
    assert weights[:half].sum() > 20 * weights[half:].sum()


@pytest.mark.parametrize("net", [RefineNet, OutputNet])
def test_parts_of_faces_teach_where_the_box_is_and_not_whether_there_is_one(net: Any) -> None:
    lesson = lessons.CropLesson(some_candidates(), net, batch=48)
    batch = lesson.batch(np.random.default_rng(0))
    assert batch[0].shape == (48, net.SIZE, net.SIZE, 3)
    answer = [part.detach() for part in net().eval()(learn.to_input(batch[0]))]
    before = lesson.losses(answer, batch)
    assert set(before) == {"score", "box", *(["landmark"] if net is OutputNet else [])}
    assert all(torch.isfinite(part) for part in before.values())
    part, stranger = batch[1] == PART_KIND, batch[1] == NOT_KIND
    assert part.any()
    assert stranger.any()
    answer[0][part] += 9
    assert lesson.losses(answer, batch)["score"] == before["score"]
    answer[1][stranger] += 9
    assert lesson.losses(answer, batch)["box"] == before["box"]
    answer[1][part] += 9
    assert lesson.losses(answer, batch)["box"] > before["box"]
    answer[0][stranger] += 9
    assert lesson.losses(answer, batch)["score"] > before["score"]


def test_a_batch_that_knows_no_box_and_no_landmark_teaches_what_it_can() -> None:
    lesson = lessons.CropLesson(some_candidates(), OutputNet, batch=12)
    batch = (torch.zeros(2, 56, 56, 3), torch.zeros(2), torch.full((2, 4), torch.nan), torch.full((2, 10), torch.nan))
    parts = lesson.losses((torch.zeros(2, 1), torch.zeros(2, 4), torch.zeros(2, 10)), batch)
    assert parts["score"] > 0
    assert (parts["box"], parts["landmark"]) == (0, 0)


def test_a_part_of_ones_own_is_drawn() -> None:
    scene = Scene(
        "a.jpg",
        "ours",
        "train",
        np.empty((0, 4), np.float32),
        np.empty(0, np.int64),
        (),
        np.empty((0, 5, 2), np.float32),
    )
    photo = Labelled(np.full((64, 64, 3), 90, np.uint8), scene)
    pixels, labels, _ = lessons.ProposalLesson({"ours": [photo]}, batch=2, size=64).batch(np.random.default_rng(0))
    assert pixels.shape == (2, 64, 64, 3)
    assert not labels.any()
    with pytest.raises(ValueError, match="no photograph"):
        lessons.ProposalLesson({})


def test_a_network_that_answers_nonsense_is_not_written(tmp_path: Path) -> None:
    broken = RefineNet().eval()
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    with pytest.raises(ValueError, match="rnet differs"):
        export.write_cascade(tmp_path, {"rnet": broken}, export.SETTINGS)
    assert not (tmp_path / "detector.json").exists()


def test_what_only_a_teacher_takes_for_a_face_is_to_be_less_of_one() -> None:
    lesson = lessons.CropLesson(some_candidates(), RefineNet, batch=12)
    nowhere, nothing = torch.full((2, 4), torch.nan), torch.full((2, 10), torch.nan)

    def score(kind: int, logit: float) -> float:
        batch = (torch.zeros(2, 24, 24, 3), torch.full((2,), kind), nowhere, nothing)
        return float(lesson.losses((torch.full((2, 1), logit), torch.zeros(2, 4)), batch)["score"])

    tried = np.arange(-6.0, 6.0, 0.25)
    best = {kind: tried[np.argmin([score(kind, x) for x in tried])] for kind in (NOT_KIND, UNSURE_KIND, FACE_KIND)}
    assert best[NOT_KIND] < -4 < best[UNSURE_KIND] < -1 < 4 < best[FACE_KIND]


class _Brightness(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is what importorskip returned
    """Take bright crops for faces, or dark ones."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = torch.nn.Parameter(torch.tensor(sign))

    def forward(self, pixels: Any) -> tuple[Any]:
        return (self.sign * pixels.mean(dim=(1, 2, 3))[:, None],)


def test_a_network_is_judged_on_held_out_faces() -> None:
    lesson = lessons.CropLesson(some_candidates(300), RefineNet)
    assert lesson.judge(_Brightness(1.0)) == {"recall at 1%": 1.0, "recall at 5%": 1.0}
    assert lesson.judge(_Brightness(-1.0)) == {"recall at 1%": 0.0, "recall at 5%": 0.0}
    nobody = some_candidates(300)
    alone = lessons.CropLesson(nobody.pick(nobody.kinds == NOT_KIND), RefineNet)
    assert alone.judge(_Brightness(1.0)) == {}


def small_refine() -> Any:
    return RefineNet(widths=(4, 4, 4, 4), hidden=8)


class StoppedError(Exception):
    """End a run from within."""


def teach(path: Path, *, epochs: int = 2, seed: int = 0, stop_at: int | None = None, workers: int = 0) -> Any:
    """Teach a small network for epochs of three steps; stop in the midst of an epoch where asked to."""
    lesson = lessons.CropLesson(some_candidates(), RefineNet, batch=8)
    plan = learn.Plan(epochs, 1e-3, seed=seed, workers=workers)
    if stop_at is None:
        return learn.learn(small_refine, lesson, plan, path)
    step = learn.Learner.step
    with pytest.MonkeyPatch.context() as patch:

        def stops(self: Any, batch: Any, progress: float) -> Any:
            if self.epoch == stop_at and progress > stop_at / epochs:
                raise StoppedError
            return step(self, batch, progress)

        patch.setattr(learn.Learner, "step", stops)
        with pytest.raises(StoppedError):
            learn.learn(small_refine, lesson, plan, path)
    return None


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "STEPS", 3)
    monkeypatch.setattr(curves, "draw", lambda *_: None)


def assert_equal(one: Any, other: Any) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures("short_epochs")
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = teach(tmp_path / "whole.pt")
    teach(tmp_path / "broken.pt", stop_at=1)
    assert checkpoint.load(tmp_path / "broken.pt")[0]["epoch"] == 1
    capsys.readouterr()
    resumed = teach(tmp_path / "broken.pt")
    assert "has 1 epochs of this run; going on" in capsys.readouterr().out
    assert_equal(whole, resumed)
    one, other = (curves.read(tmp_path / f"{name}.csv") for name in ("whole", "broken"))
    assert [row["score loss"] for row in one] == [row["score loss"] for row in other]
    assert not whole.training


@pytest.mark.usefixtures("short_epochs")
def test_a_finished_run_is_taken_as_it_is_and_another_one_is_moved_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "refine.pt"
    first = teach(path, epochs=1)
    capsys.readouterr()
    assert_equal(first, teach(path, epochs=1))
    assert "it is finished" in capsys.readouterr().out
    teach(path, epochs=1, seed=1)
    assert "is of another run" in capsys.readouterr().out
    assert (tmp_path / "refine.before.pt").is_file()


@pytest.mark.usefixtures("short_epochs")
def test_a_worker_changes_nothing(tmp_path: Path) -> None:
    assert_equal(teach(tmp_path / "none.pt", epochs=1), teach(tmp_path / "one.pt", epochs=1, workers=1))


def nets() -> dict[str, Any]:
    return {"pnet": tiny(), "rnet": small_refine(), "onet": OutputNet(widths=(4, 4, 4, 4), hidden=8)}


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("cascade")
    return folder, export.write_cascade(folder, nets(), export.SETTINGS)


def test_exported_networks_answer_as_the_trained_ones(cascade: tuple[Path, dict[str, float]]) -> None:
    folder, apart = cascade
    assert set(apart) == {"pnet", "rnet", "onet"}
    assert max(apart.values()) < 1e-3
    torch.manual_seed(4)
    # The control: a network with other weights is found out.
    other = export.FromBytes(nets()["rnet"].eval(), channels_last=True)
    noise = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    assert difference(other, folder / "rnet.onnx", (noise,)) > max(apart.values())


def test_the_run_time_takes_an_exported_cascade(cascade: tuple[Path, dict[str, float]]) -> None:
    folder, _ = cascade
    manifest = DetectorManifest.load(folder)
    assert (manifest.name, manifest.strides) == (export.NAME, STRIDES)
    assert manifest.stages["onet"].size == OutputNet.SIZE
    assert set(manifest.files) == {"pnet.onnx", "rnet.onnx", "onet.onnx", "nms.onnx"}
    for name, sha256 in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    assert sorted(path.name for path in folder.iterdir()) == sorted([*manifest.files, "detector.json"])
    # Every cell is a face to it, and so all stages have something to look at.
    settings = json.loads((folder / "detector.json").read_text())
    assert settings["inputs"]["rnet.onnx"] == "pixels uint8 [N,24,24,3], RGB"
    stages = {name: {**stage, "threshold": 1e-6} for name, stage in settings["stages"].items()}
    (folder / "detector.json").write_text(json.dumps({**settings, "stages": stages, "min_face": 0}))
    found = Detector(folder, providers=[CPU]).detect(np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8))
    assert len(found) > 0
    assert np.isfinite(found.boxes).all()
    assert found.landmarks.shape == (len(found), 5, 2)
    (folder / "detector.json").write_text(json.dumps(settings))


def test_a_network_that_differs_from_its_export_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "detector.json").write_text("before")
    monkeypatch.setattr(export, "difference", lambda *_: 0.5)
    with pytest.raises(ValueError, match=r"the exported rnet differs from the trained one by 0\.5"):
        export.write_cascade(tmp_path, {"rnet": small_refine()}, export.SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["detector.json"]
    assert (tmp_path / "detector.json").read_text() == "before"


def test_a_network_of_no_cascade_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Linear"):
        export.export(torch.nn.Linear(2, 2), tmp_path / "net.onnx")
