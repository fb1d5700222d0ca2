"""`python -m ml evaluate` on the demo's own pictures, and what it refuses."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from ml.__main__ import main
from ml.analyzer import Analyzer
from ml.commands import as_json
from ml.evaluation import charts
from ml.evaluation.index import read_index
from ml.evaluation.reading import Looking
from ml.evaluation.traits import BRIGHTNESS, PATTERN, YAW, measure, yaw_of
from ml.geometry import Octaves, Pixels
from tests.ml.labelled import write_index

DEMO = Path(__file__).resolve().parents[2] / "mask_social" / "demo" / "photos"
FACE = [178, 70, 272, 180]
PICTURES = ["confusion.png", "mistakes.png", "posts.png", "recall_and_strays.png", "reliability.png", "slices.png"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Write an index of four demo pictures: boxed portraits, a landscape with nobody, and a crowd without boxes."""
    folder = tmp_path / "labelled"
    (folder / "crowds").mkdir(parents=True)
    for name in ("portrait", "surgical", "landscape"):
        shutil.copy(DEMO / f"{name}.jpg", folder / f"{name}.jpg")
    shutil.copy(DEMO / "crowd.jpg", folder / "crowds" / "crowd.jpg")
    return write_index(
        folder,
        [
            {"file": "portrait.jpg", "boxes": [{"label": "no_mask", "xyxy": FACE}]},
            {"file": "surgical.jpg", "boxes": [{"label": "mask", "xyxy": FACE}]},
            {"file": "landscape.jpg"},
            {"file": "crowds/crowd.jpg", "part": "crowds", "label": "mask"},
        ],
    )


def report_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def test_it_judges_photographs_and_writes_all_it_found(
    index: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(index), "--weights", str(weights), "--out", str(out), "--bootstrap", "50"]) == 0
    report = report_of(out)
    detection = report["detection"]["photos"]
    assert detection["recall"] == {"value": 1.0, "low": pytest.approx(0.3424), "high": 1.0, "n": 2}
    assert detection["strays_per_photo"]["value"] == 0
    assert detection["photos"] == 3
    assert detection["by_size"].keys() == {"64-128 px"}
    assert report["photos_without_boxes"]["crowds"]["mask"]["face_found"]["value"] == 1
    assert report["about"]["photos"] == 4
    assert {"report.json", "report.md", *PICTURES} == {path.name for path in out.iterdir()}
    for name in PICTURES:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
    captured = capsys.readouterr()
    for title in ("Detection", "Classification", "Posts called masked", "Photographs without boxes", "By skin tone"):
        assert title in captured.out
        assert f"## {title}" in (out / "report.md").read_text()
    assert f"wrote {out / 'report.md'}" in captured.err


