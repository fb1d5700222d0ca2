"""What is counted on photographs of which everything is known, by hand."""

import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ml.evaluation.cases import Judged
from ml.evaluation.classification import classify
from ml.evaluation.command import ALL_PARTS, judged_report
from ml.evaluation.detection import Detection, DetectionCounts, thresholds_of
from ml.evaluation.groups import labelled as without_boxes
from ml.evaluation.groups import slices
from ml.evaluation.index import read_index
from ml.evaluation.matching import Match, match, overlaps
from ml.evaluation.mistakes import contact_sheet, draw_sheet, worst
from ml.evaluation.posts import Posts, Rule, judge_posts
from ml.evaluation.reading import Observation, Seen
from ml.evaluation.report import Report
from ml.evaluation.stats import Resampler
from ml.evaluation.traits import Traits
from ml.types import STATES, FaceReading
from tests.ml.labelled import Corners, face_at, judged, labelled, seen_on

SCORER = Path(__file__).resolve().parents[3] / "shared" / "tools" / "score.py"
INDEX = SCORER.parents[1] / "data" / "index.csv"

FACE: Corners = (0, 0, 100, 100)
ELSEWHERE: Corners = (300, 300, 400, 400)


def detection_of(photos: list[Judged]) -> Detection:
    resampler = Resampler(len(photos), 50, seed=0)
    return DetectionCounts(photos, floor=0.1).judge(np.ones(len(photos), np.bool_), resampler)


def posts_of(photos: list[Judged], rule: Rule | None = None) -> Posts:
    return judge_posts(photos, np.ones(len(photos), np.bool_), rule or Rule(), Resampler(len(photos), 50, seed=0))


def test_the_pair_that_overlaps_most_is_taken_first() -> None:
    # The first found face fits both labels, the second one only the first label.
    shares = overlaps([(0, 0, 100, 100), (50, 0, 150, 100)], [(30, 0, 130, 100), (-20, 0, 80, 100)])
    assert shares.round(3).tolist() == [[0.538, 0.667], [0.667, 0.176]]
    assert match(shares).hits == {1: 0, 0: 1}


def test_only_faces_that_are_looked_at_are_matched_or_stray() -> None:
    shares = overlaps([FACE], [FACE, (10, 0, 100, 100), ELSEWHERE])
    assert match(shares, among=[1]) == Match({0: 1}, ())
    assert match(shares, among=[2]) == Match({}, (2,))


@pytest.mark.parametrize(
    ("xyxy", "hits", "strays"),
    [
        ((0, 0, 100, 40), 1, 0),  # overlaps by 0.4: a hit
        ((0, 0, 100, 39), 0, 0),  # by 0.39: neither hit nor stray
        ((0, 0, 100, 30), 0, 0),  # by 0.3: near enough to be no stray
        ((0, 0, 100, 29), 0, 1),
        (ELSEWHERE, 0, 1),
    ],
)
def test_hits_and_strays_begin_at_their_overlaps(xyxy: Corners, hits: int, strays: int) -> None:
    found = match(overlaps([FACE], [xyxy]))
    assert (len(found.hits), len(found.strays)) == (hits, strays)


def test_no_box_and_no_face_is_no_error() -> None:
    assert match(overlaps([], [])).hits == {}
    assert match(overlaps([], [FACE])).strays == (0,)
    assert match(overlaps([FACE], [])).hits == {}


@pytest.mark.parametrize(
    "face", [labelled((0, 0, 23, 60)), labelled(label="ignore"), labelled(joke=True)], ids=["small", "ignore", "joke"]
)
def test_what_does_not_count_is_neither_hit_nor_miss_nor_stray(face: Any) -> None:
    photo = seen_on([face, labelled(ELSEWHERE)], [face_at(face.xyxy), face_at(ELSEWHERE)])
    found = detection_of(judged(photo))
    assert (found.recall.value, found.recall.n, found.strays_per_photo.value) == (1, 1, 0)


