"""Who trains, who tunes, and how often each is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.training import train_classifier
from ml.training.augment import plain, varied
from ml.training.crops import MARGIN, SIDE, Faces, difference_hash, iou, read_index
from ml.training.data import choose_box, draw_weights, selfie_files, split, twin_groups
from ml.training.evaluate import summary
from ml.training.synthesis import synthesize
from ml.types import STATES


def make_faces(count: int = 60, seed: int = 0) -> Faces:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    crops = small.repeat(SIDE // 9, axis=1).repeat(SIDE // 9, axis=2)
    face = SIDE / MARGIN
    box = np.array([(SIDE - face) / 2, (SIDE - face) / 2, (SIDE + face) / 2, (SIDE + face) / 2], np.float32)
    boxes = np.tile(box, (count, 3, 1)).astype(np.float32)
    marks = np.array([[58, 60], [86, 60], [72, 77], [61, 90], [83, 90]], np.float32)
    return Faces(
        crops=crops,
        boxes=boxes,
        landmarks=np.tile(marks, (count, 1, 1)),
        states=np.arange(count) % len(STATES),
        parts=np.array(["ilc_scenes", "smoker"])[rng.integers(0, 2, count)],
        splits=np.array(["train"] * (count - 10) + ["val"] * 10),
        files=np.array([f"part/{row}.jpg" for row in range(count)]),
        sizes=np.full(count, 60, np.float32),
        hashes=np.array([difference_hash(crop) for crop in crops], np.uint64),
    )


def with_twin(faces: Faces, of: int, at: int) -> Faces:
    """Return the faces with row `at` replaced by a slightly brighter copy of row `of`."""
    crops, hashes = faces.crops.copy(), faces.hashes.copy()
    crops[at] = np.clip(crops[of].astype(np.int16) + 3, 0, 255).astype(np.uint8)
    hashes[at] = difference_hash(crops[at])
    return replace(faces, crops=crops, hashes=hashes)


def test_a_twin_of_a_val_face_neither_trains_nor_tunes() -> None:
    faces = with_twin(make_faces(), of=55, at=4)
    parts = split(faces, twin_groups(faces), share=0.3)
    used = np.concatenate([parts.train, parts.dev])
    assert 4 not in used
    assert set(used.tolist()) == set(range(50)) - {4}


def test_twins_and_faces_of_one_photo_are_on_the_same_side() -> None:
    faces = with_twin(make_faces(), of=1, at=2)
    files = faces.files.copy()
    files[7] = files[3]
    faces = replace(faces, files=files)
    groups = twin_groups(faces)
    assert groups[1] == groups[2]
    assert groups[3] == groups[7]
    for seed in range(8):
        dev = set(split(faces, groups, share=0.5, seed=seed).dev.tolist())
        assert (1 in dev) == (2 in dev)
        assert (3 in dev) == (7 in dev)


def test_val_faces_never_train() -> None:
    faces = make_faces()
    parts = split(faces, twin_groups(faces))
    assert not np.isin(np.concatenate([parts.train, parts.dev]), np.flatnonzero(faces.splits == "val")).any()
    assert not np.intersect1d(parts.train, parts.dev).size


def test_draws_follow_the_shares_whatever_the_number_of_faces() -> None:
    faces = make_faces(40)
    faces = replace(faces, parts=np.array(["ilc_scenes"] * 40), states=np.array([0] * 30 + [2] * 9 + [3]))
    weights = draw_weights(faces, {("mask", "ilc_scenes"): 0.2, ("incorrect", "ilc_scenes"): 0.6})
    assert weights.sum() == pytest.approx(1)
    assert weights[:30].sum() == pytest.approx(0.25)
    assert weights[30:39].sum() == pytest.approx(0.75)
    assert weights[39] == 0
    with pytest.raises(ValueError, match="no face has a share"):
        draw_weights(faces, {("mask", "nowhere"): 1.0})


def test_the_plain_input_is_the_square_that_the_run_time_cuts() -> None:
    faces = make_faces(1)
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    face = SIDE / MARGIN
    low = int(SIDE / 2 - face * 1.35 / 2)
    crop[low : SIDE - low, low : SIDE - low] = 255
    assert plain(crop, faces.boxes[0], 96, 1.35).min() > 120
    assert plain(crop, faces.boxes[0], 96, 1.8)[0].max() < 120


def test_a_varied_input_keeps_its_shape_and_differs() -> None:
    faces, rng = make_faces(1), np.random.default_rng(0)
    one, other = (varied(faces.crops[0], faces.boxes[0], 96, 1.35, rng) for _ in range(2))
    assert one.shape == other.shape == (96, 96, 3)
    assert not np.array_equal(one, other)


def test_the_detected_box_is_preferred_where_there_is_one() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], np.float32)
    assert choose_box(boxes)[2] == 3
    boxes[2] = np.nan
    assert choose_box(boxes)[2] == 1
    rng = np.random.default_rng(0)
    assert {float(choose_box(boxes, rng)[2]) for _ in range(50)} == {1.0, 2.0}


def test_overlap_is_one_for_the_same_box_and_none_for_distant_ones() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert iou(boxes[:1], boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0])
    assert iou(np.empty((0, 4), np.float32), boxes).shape == (0, 3)


def test_bare_train_faces_get_masks_well_and_badly_worn_hands_and_what_changes_nothing() -> None:
    faces = make_faces(40)
    faces = replace(faces, parts=np.array(["ilc_scenes"] * 40))
    drawn = Faces.join(list(synthesize(faces)))
    assert set(drawn.states.tolist()) == set(range(len(STATES)))
    assert "drawn" in set(drawn.parts.tolist()) <= {"drawn", "transfer"}
    bare = faces.files[(faces.states == STATES.index("no_mask")) & (faces.splits == "train")]
    assert set(drawn.files.tolist()) <= set(bare.tolist())


def test_faces_survive_the_disk(tmp_path: Path) -> None:
    faces = make_faces(5)
    faces.save(tmp_path / "faces.npz")
    again = Faces.load(tmp_path / "faces.npz")
    assert np.array_equal(again.crops, faces.crops)
    assert again.files.tolist() == faces.files.tolist()


def test_the_index_is_read_without_jokes_and_ignored_boxes(tmp_path: Path) -> None:
    boxes = (
        '[{"label":"mask","xyxy":[0,0,9,9]},{"label":"ignore","xyxy":[0,0,9,9]},'
        '{"label":"incorrect","xyxy":[0,0,9,9],"joke":1}]'
    ).replace('"', '""')
    (tmp_path / "index.csv").write_text(
        "file,part,split,kind,label,width,height,boxes\n"
        f'a/1.jpg,ilc_scenes,train,scene,boxes,10,10,"{boxes}"\n'
        "a/2.jpg,kaggle_scenes,val,scene,mask,301,400,\n"
    )
    one, other = read_index(tmp_path)
    assert [state for state, _ in one.boxes] == ["mask"]
    assert (other.state, other.boxes) == ("mask", ())
    assert selfie_files(tmp_path) == {"a/2.jpg"}


def test_missing_data_is_one_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_classifier.main(["--data", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().out.strip()
    assert said.startswith("There are no training photographs")
    assert "\n" not in said


def test_scores_are_perfect_for_perfect_predictions() -> None:
    faces = make_faces(40)
    chances = np.eye(4)[faces.states]
    assert summary(faces, chances)["boxed_macro_f1"] == 1
    assert summary(faces, chances)["boxed_binary_balanced"] == 1
