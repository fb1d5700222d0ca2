import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.__main__ import main
from ml.geometry import Pixels
from ml.types import STATES


@pytest.fixture
def photos(portrait: Pixels, tmp_path: Path) -> Path:
    """Lay out two portraits, a landscape and three files that are no photo."""
    folder = tmp_path / "photos"
    (folder / "more [2]").mkdir(parents=True)
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "a secret place"
    face = Image.fromarray(portrait)
    face.save(folder / "face.jpg", exif=exif, quality=95)
    face.convert("P").save(folder / "more [2]" / "face.gif")
    Image.new("RGB", (320, 200), "skyblue").save(folder / "more [2]" / "sky.png")
    (folder / "notes.txt").write_text("no photo")
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes((folder / "face.jpg").read_bytes()[:9000])
    (folder / ".hidden.jpg").write_bytes((folder / "face.jpg").read_bytes())
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "ml", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("jobs", [1, 2])
def test_predict_writes_the_faces_of_files_and_folders(photos: Path, weights: Path, tmp_path: Path, jobs: int) -> None:
    target = tmp_path / "out" / "faces.json"
    done = run("predict", photos, photos / "face.jpg", "--json", target, "--weights", weights, "--jobs", str(jobs))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found = read(target)
    names = ["face.jpg", "more [2]/face.gif", "more [2]/sky.png"]
    assert list(found) == [str(photos / name) for name in names]
    (face,) = found[str(photos / "face.jpg")]
    assert set(face) == {"xyxy", "score", "label", "probabilities"}
    assert np.abs(np.array(face["xyxy"]) - (178, 70, 272, 180)).max() < 15
    assert tuple(face["probabilities"]) == STATES
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert face["label"] == max(face["probabilities"], key=face["probabilities"].__getitem__)
    assert found[str(photos / "more [2]/sky.png")] == []
    assert "read 3 of 6 files" in done.stderr


def test_predict_says_of_each_file_that_is_no_photo_why(photos: Path, weights: Path, tmp_path: Path) -> None:
    done = run("predict", photos, "--json", tmp_path / "faces.json", "--weights", weights)
    skipped = [line for line in done.stderr.splitlines() if line.startswith("skipped")]
    assert skipped == [
        f"skipped {photos / 'cut.jpg'}: the photo is cut short or damaged",
        f"skipped {photos / 'empty.jpg'}: the file is empty",
        f"skipped {photos / 'notes.txt'}: the file is none of JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF",
    ]


def test_predict_names_files_as_they_were_given(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    target = tmp_path / "faces.json"
    assert main(["predict", "face.jpg", "more [2]", "--json", str(target), "--weights", str(weights)]) == 0
    assert list(read(target)) == ["face.jpg", "more [2]/face.gif", "more [2]/sky.png"]


def test_predict_without_a_file_prints_a_line_per_photo(photos: Path, weights: Path) -> None:
    done = run("predict", photos / "more [2]", "--weights", weights)
    gif, sky = done.stdout.splitlines()
    assert gif.startswith(f"{photos / 'more [2]' / 'face.gif'}: ")
    assert any(state in gif for state in STATES)
    assert sky == f"{photos / 'more [2]' / 'sky.png'}: no face"


def test_annotate_draws_on_copies_without_metadata(photos: Path, weights: Path, tmp_path: Path) -> None:
    before = (photos / "face.jpg").read_bytes()
    out = tmp_path / "drawn"
    done = run("annotate", photos, out, "--weights", weights)
    assert done.returncode == 0, done.stderr
    drawn = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert drawn == ["face.jpg", "more [2]/face.gif.png", "more [2]/sky.png"]
    assert (photos / "face.jpg").read_bytes() == before
    with Image.open(photos / "face.jpg") as original, Image.open(out / "face.jpg") as copy:
        assert copy.size == original.size
        assert not copy.getexif()
        assert b"secret" not in (out / "face.jpg").read_bytes()
        changed = np.abs(np.asarray(copy, int) - np.asarray(original.convert("RGB"), int)).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    # The frame and its label stand around the face and nowhere else.
    assert 40 < rows.min() < 85
    assert 165 < rows.max() < 195
    assert 165 < columns.min() < 195
    with Image.open(out / "more [2]" / "sky.png") as sky:
        assert np.ptp(np.asarray(sky).reshape(-1, 3), axis=0).max() == 0


def test_annotate_keeps_files_of_the_same_name_apart(portrait: Pixels, weights: Path, tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "face.png")
        Image.fromarray(portrait).save(paths[-1])
    out = tmp_path / "drawn"
    assert main(["annotate", *map(str, paths), str(out), "--weights", str(weights)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["face-2.png", "face.png"]


def test_nothing_readable_is_a_failure(photos: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces.json"
    done = run("predict", photos / "notes.txt", "--json", target, "--weights", weights)
    assert done.returncode == 1
    assert read(target) == {}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("annotate", empty, tmp_path / "drawn", "--weights", weights).returncode == 1


def test_a_path_that_does_not_exist_is_an_error_and_nothing_is_written(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces.json"
    done = run("predict", tmp_path / "missing", "--json", target, "--weights", weights)
    assert done.returncode == 2
    assert done.stderr == f"error: no such file or folder: {tmp_path / 'missing'}\n"
    assert not target.exists()


def test_missing_weights_are_one_clear_sentence(photos: Path, tmp_path: Path) -> None:
    done = run("predict", photos, "--json", tmp_path / "faces.json", "--weights", tmp_path / "nowhere")
    assert done.returncode == 2
    missing = tmp_path / "nowhere" / "detector.json"
    assert done.stderr == f"error: {missing} is missing; restore it from the repository, or train it anew\n"


def test_a_result_that_cannot_be_written_leaves_the_old_one(photos: Path, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces.json"
    target.mkdir()
    done = run("predict", photos / "face.jpg", "--json", target, "--weights", weights)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".faces")] == []


def test_an_unknown_provider_is_refused_by_name(photos: Path, weights: Path) -> None:
    done = run("predict", photos, "--weights", weights, "--providers", "NoSuchProvider")
    assert done.returncode == 2
    assert "NoSuchProvider is not part of the installed ONNX Runtime" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["predict"], ["annotate", "one"], ["predict", "x", "--jobs", "0"]])
def test_a_wrong_call_is_explained(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: python -m ml" in done.stderr


def test_annotate_never_draws_over_a_photo(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "teal").save(photo)
    before = photo.read_bytes()
    assert main(["annotate", str(tmp_path), str(tmp_path), "--weights", str(weights)]) == 2
    assert "another folder" in capsys.readouterr().err
    assert photo.read_bytes() == before