def test_recall_is_counted_by_state_and_by_size() -> None:
    small: Corners = (200, 0, 230, 40)
    photo = seen_on([labelled(), labelled(small, "no_mask")], [face_at(FACE)])
    found = detection_of(judged(photo, seen_on([labelled(label="no_mask")], [face_at(FACE)])))
    assert found.recall.value == pytest.approx(2 / 3)
    assert {state: one.value for state, one in found.recall_by_state.items()} == {"mask": 1, "no_mask": 0.5}
    assert {size: (one.value, one.n) for size, one in found.recall_by_size.items()} == {
        "24-32 px": (0, 1),
        "64-128 px": (1, 2),
    }


def test_a_lower_threshold_finds_more_and_strays_more() -> None:
    photo = seen_on(
        [labelled(), labelled(ELSEWHERE)],
        [face_at(FACE, score=0.9), face_at(ELSEWHERE, score=0.3), face_at((600, 0, 700, 100), score=0.2)],
    )
    found = detection_of(judged(photo))
    assert (found.recall.value, found.strays_per_photo.value) == (0.5, 0)  # at the threshold in use, 0.5
    assert [(point.threshold, point.recall, point.strays_per_photo) for point in found.curve] == [
        (0.9, 0.5, 0.0),
        (0.3, 1.0, 0.0),
        (0.2, 1.0, 1.0),
        (0.1, 1.0, 1.0),
    ]
    assert found.precision_average.value == 1


def test_average_precision_falls_by_strays_that_score_higher_than_faces() -> None:
    photo = seen_on(
        [labelled(), labelled(ELSEWHERE)],
        [face_at(FACE, score=0.6), face_at(ELSEWHERE, score=0.5), face_at((600, 0, 700, 100), score=0.9)],
    )
    found = detection_of(judged(photo))
    # First a stray, then a hit, then another: precision 1/2 and 2/3, and the better one counts for both halves.
    assert found.precision_average.value == pytest.approx(2 / 3)
    assert found.average_by_size["64-128 px"].value == pytest.approx(2 / 3)


def test_a_stray_counts_against_faces_of_its_size_only() -> None:
    small: Corners = (300, 0, 350, 50)
    photo = seen_on(
        [labelled(), labelled(small)],
        [face_at(FACE, score=0.6), face_at(small, score=0.6), face_at((600, 0, 650, 50), score=0.9)],
    )
    averages = detection_of(judged(photo)).average_by_size
    assert {size: one.value for size, one in averages.items()} == {"32-64 px": 0.5, "64-128 px": 1}


def test_thresholds_are_the_scores_that_were_found_and_the_floor() -> None:
    assert thresholds_of([0.5, 0.9, 0.5], 0.1).tolist() == [0.9, 0.5, 0.1]
    many = thresholds_of(np.linspace(0.2, 1, 999).tolist(), 0.1, count=10)
    assert len(many) == 10
    assert (many[0], many[-1]) == (1.0, 0.1)


