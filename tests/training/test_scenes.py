"""Where faces are on training photographs, and what is drawn and cut from them."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ml.detector import Detector
from ml.geometry import Floats, Pixels
from ml.session import CPU
from ml.training import train_detector
from ml.training.crops import read_index
from ml.training.detection import candidates, draws, scenes
from ml.training.detection.candidates import (
    FACE_KIND,
    MARGIN,
    NOT_KIND,
    PART_KIND,
    SIDE,
    UNSURE_KIND,
    Candidates,
    mine,
    mined,
    vary,
)
from ml.training.detection.draws import Drawn, Labelled, Window, draw
from ml.training.detection.scenes import (
    FACE,
    IGNORED,
    SPARE,
    UNKNOWN,
    Convention,
    Scene,
    find_scenes,
    load_scenes,
    save_scenes,
)
from ml.training.detection.teachers import Taught
from tests.ml.networks import write_cascade

RED = (255, 0, 0)
WIDER, UNIT = np.array([-2, -2, 2, 2]), np.array([0, 0, 1, 1])


def a_scene(
    boxes: list[list[float]], kinds: list[int] | None = None, part: str = "ilc_scenes", other: str = SPARE
) -> Scene:
    """Return a scene whose faces are masked and have landmarks at fixed shares of their boxes."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    shares = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    marks = corners[:, None, :2] + shares * (corners[:, 2:] - corners[:, :2])[:, None]
    of = [FACE] * len(corners) if kinds is None else kinds
    states = tuple("mask" if kind == FACE else other for kind in of)
    return Scene(f"{part}/1.png", part, "train", corners, np.array(of, np.int64), states, marks.astype(np.float32))


