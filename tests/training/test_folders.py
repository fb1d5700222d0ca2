"""A platform learns from its own photographs: a folder for each state."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ml.detector import Detections
from ml.training import folders, train_classifier
from ml.training.crops import Faces
from ml.training.data import DRAWN
from ml.training.folders import PART, FolderPool, photos_of, source_of, split_three
from ml.training.pool import Pool
from ml.training.sources import MixedPool, loss_weights
from ml.types import STATES
from tests.training.test_data import make_faces, with_twin

BACKGROUND = 40


class FindsBrightSquares:
    """Stand in for the detector: a face is what is brighter than the background; two are side by side."""

    def __init__(self, *_: Any) -> None:
        pass

    def detect(self, image: np.ndarray) -> Detections:
        bright = ((image > 150).any(axis=2) & (image != 127).any(axis=2)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, area in stats[1:] if area > 100], np.float32)
        boxes = boxes.reshape(-1, 4)
        # Like a real one, it misses what fills the frame.
        boxes = boxes[(boxes[:, 2] - boxes[:, 0]) < 0.9 * image.shape[1]]
        at = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        marks = boxes[:, None, :2] + at * (boxes[:, 2:] - boxes[:, :2])[:, None]
        return Detections(boxes, np.ones(len(boxes), np.float32), marks.astype(np.float32))


def write(path: Path, *faces: tuple[int, int, int], seed: int, size: tuple[int, int] = (120, 160)) -> None:
    """Write a photo with faces (x, y, side) of noise."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), BACKGROUND, np.uint8)
    for x, y, side in faces:
        cells = rng.integers(151, 256, (8, 8, 3), dtype=np.uint8)
        image[y : y + side, x : x + side] = cv2.resize(cells, (side, side), interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderPool:
    """Lay out photographs of three states, and two files that cannot be learnt from."""
    monkeypatch.setattr(folders, "Detector", FindsBrightSquares)
    root = tmp_path / "photos"
    for number in range(12):
        write(root / "mask" / f"{number}.png", (40, 30, 50), seed=number)
        write(root / "no_mask" / "album" / f"{number}.png", (30, 30, 40), (100, 30, 20), seed=100 + number)
        write(root / "no_mask" / f"{number}.png", (30, 30, 40), seed=200 + number)
    for number in range(4):
        write(root / "incorrect" / f"{number}.png", (0, 0, 120), seed=300 + number, size=(120, 120))
    write(root / "mask" / "empty.png", seed=1)
    (root / "mask" / "notes.txt").write_text("no photograph")
    (root / "mask" / ".hidden").write_text("nor this")
    return FolderPool(root, tmp_path / "work")


def test_the_largest_face_of_each_photo_gets_the_state_of_its_folder(pool: FolderPool) -> None:
    faces = pool.faces()
    counts = {state: int((faces.states == at).sum()) for at, state in enumerate(STATES)}
    assert counts == {"mask": 12, "no_mask": 24, "incorrect": 4, "occluded": 0}
    assert len(set(faces.files.tolist())) == 40
    assert faces.sizes[faces.states == STATES.index("no_mask")].min() >= 39
    assert not np.isnan(faces.boxes[:, 2]).any()
    assert not np.isnan(faces.landmarks).any()


def test_a_face_that_fills_its_photo_is_found_with_room_around_it(pool: FolderPool) -> None:
    faces = pool.faces()
    assert faces.sizes[faces.states == STATES.index("incorrect")].tolist() == pytest.approx([120] * 4, abs=1)


def test_what_cannot_be_learnt_from_is_listed(pool: FolderPool, capsys: pytest.CaptureFixture[str]) -> None:
    pool.faces()
    said = capsys.readouterr().out
    assert "left out: mask/empty.png: no face was found" in said
    assert "2 photographs left out" in said
    with pool.cache().with_suffix(".left-out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["mask/empty.png", "mask/notes.txt"]
    assert "none of JPEG" in rows[1]["reason"]


def test_cuts_are_kept_until_a_photo_changes(pool: FolderPool) -> None:
    before = pool.cache()
    pool.faces()
    assert pool.cache() == before
    assert before.is_file()
    write(pool.folder / "mask" / "0.png", (40, 30, 51), seed=77)
    assert pool.cache() != before


def test_a_source_is_on_one_side_and_every_state_on_all(pool: FolderPool) -> None:
    assert source_of(f"{PART}/mask/album/a/1.jpg") == "album/"
    assert source_of(f"{PART}/mask/1.jpg") == f"{PART}/mask/1.jpg"
    for seed in range(4):
        faces = replace(pool, seed=seed).faces()
        album = np.char.startswith(faces.files, f"{PART}/no_mask/album/")
        assert len(set(faces.splits[album].tolist())) == 1
        for state in range(3):
            assert {"train", "dev", "val"} == set(faces.splits[faces.states == state].tolist())
    assert pool.faces().splits.tolist() == pool.faces().splits.tolist()
    assert pool.faces().splits.tolist() != replace(pool, seed=1).faces().splits.tolist()


def test_groups_are_never_split_whatever_states_they_hold() -> None:
    faces = make_faces(60)
    groups = np.arange(60) // 4
    for seed in range(5):
        splits = split_three(faces, groups, seed)
        assert all(len(set(splits[groups == group].tolist())) == 1 for group in range(15))


def test_only_faces_learnt_from_are_drawn_on(pool: FolderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Faces] = []

    def draw(faces: Faces, _work: Path) -> Faces:
        seen.append(faces)
        return faces

    monkeypatch.setattr(folders, "draw_on", draw)
    learn, dev = pool.to_learn_and_tune()
    assert seen == [learn]
    assert set(learn.splits.tolist()) == {"train"}
    assert set(dev.splits.tolist()) == {"dev"}
    other = [learn.files[0], learn.files[20]]
    _, chosen = pool.to_learn_and_tune(drawn=False, held_out=other)
    assert sorted(chosen.files.tolist()) == sorted(other)


def test_states_are_drawn_alike_or_as_photographed(pool: FolderPool) -> None:
    faces = pool.faces()
    drawn = replace(faces.pick(np.arange(6)), parts=np.array([DRAWN] * 6), states=np.array([0, 0, 2, 2, 3, 3]))
    both = Faces.join([faces, drawn])
    chances = pool.chances(both)
    assert chances.sum() == pytest.approx(1)
    assert np.bincount(both.states, chances).tolist() == pytest.approx([0.25] * 4)
    assert chances[-6:-4].sum() == pytest.approx(0.25 * folders.DRAWN_SHARE)
    natural = np.bincount(both.states, replace(pool, balance="weights").chances(both))
    assert natural[1] / natural[0] == pytest.approx(2)
    weights = loss_weights(replace(pool, balance="weights").chances(both), both.states, 4)
    assert (natural * weights).tolist() == pytest.approx([0.25] * 4, abs=1e-4)
    assert loss_weights(np.ones(2) / 2, np.array([0, 2]), 4) == (1.0, 1.0, 1.0, 1.0)


def test_a_folder_without_states_or_faces_is_one_clear_sentence(
    pool: FolderPool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pool.problem(needs_torch=False) is None
    assert "no folder" in str(replace(pool, folder=tmp_path / "nowhere").problem(needs_torch=False))
    (tmp_path / "other" / "mask").mkdir(parents=True)
    said = replace(pool, folder=tmp_path / "other").problem(needs_torch=False)
    assert said is not None
    assert "needs at least two of the folders mask, no_mask" in said
    (tmp_path / "other" / "no_mask").mkdir()
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    options = ["--folder", str(tmp_path / "other"), "--work", str(tmp_path / "work")]
    assert train_classifier.main(options) == 2
    assert capsys.readouterr().out.strip().endswith("no face was found to train on")


def test_the_index_and_a_folder_mix_by_share_and_tell_nothing_of_each_other(
    pool: FolderPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(60)
    ours = pool.of_split("val")
    # A photo of the index that the folder holds out.
    index = with_twin(Faces.join([make_faces(), ours]), of=60, at=3).pick(rows)
    sides = index.pick(rows[:40]), index.pick(rows[40:50])
    monkeypatch.setattr(Pool, "of_split", lambda _, name: index.pick(index.splits == name))
    monkeypatch.setattr(Pool, "to_learn_and_tune", lambda *_, **__: sides)
    mixed = MixedPool(Pool(tmp_path, tmp_path, tmp_path), pool, 0.3)
    learn, dev = mixed.to_learn_and_tune(drawn=False)
    assert "part/3.jpg" not in learn.files.tolist()
    assert len(learn) == 39 + int((pool.faces().splits == "train").sum())
    assert len(dev) == 10 + int((pool.faces().splits == "dev").sum())
    chances = mixed.chances(learn)
    assert chances[learn.parts == PART].sum() == pytest.approx(0.3)
    assert chances.sum() == pytest.approx(1)


def test_hidden_files_are_no_photographs(pool: FolderPool) -> None:
    names = [photo.file for photo in photos_of(pool.folder)]
    assert f"{PART}/mask/notes.txt" in names
    assert not any(".hidden" in name for name in names)