def test_the_measures_of_the_classifier_by_hand() -> None:
    said = {
        "mask": ["mask"] * 4,
        "no_mask": ["no_mask", "no_mask", "mask", "no_mask"],
        "incorrect": ["incorrect", "mask"],
    }
    photos = judged(
        *(
            seen_on([labelled(label=state)], [face_at(FACE, label, chance=0.7)])
            for state, labels in said.items()
            for label in labels
        )
    )
    cases = [case for photo in photos for case in photo.cases]
    result = classify(cases, len(photos), Resampler(len(photos), 50, seed=0))
    values = {name: estimate.value for name, estimate in result.measures.items()}
    assert result.confusion.tolist() == [[4, 0, 0, 0], [1, 3, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert values["mask_called_mask"] == 1
    assert values["no_mask_not_called_mask"] == 0.75
    assert values["binary_balanced"] == 0.875
    assert values["incorrect_called_incorrect"] == values["incorrect_called_mask"] == 0.5
    assert values["macro_f1_of_three"] == pytest.approx((8 / 10 + 6 / 7 + 2 / 3) / 3)
    # Sure by 0.7 each time, and right in 8 of 10.
    assert values["expected_calibration_error"] == pytest.approx(0.1)
    assert values["log_loss"] == pytest.approx(-(8 * np.log(0.7) + 2 * np.log(0.1)) / 10)
    right, wrong = 0.3**2 + 3 * 0.1**2, 0.7**2 + 0.9**2 + 2 * 0.1**2
    assert values["brier"] == pytest.approx((8 * right + 2 * wrong) / 10)
    assert (result.top.faces[7], result.top.said[7], result.top.true[7]) == (10, 0.7, 0.8)
    assert result.mask.true[7] == pytest.approx(4 / 6, abs=1e-4)


def test_a_missed_face_is_not_held_against_the_classifier() -> None:
    photos = judged(seen_on([labelled()], []), seen_on([labelled()], [face_at(FACE)]))
    result = classify([case for photo in photos for case in photo.cases], 2, Resampler(2, 50, seed=0))
    assert result.faces == 1
    assert result.measures["mask_called_mask"].value == 1
    assert result.measures["macro_f1_of_three"].value is None


def test_a_post_is_masked_if_all_its_faces_are() -> None:
    two = [labelled(), labelled(ELSEWHERE)]
    both = [face_at(FACE), face_at(ELSEWHERE)]
    photos = judged(
        seen_on(two, both),  # masked, and said so
        seen_on(two, [face_at(FACE)]),  # masked, said so though one face is missed
        seen_on(two, [face_at(FACE), face_at(ELSEWHERE, "no_mask")]),  # masked, not said so
        seen_on(two, []),  # masked, but nobody is found
        seen_on([labelled(), labelled(ELSEWHERE, "no_mask")], both),  # not masked, and said to be
        seen_on([labelled(joke=True)], both),  # nothing on it counts
    )
    posts = posts_of(photos)
    assert (posts.photos, posts.masked) == (5, 4)
    assert posts.precision.value == pytest.approx(2 / 3)
    assert posts.recall.value == 0.5


def test_thresholds_send_the_doubtful_to_a_person() -> None:
    photos = judged(
        *(seen_on([labelled()], [face_at(FACE, chance=chance)]) for chance in (0.99, 0.6, 0.2)),
        seen_on([labelled()], []),
        seen_on([labelled(label="no_mask")], [face_at(FACE, "mask", chance=0.6)]),
    )
    steps = {step.threshold: step for step in posts_of(photos, Rule(likely=0.5)).sweep}
    at = steps[0.9]
    # Of five posts one is surely masked and two are sent on; of four masked ones two are lost, one by not being found.
    assert (at.precision.value, at.recall.value) == (1, 0.25)
    assert (at.uncertain.value, at.lost.value) == (0.4, 0.5)
    assert steps[0.6].precision.value == pytest.approx(2 / 3)
    assert steps[0.6].uncertain.value == 0


def test_a_rule_asks_only_faces_that_are_sure_and_large_enough() -> None:
    behind: Corners = (300, 0, 330, 30)
    people = [labelled(), labelled(behind, "no_mask")]
    photo = judged(
        seen_on(people, [face_at(FACE), face_at(behind, "no_mask"), face_at(ELSEWHERE, "no_mask", 0.9, 0.6)])
    )
    assert posts_of(photo).masked == 0
    assert {step.recall.value for step in posts_of(photo, Rule(min_ratio=0.4)).sweep if step.threshold < 0.9} == {0}
    step = posts_of(photo, Rule(min_score=0.7, min_ratio=0.4)).sweep[5]
    assert (step.threshold, step.precision.value, step.recall.value) == (0.6, 1, 1)


def test_slices_group_faces_by_what_was_measured() -> None:
    dark = Traits(blur=0.01, brightness=40, skin=None, pattern=9)
    photos = judged(
        seen_on([labelled()], [face_at(FACE)], traits=dark, yaw=60),
        seen_on([labelled()], [face_at(FACE, "no_mask")], traits=dark),
        seen_on([labelled()], []),
        seen_on([labelled(label="no_mask")], [face_at(FACE, "mask")]),
        seen_on([], [face_at((0, 0, 40, 40), "no_mask")], part="portraits", label="no_mask"),
    )
    found = {one.slice.name: one for one in slices([c for p in photos for c in p.cases], 5, Resampler(5, 50, seed=0))}
    groups = {(name, group.name): group for name, one in found.items() for group in one.groups}
    assert (groups["brightness", "dark"].recall.value, groups["brightness", "dark"].recall.n) == (1, 2)
    assert groups["brightness", "dark"].right.value == 0.5
    assert groups["brightness", "in between"].recall.value == 0.5
    assert groups["brightness", "in between"].other_called_mask.value == 0.5
    assert groups["size", "32-64 px"].recall.n == 0  # nobody boxed that face
    assert groups["size", "32-64 px"].right.value == 1
    assert found["skin tone"].unmeasured == 2
    assert groups["yaw", "side view"].right.n == 1
    assert groups["yaw", "frontal"].recall.value is None  # a face that is not found has no landmarks
    assert groups["pattern", "patterned"].mask_called_mask.value == 0.5
    assert found["pattern"].unmeasured == 0


def test_photographs_without_boxes_are_judged_by_their_label() -> None:
    seen = [
        [face_at(FACE, "occluded"), face_at(ELSEWHERE, "mask")],
        [face_at(FACE, "no_mask")],
        [face_at(FACE, "occluded", score=0.2)],  # below the threshold
    ]
    photos = judged(*(seen_on([], faces, part="smoker", label="occluded") for faces in seen))
    (one,) = without_boxes(photos, Resampler(3, 50, seed=0))
    assert (one.part, one.label, one.photos) == ("smoker", "occluded", 3)
    assert one.face_found.value == pytest.approx(2 / 3)
    assert one.some_face_mask.value == pytest.approx(1 / 3)
    assert one.largest_right.value == 0.5


def test_the_worst_mistakes_come_first() -> None:
    photos = judged(
        seen_on([labelled((0, 0, 50, 50)), labelled()], []),
        seen_on([labelled(label="no_mask")], [face_at(FACE, "mask", 0.6), face_at(ELSEWHERE, "no_mask", score=0.7)]),
        seen_on([labelled(label="incorrect")], [face_at(FACE, "mask", 0.9), face_at(ELSEWHERE, "no_mask", score=0.8)]),
    )
    captions = {kind: [one.caption for one in of] for kind, of in worst(photos).items()}
    assert captions == {
        "missed faces": ["mask 100 px", "mask 50 px"],
        "strays": ["stray 0.80 no_mask", "stray 0.70 no_mask"],
        "called mask, and is none": ["incorr>mask 0.90", "no_mask>mask 0.60"],
        "called wrongly otherwise": [],
    }


def test_a_sheet_without_mistakes_is_still_a_picture() -> None:
    assert draw_sheet(worst(judged(seen_on([labelled()], [face_at(FACE)])))).shape[2] == 3


def test_a_contact_sheet_holds_every_crop() -> None:
    sheet = contact_sheet(np.full((13, 96, 96, 3), 9, np.uint8), ["x"] * 13)
    assert sheet.shape == (2 * 110, 12 * 98, 3)
    assert contact_sheet(np.empty((0, 96, 96, 3), np.uint8), []).ndim == 3


@pytest.fixture
def scorer() -> ModuleType:
    """Load the scorer that the project is judged by, where it is."""
    if not SCORER.is_file() or not INDEX.is_file():
        pytest.skip("the labelled photographs are not here")
    spec = util.spec_from_file_location("score", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def invented(photos: list[Any], seed: int) -> dict[str, list[FaceReading]]:
    """Return faces found near the labelled ones and elsewhere, labels right and wrong."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[FaceReading]] = {}
    for photo in photos:
        faces = []
        for face in photo.faces:
            for _ in range(int(rng.choice(3, p=[0.15, 0.75, 0.1]))):
                x1, y1, x2, y2 = face.xyxy
                dx, dy, dw, dh = rng.normal(0, 0.15, 4)
                left, top = x1 + dx * (x2 - x1), y1 + dy * (y2 - y1)
                xyxy = (left, top, left + (x2 - x1) * np.exp(dw), top + (y2 - y1) * np.exp(dh))
                right = face.label in STATES and rng.random() < 0.8
                label = face.label if right else str(rng.choice(STATES))
                faces.append(face_at(xyxy, label, float(rng.uniform(0.4, 1)), float(rng.uniform(0.5, 1))))
        for _ in range(rng.poisson(0.3 if photo.is_scene else 0.9)):
            left, top, side = rng.uniform(0, 300), rng.uniform(0, 300), rng.uniform(20, 120)
            faces.append(face_at((left, top, left + side, top + side), str(rng.choice(STATES)), 0.5))
        found[photo.file] = faces
    return found


def as_scored(report: Report) -> dict[str, dict[str, Any]]:
    """Return the scorer's numbers, by its names, as they stand in the report."""
    written = report.as_json()
    scored: dict[str, dict[str, Any]] = {}
    for part in written["detection"]:
        detection, classes, posts = (written[key][part] for key in ("detection", "classification", "posts"))
        recall = {state: one["recall"] for state, one in detection["by_state"].items()}
        scored[part] = {
            "photos": detection["photos"],
            "faces": {state: one["n"] for state, one in recall.items()},
            "recall": {state: recall[state]["value"] for state in STATES[:3] if state in recall},
            "stray_per_photo": round(detection["strays_per_photo"]["value"], 3),
            "confusion": classes["confusion"],
            "post_masked_precision": posts["precision"]["value"] or 0.0,
            "post_masked_recall": posts["recall"]["value"] or 0.0,
        }
        names = {
            "mask_acc": "mask_called_mask",
            "no_mask_not_called_mask": "no_mask_not_called_mask",
            "binary_balanced": "binary_balanced",
            "incorrect_acc": "incorrect_called_incorrect",
            "incorrect_called_mask": "incorrect_called_mask",
            "macro_f1_3": "macro_f1_of_three",
        }
        values = {name: classes[ours]["value"] for name, ours in names.items()}
        scored[part] |= {name: value for name, value in values.items() if value is not None}
    for part, labels in written["photos_without_boxes"].items():
        scored[part] = {
            label: {
                "photos": one["photos"],
                "face_found": one["face_found"]["value"],
                "some_face_mask": one["some_face_mask"]["value"],
            }
            for label, one in labels.items()
        }
    return scored


@pytest.mark.parametrize("seed", [1, 2])
def test_the_numbers_are_those_of_the_scorer(scorer: ModuleType, seed: int) -> None:
    photos = read_index(INDEX, "val")
    found = invented(photos, seed)
    observations = [
        Observation(
            photo,
            tuple(Seen(face, True, None) for face in found[photo.file]),
            (None,) * (len(photo.faces) if photo.is_scene else 1),
        )
        for photo in photos
    ]
    about = {"detector_floor": 0.5, "detector_threshold": 0.5}
    ours = as_scored(judged_report(about, judged(*observations), Resampler(len(photos), 2, seed=0), Rule()))
    ours.pop(ALL_PARTS)
    predictions = {file: [_as_scorer_reads(face) for face in faces] for file, faces in found.items()}
    theirs = scorer.score(scorer.read_pool(INDEX, "val"), predictions)
    assert ours.keys() == theirs.keys()
    for part, numbers in theirs.items():
        for name, value in numbers.items():
            if name != "end_to_end" and (name in ours[part] or not _needs_all_states(name, numbers)):
                assert ours[part][name] == value, (part, name)


def _as_scorer_reads(face: FaceReading) -> Mapping[str, Any]:
    box = face.box
    return {"xyxy": [box.x1, box.y1, box.x2, box.y2], "score": face.score, "label": face.label}


def _needs_all_states(name: str, numbers: Mapping[str, Any]) -> bool:
    """Tell if the scorer writes 0 for want of a face, where nothing is written here."""
    missing = {state for state in STATES[:3] if state not in numbers["faces"]}
    return bool(missing) and name in {"mask_acc", "binary_balanced", "macro_f1_3"}