def test_every_picture_and_row_of_the_report_is_whole(index: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(index), "--weights", str(weights), "--out", str(out), "--bootstrap", "20"]) == 0
    text = (out / "report.md").read_text()
    links = re.findall(r"\]\((.*?)\)", text)
    assert links
    assert all((out / link).is_file() for link in links)
    assert "mistakes.png" not in links  # it shows people; the report may be passed on
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_two_processes_say_what_one_says(index: Path, weights: Path, tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        arguments = ["evaluate", str(index), "--weights", str(weights), "--jobs", jobs, "--bootstrap", "20"]
        assert main([*arguments, "--out", str(tmp_path / jobs)]) == 0
    assert report_of(tmp_path / "1") == report_of(tmp_path / "2")


def test_it_judges_the_faces_that_predict_writes(index: Path, weights: Path) -> None:
    analyzer = Analyzer(weights=weights, providers=["CPUExecutionProvider"])
    look = Looking(weights, ("CPUExecutionProvider",)).prepare()
    with Image.open(index.parent / "crowds" / "crowd.jpg") as crowd:
        # Small and blurred, so that many faces come close to the threshold.
        crowd.reduce(3).filter(ImageFilter.GaussianBlur(1)).save(index.parent / "landscape.jpg", quality=60)
    for photo in read_index(index):
        observation = look(photo)
        predicted = [as_json(face) for face in analyzer.analyze(photo.path).faces]
        assert [as_json(one.face) for one in observation.seen if one.returned] == predicted
        assert len(observation.traits) == (len(photo.faces) if photo.is_scene else 1)


def strict_weights(weights: Path, folder: Path, **changed: float) -> Path:
    """Copy weights to a folder whose detector returns next to nothing."""
    strict = Path(shutil.copytree(weights, folder))
    settings = json.loads((strict / "detector.json").read_text()) | changed
    settings["stages"]["onet"]["threshold"] = 0.9999
    (strict / "detector.json").write_text(json.dumps(settings))
    return strict


def test_a_face_that_is_returned_for_want_of_surer_ones_is_seen_once(
    index: Path, weights: Path, tmp_path: Path
) -> None:
    look = Looking(strict_weights(weights, tmp_path / "strict"), ("CPUExecutionProvider",)).prepare()
    seen = look(read_index(index)[-1]).seen
    (returned,) = [one for one in seen if one.returned]
    assert returned.face.score == max(one.face.score for one in seen)
    assert len({one.face.box for one in seen}) == len(seen) > 1


def test_it_sees_what_a_strict_detector_leaves_out(index: Path, weights: Path, tmp_path: Path) -> None:
    strict = strict_weights(weights, tmp_path / "strict", lone_threshold=0.9999)
    look, usual = (Looking(folder, ("CPUExecutionProvider",)).prepare() for folder in (strict, weights))
    photo = read_index(index)[-1]
    seen = look(photo).seen
    assert {one.face.box for one in usual(photo).seen} <= {one.face.box for one in seen}
    assert len({one.face.box for one in seen}) == len(seen)
    assert {one.returned for one in seen if one.face.score < 0.9998} == {False}
    assert Looking(strict, None).threshold == 0.9999


def test_stored_predictions_give_the_same_numbers(index: Path, weights: Path, tmp_path: Path) -> None:
    stored = tmp_path / "predictions.json"
    assert main(["predict", str(index.parent), "--json", str(stored), "--weights", str(weights)]) == 0
    for name, more in (("run", ["--weights", str(weights)]), ("stored", ["--predictions", str(stored)])):
        arguments = ["evaluate", str(index.parent), "--bootstrap", "20", "--out", str(tmp_path / name)]
        assert main([*arguments, *more]) == 0
    run, judged = report_of(tmp_path / "run"), report_of(tmp_path / "stored")
    for section in ("classification", "posts", "photos_without_boxes", "mistakes"):
        assert judged[section] == run[section]
    for key in ("recall", "strays_per_photo"):
        assert judged["detection"]["photos"][key] == run["detection"]["photos"][key]
    assert judged["slices"]["blur"] == run["slices"]["blur"]
    assert judged["slices"]["yaw"]["groups"] == []  # no landmark is stored


def test_a_photograph_that_was_not_predicted_counts_as_one_without_a_face(index: Path, tmp_path: Path) -> None:
    stored = tmp_path / "predictions.json"
    stored.write_text(json.dumps({str(index.parent / "portrait.jpg"): []}))
    out = tmp_path / "out"
    assert main(["evaluate", str(index), "--predictions", str(stored), "--out", str(out)]) == 0
    report = report_of(out)
    assert report["detection"]["photos"]["recall"]["value"] == 0
    assert report["about"]["photos_not_predicted"] == 3
    assert not (out / "confusion.png").exists()


def test_predictions_of_other_photographs_are_refused(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "predictions.json"
    stored.write_text(json.dumps({"elsewhere/photo.jpg": []}))
    assert main(["evaluate", str(index), "--predictions", str(stored), "--out", str(tmp_path / "out")]) == 2
    assert "knows none of the 4 photographs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("probabilities", "why"),
    [({"mask": 0.4, "scarf": 0.6}, "the state 'scarf'"), ({}, "no state")],
)
def test_faces_of_other_states_are_refused(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], probabilities: dict[str, float], why: str
) -> None:
    stored = tmp_path / "predictions.json"
    face = {"xyxy": FACE, "score": 0.9, "probabilities": probabilities}
    stored.write_text(json.dumps({str(index.parent / "portrait.jpg"): [face]}))
    assert main(["evaluate", str(index), "--predictions", str(stored), "--out", str(tmp_path / "out")]) == 2
    assert f"a found face has {why}; only mask, no_mask" in capsys.readouterr().err


