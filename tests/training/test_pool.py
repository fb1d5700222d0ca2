"""The faces the commands of training share, and what the commands say of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ml.manifest import DETECTOR, WEIGHTS
from ml.training import evaluate
from ml.training.crops import Faces
from ml.training.data import DRAWN
from ml.training.pool import Pool
from tests.training.test_data import make_faces

HEADER = "file,part,split,kind,label,width,height,boxes\n"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Lay out a pool of no photographs whose faces are cut already."""
    (tmp_path / "weights").mkdir()
    shutil.copy(WEIGHTS / DETECTOR, tmp_path / "weights")
    (tmp_path / "index.csv").write_text(HEADER)
    (tmp_path / "teacher.onnx").write_bytes(b"teacher")
    made = Pool(tmp_path, tmp_path / "teacher.onnx", tmp_path / "work", tmp_path / "weights")
    make_faces().save(made.cache("faces"))
    return made


def test_cuts_are_kept_between_runs(pool: Pool) -> None:
    assert pool.cache("faces").name.startswith("faces-")
    assert len(pool.faces()) == 60
    assert len(pool.of_split("val")) == 10
    assert [path.suffix for path in pool.work.iterdir()] == [".npz"]


def test_cuts_by_another_detector_or_of_other_photographs_are_not_taken_for_these(pool: Pool) -> None:
    before = pool.cache("faces")
    manifest = pool.weights / "detector.json"
    settings = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(settings), "min_face": 99}))
    assert pool.cache("faces") != before
    manifest.write_text(settings)
    assert pool.cache("faces") == before
    pool.teacher.write_bytes(b"another teacher")
    assert pool.cache("faces") != before
    pool.teacher.write_bytes(b"teacher")
    (pool.data / "index.csv").write_text(HEADER + "a/1.jpg,beards,train,face,mask,9,9,\n")
    assert pool.cache("faces") != before


def test_no_face_held_out_is_learnt_from_in_any_version(pool: Pool) -> None:
    learn, dev = pool.to_learn_and_tune()
    assert DRAWN in learn.parts.tolist()
    assert not set(learn.files.tolist()) & set(dev.files.tolist())
    assert not set(learn.files.tolist()) & set(pool.of_split("val").files.tolist())
    assert pool.of_split("dev").files.tolist() == dev.files.tolist()


def test_a_detector_that_was_not_set_up_is_one_clear_sentence(pool: Pool) -> None:
    assert pool.problem(needs_torch=False) is None
    (pool.weights / "detector.json").unlink()
    said = pool.problem(needs_torch=False)
    assert said is not None
    assert "detector.json is missing" in said


def test_evaluation_prints_a_table_and_draws_the_wrong_ones(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(pool.data), "--yunet", str(pool.teacher), "--work", str(pool.work)]
    pool.cache("faces").replace(replace(pool, weights=WEIGHTS).cache("faces"))
    sheet = tmp_path / "sheets" / "wrong.png"
    assert evaluate.main([*options, "--sheet", str(sheet)]) == 0
    said = capsys.readouterr().out
    assert "| part | state | faces |" in said
    assert "faces: 10" in said
    # Noise is no face: the net calls it one state, and most of the four are wrong.
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert int(said.rsplit(" wrong ones drawn", 1)[0].split()[-1]) >= 5
    assert np.ptp(drawn) > 100


def test_half_a_file_is_never_left(tmp_path: Path) -> None:
    faces = make_faces(3)
    broken = Faces(**{name: getattr(faces, name) for name in Faces.__slots__} | {"files": _Unwritable()})
    with pytest.raises(RuntimeError, match="disk"):
        broken.save(tmp_path / "faces.npz")
    assert not (tmp_path / "faces.npz").exists()


class _Unwritable:
    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("the disk is full")