def with_discs(boxes: list[list[float]], size: tuple[int, int] = (300, 400)) -> Pixels:
    """Draw a red disc into each square box: turned or mirrored, it fills the same box."""
    image = np.full((*size, 3), 40, np.uint8)
    for x1, y1, x2, y2 in boxes:
        cv2.circle(image, (int(x1 + x2) // 2, int(y1 + y2) // 2), int(x2 - x1) // 2, RED, -1)
    return image


def is_red(image: Pixels) -> np.ndarray:
    return np.asarray((image[..., 0] > 150) & (image[..., 1] < 100))


def extent(image: Pixels) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(is_red(image))
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


@pytest.fixture
def plain_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave light and sharpness as they are, so that red stays red."""
    for module in (draws, candidates):
        monkeypatch.setattr(module, "varied", lambda image, _: image)


def test_a_convention_is_how_people_draw_boxes_beside_a_teacher() -> None:
    taught = np.array([[10, 10, 30, 50], [100, 40, 180, 120], [5, 5, 25, 25]], np.float32)
    drawn = Convention(shift=(0.1, -0.05), scale=(1.2, 0.9)).apply(taught)
    fitted = Convention.fitted(taught, drawn)
    assert (*fitted.shift, *fitted.scale) == pytest.approx((0.1, -0.05, 1.2, 0.9), abs=1e-5)
    assert fitted.apply(taught) == pytest.approx(drawn, abs=1e-3)
    nothing = np.empty((0, 4), np.float32)
    assert Convention.fitted(nothing, nothing) == Convention()
    assert Convention().apply(taught) == pytest.approx(taught)


def taught(*found: tuple[list[float], float]) -> Taught:
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    return Taught(boxes, scores, np.full((len(boxes), 5, 2), 7, np.float32))


class FakeTeacher:
    """Say what was prepared for a photograph of this width."""

    answers: dict[int, Taught] = {}

    def __init__(self, weights: Path) -> None:
        assert weights.name

    def find(self, image: Pixels) -> Taught:
        return self.answers.get(image.shape[1], taught())


def scenes_of(
    root: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]], answers: dict[int, Taught]
) -> dict[str, Scene]:
    """Write photographs 100 pixels high, each of its own width, and find the scenes; one teacher sees nothing."""
    monkeypatch.setattr(scenes, "YuNet", type("First", (FakeTeacher,), {"answers": answers}))
    monkeypatch.setattr(scenes, "MaskedFaces", FakeTeacher)
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "part", "split", "label", "boxes"])
        writer.writeheader()
        for row in rows:
            width = row.pop("width")
            assert isinstance(width, int)
            Image.new("RGB", (width, 100)).save(root / str(row["file"]))
            writer.writerow({"split": "train", "label": "boxes", **row})
    found = find_scenes(root, read_index(root), Path("one.onnx"), Path("other.onnx"))
    return {scene.file: scene for scene in found if scene is not None}


def test_boxes_that_people_drew_are_the_truth_and_what_only_a_teacher_sees_counts_neither_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [
        {"label": "mask", "xyxy": [10, 10, 50, 60]},
        {"label": "no_mask", "xyxy": [300, 10, 320, 30]},
        {"label": "ignore", "xyxy": [200, 10, 230, 40]},
    ]
    rows: list[dict[str, object]] = [
        {"file": "a.png", "part": "ilc_scenes", "width": 400, "boxes": json.dumps(boxes)},
        {"file": "b.png", "part": "kaggle_scenes", "width": 401, "boxes": ""},
    ]
    answers = {400: taught(([10, 10, 50, 60], 0.9), ([100, 10, 130, 40], 0.9)), 401: taught(([5, 5, 40, 40], 0.9))}
    found = scenes_of(tmp_path, monkeypatch, rows, answers)
    scene = found["a.png"]
    assert scene.boxes.tolist() == [[10, 10, 50, 60], [300, 10, 320, 30], [200, 10, 230, 40], [100, 10, 130, 40]]
    assert scene.kinds.tolist() == [FACE, FACE, IGNORED, IGNORED]
    assert scene.states == ("mask", "no_mask", "ignored", "unknown")
    # Landmarks are known where a teacher saw the same face.
    assert [bool(np.isnan(marks).any()) for marks in scene.landmarks] == [False, True, True, True]
    # A boxed photograph without a box has no face.
    assert found["b.png"].kinds.tolist() == [IGNORED]


def test_without_boxes_a_sure_teacher_is_the_truth_and_a_doubtful_one_counts_neither_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, object]] = [
        {"file": "a.png", "part": "crowd_mask", "width": 400, "label": "mask"},
        {"file": "b.png", "part": "crowd_mask", "width": 401, "label": "mask"},
        {"file": "c.png", "part": "smoker", "width": 402, "label": "occluded"},
        {"file": "d.png", "part": "k12_mask", "width": 200, "label": "mask"},
        {"file": "e.png", "part": "smoker", "width": 404, "label": "occluded"},
    ]
    doubtful = taught(([100, 10, 130, 40], 0.5))
    sure = taught(([10, 10, 50, 60], 0.9), ([100, 10, 130, 40], 0.5))
    found = scenes_of(tmp_path, monkeypatch, rows, {400: sure, 401: doubtful, 402: doubtful})
    assert found["a.png"].kinds.tolist() == [FACE, IGNORED]
    assert found["a.png"].states == ("mask", "unknown")
    assert found["b.png"].kinds.tolist() == [IGNORED]
    # A photograph about one person has a face, and one that is cut to the face shows it in the middle.
    assert found["c.png"].kinds.tolist() == [FACE]
    assert found["d.png"].boxes[0] == pytest.approx([24, 8, 176, 92])
    assert len(found["e.png"].boxes) == 0


def test_scenes_survive_the_disk(tmp_path: Path) -> None:
    scene = a_scene([[10, 20, 30, 40], [1, 2, 3, 4]], [FACE, IGNORED])
    scene.landmarks[1] = np.nan
    save_scenes(tmp_path / "work" / "scenes.json", [scene, a_scene([])])
    again, empty = load_scenes(tmp_path / "work" / "scenes.json")
    assert (again.file, again.part, again.split, again.states) == (scene.file, scene.part, scene.split, scene.states)
    assert np.array_equal(again.boxes, scene.boxes)
    assert np.array_equal(again.kinds, scene.kinds)
    assert np.allclose(again.landmarks, scene.landmarks, atol=0.05, equal_nan=True)
    assert (empty.boxes.shape, empty.kinds.shape, empty.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["scenes.json"]


@pytest.mark.parametrize("zoom", [0.2, 0.6, 1.0, 1.9])
@pytest.mark.parametrize("turn", [0.0, 25.0])
@pytest.mark.parametrize("flip", [False, True])
def test_boxes_go_where_the_pixels_go(zoom: float, turn: float, flip: bool) -> None:
    boxes = [[180.0, 120.0, 220.0, 160.0]]
    photo = Labelled(with_discs(boxes), a_scene(boxes))
    window = Window(photo, 160, zoom, np.array([210.0, 130.0]), np.array([90.0, 70.0]), turn, flip)
    box = window.boxes(photo.scene.boxes)[0]
    assert extent(window.pixels((0, 0, 0))) == pytest.approx(box, abs=2)


@pytest.mark.usefixtures("plain_light")
@pytest.mark.parametrize("part", ["ilc_scenes", "smoker"])
def test_every_face_of_a_drawn_picture_is_boxed_and_every_box_holds_a_face(part: str) -> None:
    boxes = [[40.0, 40.0, 80.0, 80.0], [250.0, 150.0, 350.0, 250.0]]
    photos = {part: [Labelled(with_discs(boxes), a_scene(boxes, part=part))]}
    rng, faces = np.random.default_rng(1), 0
    for _ in range(40):
        drawn = draw(photos, {part: 1.0}, 160, rng)
        assert drawn.pixels.shape == (160, 160, 3)
        free = is_red(drawn.pixels)
        for box, kind in zip(drawn.boxes, drawn.kinds, strict=True):
            assert (box >= 0).all()
            assert (box <= 160).all()
            x1, y1, x2, y2 = np.round(box + WIDER).clip(0, 160).astype(int)
            if kind == FACE:
                faces += 1
                assert free[y1:y2, x1:x2].mean() > 0.25
        for x1, y1, x2, y2 in np.round(drawn.boxes + WIDER).clip(0, 160).astype(int):
            free[y1:y2, x1:x2] = False
        # What shows of a disc whose box was left out is a sliver.
        assert free.sum() < 80
    assert faces > 30


def test_a_face_that_is_mostly_outside_counts_neither_way() -> None:
    boxes = np.array([[-10, 0, 30, 40], [-30, 0, 10, 40], [-38.5, 0, 1.5, 40], [50, 50, 58, 58]], np.float32)
    inside, kinds = draws._clipped(boxes, np.array([FACE] * 4), 100, 100)
    assert inside.tolist() == [[0, 0, 30, 40], [0, 0, 10, 40], [50, 50, 58, 58]]
    assert kinds.tolist() == [FACE, IGNORED, IGNORED]


def test_light_changes_and_the_shape_does_not() -> None:
    image, rng = with_discs([[100, 100, 200, 200]]), np.random.default_rng(0)
    others = [draws.varied(image, rng) for _ in range(12)]
    assert {other.shape for other in others} == {image.shape}
    assert {str(other.dtype) for other in others} == {"uint8"}
    assert sum(not np.array_equal(other, image) for other in others) > 6


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector(write_cascade(tmp_path_factory.mktemp("toy"), passes=[1.0]), providers=[CPU])


def with_squares(boxes: list[list[float]]) -> Pixels:
    image = np.full((300, 400, 3), 40, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[int(y1) : int(y2), int(x1) : int(x2)] = 255
    return image


def test_proposals_are_faces_where_people_boxed_them_and_strangers_elsewhere(toy: Detector) -> None:
    face, statue, poster = [40.0, 40.0, 88.0, 88.0], [200.0, 40.0, 248.0, 88.0], [200.0, 200.0, 248.0, 248.0]
    image = with_squares([face, statue, poster])
    found = mine(toy, image, a_scene([face, poster], [FACE, IGNORED]), np.random.default_rng(0))
    assert found.crops.shape[1:] == (SIDE, SIDE, 3)
    assert set(found.kinds.tolist()) >= {FACE_KIND, NOT_KIND}
    faces, strangers = found.pick(found.kinds == FACE_KIND), found.pick(found.kinds == NOT_KIND)
    for crop, box, marks in zip(faces.crops, faces.boxes, faces.landmarks, strict=True):
        x1, y1, x2, y2 = np.round(box).astype(int)
        assert crop[max(y1, 0) + 1 : y2 - 1, max(x1, 0) + 1 : x2 - 1].mean() > 240
        assert marks[2] == pytest.approx((box[:2] + box[2:]) / 2 + [0, 0.1 * (y2 - y1)], abs=1.5)
    assert set(faces.states.tolist()) == {"mask"}
    assert np.isnan(strangers.boxes).all()
    assert np.isnan(strangers.landmarks).all()
    assert set(strangers.states.tolist()) == {"none"}
    # The poster that nobody is to learn from is in the middle of no stranger.
    assert strangers.crops[:, 38:58, 38:58].mean() > 150
    assert len(strangers) < 12


def test_a_proposal_of_half_a_face_is_a_part_of_one(toy: Detector) -> None:
    face = [40.0, 40.0, 88.0, 88.0]
    # The boxed face is larger than the square that is proposed.
    found = mine(toy, with_squares([face]), a_scene([[32, 32, 110, 110]]), np.random.default_rng(0))
    parts = found.pick(found.kinds == PART_KIND)
    assert len(parts) == 1
    assert not np.isnan(parts.boxes).any()


@pytest.mark.parametrize(("part", "kinds"), [("ilc_scenes", {UNSURE_KIND}), ("crowd_mask", set())])
def test_what_only_a_teacher_takes_for_a_face_is_unsure_where_people_drew_boxes(
    toy: Detector, part: str, kinds: set[int]
) -> None:
    unboxed = a_scene([[40, 40, 88, 88]], [IGNORED], part, other=UNKNOWN)
    found = mine(toy, with_squares([[40, 40, 88, 88]]), unboxed, np.random.default_rng(0))
    assert set(found.kinds.tolist()) == kinds
    assert np.isnan(found.boxes).all()


def test_a_photograph_of_nobody_gives_strangers_or_nothing(toy: Detector) -> None:
    nobody = a_scene([])
    assert len(mine(toy, with_squares([]), nobody, np.random.default_rng(0))) == 0
    found = mine(toy, with_squares([[40, 40, 88, 88]]), nobody, np.random.default_rng(0))
    assert set(found.kinds.tolist()) == {NOT_KIND}


def test_scarce_parts_are_seen_at_other_sizes_too(toy: Detector) -> None:
    face = [40.0, 40.0, 88.0, 88.0]
    photos = [(with_squares([face]), a_scene([face])), (with_squares([face]), a_scene([face], part="smoker"))]
    found = list(mined(toy, iter(photos), np.random.default_rng(2), {"ilc_scenes": 3}))
    assert [set(some.parts.tolist()) for some in found] == [{"ilc_scenes"}] * 3 + [{"smoker"}]
    for some in found[:3]:
        crop, box = some.crops[-1], some.boxes[-1]
        assert crop[int(box[1]) + 4 : int(box[3]) - 4, int(box[0]) + 4 : int(box[2]) - 4].mean() > 150


def test_candidates_survive_the_disk_and_can_be_joined(toy: Detector, tmp_path: Path) -> None:
    face = [40.0, 40.0, 88.0, 88.0]
    found = mine(toy, with_squares([face]), a_scene([face]), np.random.default_rng(0))
    found.save(tmp_path / "work" / "candidates.npz")
    again = Candidates.load(tmp_path / "work" / "candidates.npz")
    for name in Candidates.__slots__:
        column = getattr(again, name)
        assert np.array_equal(column, getattr(found, name), equal_nan=column.dtype.kind == "f")
    assert len(Candidates.join([found, again])) == 2 * len(found)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["candidates.npz"]


@pytest.mark.usefixtures("plain_light")
@pytest.mark.parametrize(("size", "margin"), [(24, 1.2), (56, 1.4)])
def test_box_and_landmarks_move_with_the_pixels_of_a_varied_cut(size: int, margin: float) -> None:
    unit = SIDE / MARGIN
    low, high = (SIDE - unit) / 2, (SIDE + unit) / 2
    box: Floats = np.array([low, low, high, high], np.float32)
    crop = with_discs([box.tolist()], (SIDE, SIDE))
    eyes = np.array([[38, 40], [58, 40]])
    for (x, y), colour in zip(eyes.tolist(), [(0, 255, 0), (0, 0, 255)], strict=True):
        cv2.circle(crop, (x, y), 5, colour, -1)
    marks = np.array([*eyes, [48, 50], [40, 58], [56, 58]], np.float32)
    rng = np.random.default_rng(3)
    mirrored: set[tuple[int, ...]] = set()
    corner, side = (size - size / margin) / 2, size / margin
    for _ in range(40):
        sample = vary(crop, box, marks, size, margin, rng)
        assert sample.pixels.shape == (size, size, 3)
        placed = (sample.box + UNIT) * side + corner
        colourful = np.ptp(sample.pixels.astype(int), axis=2) > 90
        rows, columns = np.nonzero(colourful)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert seen == pytest.approx(np.clip(placed, 0, size), abs=0.08 * size)
        points = sample.landmarks.reshape(5, 2) * side + corner
        assert points[0, 0] < points[1, 0]
        colours = [sample.pixels[int(y), int(x)].argmax() for x, y in points[:2]]
        mirrored.add(tuple(int(colour) for colour in colours))
    # The picture's left eye comes first, whichever of the two it is.
    assert mirrored == {(1, 2), (2, 1)}


def test_missing_photographs_and_teachers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(tmp_path), "--teachers", str(tmp_path / "peers"), "--work", str(tmp_path / "work")]
    assert train_detector.main(options) == 2
    assert capsys.readouterr().out.strip().startswith("There are no training photographs")
    (tmp_path / "index.csv").touch()
    (tmp_path / "peers").mkdir()
    for name in (train_detector.YUNET, train_detector.MASKED):
        assert train_detector.main(options) == 2
        said = capsys.readouterr().out.strip()
        assert str(tmp_path / "peers" / name) in said
        assert "\n" not in said
        (tmp_path / "peers" / name).touch()
    assert not (tmp_path / "work").exists()


def test_without_torch_training_the_detector_says_which_extra_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("index.csv", train_detector.YUNET, train_detector.MASKED):
        (tmp_path / name).touch()
    monkeypatch.setattr(train_detector, "find_spec", lambda _: None)
    problem = train_detector.Task(tmp_path, tmp_path, tmp_path / "work").problem()
    assert problem is not None
    assert "pip install -e '.[train]'" in problem


def test_scenes_are_found_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, object]] = [{"file": "a.png", "part": "smoker", "width": 402, "label": "occluded"}]
    scenes_of(tmp_path, monkeypatch, rows, {})
    for name in (train_detector.YUNET, train_detector.MASKED):
        (tmp_path / name).touch()
    task = train_detector.Task(tmp_path, tmp_path, tmp_path / "work")
    assert [scene.file for scene in task.scenes()] == ["a.png"]
    monkeypatch.setattr(scenes, "YuNet", None)
    assert [scene.file for scene in task.scenes()] == ["a.png"]
    photos = task.photos(task.scenes())
    assert [photo.image.shape for photo in photos["smoker"]] == [(100, 402, 3)]


def test_drawn_columns_are_equally_long() -> None:
    photo = Labelled(with_discs([]), a_scene([]))
    drawn = draw({"ilc_scenes": [photo]}, {"ilc_scenes": 1.0}, 96, np.random.default_rng(0))
    assert isinstance(drawn, Drawn)
    assert (drawn.boxes.shape, drawn.kinds.shape) == ((0, 4), (0,))