def test_a_damaged_photograph_is_named_and_counts_as_one_without_a_face(
    index: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (index.parent / "portrait.jpg").write_bytes(b"no photo")
    out = tmp_path / "out"
    arguments = ["evaluate", str(index), "--weights", str(weights), "--out", str(out), "--bootstrap", "20"]
    assert main(arguments) == 0
    assert f"skipped {index.parent / 'portrait.jpg'}: the file is none of" in capsys.readouterr().err
    assert report_of(out)["detection"]["photos"]["recall"]["value"] == 0.5
    assert report_of(out)["about"]["photos_not_read"] == 1


def test_nothing_readable_is_a_failure(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    index = write_index(tmp_path, [{"file": "a.jpg", "boxes": [{"label": "mask", "xyxy": [0, 0, 50, 50]}]}])
    assert main(["evaluate", str(index), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1


def test_without_matplotlib_there_are_no_charts_but_all_numbers(
    index: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    out = tmp_path / "out"
    assert main(["evaluate", str(index), "--weights", str(weights), "--out", str(out), "--bootstrap", "20"]) == 0
    assert {path.name for path in out.iterdir()} == {"report.json", "report.md", "mistakes.png"}
    assert "matplotlib is not installed" in capsys.readouterr().err


BOX = {"label": "mask", "xyxy": [0, 0, 50, 50]}


@pytest.mark.parametrize(
    ("row", "column", "why"),
    [
        ({"file": "missing.jpg"}, "file", "there is no photograph"),
        ({"file": " "}, "file", "it is empty"),
        ({"part": ""}, "part", "it is empty"),
        ({"file": "a.jpg"}, "file", "'a.jpg' is in row 2 already"),
        ({"split": "test"}, "split", "'test' is neither 'train' nor 'val'"),
        ({"label": "masked"}, "label", "'masked' is none of boxes, mask, no_mask, incorrect, occluded"),
        ({"part": "others"}, "label", "'boxes' is none of mask, no_mask, incorrect, occluded, and"),
        ({"boxes": "[{"}, "boxes", "it is no JSON"),
        ({"boxes": "{}"}, "boxes", "it is no list of boxes"),
        ({"boxes": [BOX, {"label": "mask"}]}, "boxes", "box 2 has no 'label' and 'xyxy'"),
        ({"boxes": [BOX, {**BOX, "label": "hat"}]}, "boxes", "the label 'hat' of box 2 is none of"),
        ({"boxes": [{**BOX, "xyxy": [0, 0, 50]}]}, "boxes", "'xyxy' of box 1 is not four numbers"),
        ({"boxes": [{**BOX, "xyxy": [0, 0, 50, "50"]}]}, "boxes", "'xyxy' of box 1 is not four numbers"),
        ({"boxes": '[{"label": "mask", "xyxy": [0, 0, 50, NaN]}]'}, "boxes", "'xyxy' of box 1 is not four numbers"),
        ({"boxes": [{**BOX, "xyxy": [50, 0, 50, 50]}]}, "boxes", "box 1 has no extent"),
    ],
)
def test_what_is_wrong_in_the_index_is_named_by_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], column: str, why: str
) -> None:
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (60, 60)).save(tmp_path / name)
    index = write_index(tmp_path, [{"file": "a.jpg", "boxes": [BOX]}, {"file": "b.jpg", **row}])
    assert main(["evaluate", str(index), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {index}, row 3, column {column}: {why}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file,part,split,boxes\n", "row 1: there is no column 'label'"),
        ("file,part,split,label,boxes\na.jpg,p,val,mask\n", "row 2, column boxes: the row ends before this column"),
        ("file,part,split,label,boxes\n", "has no photograph of the split 'val'"),
    ],
)
def test_a_table_of_another_shape_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    (tmp_path / "index.csv").write_text(text)
    assert main(["evaluate", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err


def test_what_is_not_there_is_said_to_be_missing(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "nowhere.csv")]) == 2
    assert "there is no table of labelled photographs" in capsys.readouterr().err
    assert main(["evaluate", str(index), "--parts", "photos,streets"]) == 2
    assert "has no part 'streets'; it has crowds, photos" in capsys.readouterr().err
    assert main(["evaluate", str(index), "--split", "train"]) == 2
    assert "has no photograph of the split 'train'" in capsys.readouterr().err


def test_a_split_and_parts_choose_the_photographs(index: Path) -> None:
    rows = index.read_text().replace("landscape.jpg,photos,val", "landscape.jpg,photos,train")
    index.write_text(rows)
    assert [photo.file for photo in read_index(index, "val", ["photos"])] == ["portrait.jpg", "surgical.jpg"]
    assert [photo.file for photo in read_index(index, "all", ["photos"])][-1] == "landscape.jpg"
    assert [photo.file for photo in read_index(index, "val", ["crowds"])] == ["crowds/crowd.jpg"]
    with pytest.raises(ValueError, match="has no boxes"):
        read_index(index, "train")  # on its own nothing says that this is a boxed part


def test_a_large_photograph_is_judged_in_its_own_pixels(weights: Path, tmp_path: Path, portrait: Pixels) -> None:
    large = Image.fromarray(portrait)
    large = large.resize((large.width * 8, large.height * 8))
    large.save(tmp_path / "large.jpg")
    rows = [{"file": "large.jpg", "boxes": [{"label": "no_mask", "xyxy": [8 * edge for edge in FACE]}]}]
    observation = Looking(weights, ("CPUExecutionProvider",)).prepare()(read_index(write_index(tmp_path, rows))[0])
    box = max((one.face for one in observation.seen), key=lambda face: face.score).box
    assert np.abs(np.array([box.x1, box.y1, box.x2, box.y2]) / 8 - FACE).max() < 15
    (traits,) = observation.traits
    (small,) = measure(Octaves(portrait), [FACE])
    assert traits is not None
    assert traits.brightness == pytest.approx(small.brightness, abs=2)


def test_blur_brightness_and_pattern_are_told_apart(portrait: Pixels) -> None:
    (sharp,) = measure(Octaves(portrait), [FACE])
    (blurred,) = measure(Octaves(np.asarray(cv2.GaussianBlur(portrait, (0, 0), 4), np.uint8)), [FACE])
    (dark,) = measure(Octaves(portrait // 4), [FACE])
    assert blurred.blur < sharp.blur / 4
    assert dark.blur == pytest.approx(sharp.blur, rel=0.2)
    assert BRIGHTNESS.group(dark.brightness) == "dark"
    assert BRIGHTNESS.group(sharp.brightness) != "dark"
    with Image.open(DEMO / "patterned.jpg") as patterned, Image.open(DEMO / "surgical.jpg") as plain:
        (printed,), (one_colour,) = (measure(Octaves(np.array(image)), [FACE]) for image in (patterned, plain))
    assert PATTERN.group(printed.pattern) == "patterned"
    assert PATTERN.group(one_colour.pattern) == "plain"


def test_skin_is_measured_where_it_shows_and_not_where_there_is_none(portrait: Pixels) -> None:
    (face,) = measure(Octaves(portrait), [FACE])
    (darker,) = measure(Octaves(np.asarray(portrait * 0.5, np.uint8)), [FACE])
    (gray,) = measure(Octaves(np.full_like(portrait, 128)), [FACE])
    assert face.skin is not None
    assert darker.skin is not None
    assert darker.skin < face.skin
    assert gray.skin is None


@pytest.mark.parametrize(("aside", "group"), [(0, "frontal"), (4, "frontal"), (14, "half turned"), (30, "side view")])
@pytest.mark.parametrize("tilt", [0, 30])
def test_yaw_is_read_from_where_the_nose_lies_between_the_eyes(aside: float, group: str, tilt: float) -> None:
    points = np.array([[-20, 0], [20, 0], [aside, 25], [-16, 45], [16, 45]], float)
    turn = np.radians(tilt)
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    assert YAW.group(yaw_of(turned)) == group
    assert yaw_of(turned * [-1, 1]) == pytest.approx(yaw_of(turned))


def test_landmarks_of_no_face_have_no_yaw() -> None:
    assert yaw_of(np.zeros((5, 2))) is None
    assert YAW.group(None) is None
