"""What is made of bare and masked training faces, and what it is called."""

from dataclasses import replace

import numpy as np
import pytest

from ml.geometry import OUTSIDE
from ml.training import synthesis
from ml.training.crops import Faces
from ml.training.data import TRANSFER
from ml.training.synthesis import drawable, synthesize
from ml.types import STATES
from tests.training.test_data import make_faces
from tests.training.test_transfer import MARKS, bare_face, masked_face

MASK, BARE, INCORRECT = (STATES.index(state) for state in ("mask", "no_mask", "incorrect"))


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Return masked and bare heads in turns, the last two of them held out."""
    count = 24
    plain = make_faces(count)
    masked = np.arange(count) % 2 == 0
    crops = np.where(masked[:, None, None, None], masked_face()[None], bare_face()[None])
    return replace(
        plain,
        crops=crops,
        landmarks=np.tile(MARKS, (count, 1, 1)),
        states=np.where(masked, MASK, BARE),
        parts=np.full(count, "ilc_scenes"),
        splits=np.array(["train"] * (count - 2) + ["val"] * 2),
    )


@pytest.fixture(scope="module")
def made(faces: Faces) -> Faces:
    return Faces.join(list(synthesize(faces)))


def test_a_bare_face_gets_masks_well_and_badly_worn_of_both_kinds(made: Faces) -> None:
    kinds = set(zip(made.parts.tolist(), made.states.tolist(), strict=True))
    assert {(part, state) for part in ("drawn", TRANSFER) for state in (MASK, INCORRECT)} <= kinds


def test_a_masked_face_gets_a_bare_nose_and_is_then_incorrect(faces: Faces, made: Faces) -> None:
    of_masked = np.isin(made.files, faces.files[faces.states == MASK])
    assert of_masked.any()
    assert set(made.states[of_masked].tolist()) == {INCORRECT}
    assert set(made.parts[of_masked].tolist()) == {TRANSFER}


def test_nothing_is_made_of_a_face_that_is_held_out(faces: Faces, made: Faces) -> None:
    assert not set(made.files.tolist()) & set(faces.files[faces.splits == "val"].tolist())


def test_the_same_seed_makes_the_same_faces(faces: Faces) -> None:
    few = faces.pick(np.arange(6))
    one, other = (Faces.join(list(synthesize(few, seed=3))) for _ in range(2))
    assert np.array_equal(one.crops, other.crops)
    assert one.states.tolist() == other.states.tolist()


def test_no_chin_gets_a_mask_where_the_photo_ends_at_the_mouth(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "BRUSHED", {"chin": 2.0})
    monkeypatch.setattr(synthesis, "MOVED", {"full": 0.0, "under_nose": 0.0, "chin": 2.0})
    bare = faces.files[faces.states == BARE]
    whole = Faces.join(list(synthesize(faces)))
    assert (np.isin(whole.files, bare) & (whole.states == INCORRECT)).sum() > 30
    crops = faces.crops.copy()
    crops[faces.states == BARE, 88:] = OUTSIDE
    ended = Faces.join(list(synthesize(replace(faces, crops=crops))))
    assert not (np.isin(ended.files, bare) & (ended.states == INCORRECT)).any()


def test_smokers_small_faces_and_faces_without_landmarks_are_left_alone(faces: Faces) -> None:
    bare = drawable(faces)
    assert len(bare) == 11
    assert not len(drawable(replace(faces, parts=np.full(len(faces), "smoker"))))
    assert not len(drawable(replace(faces, sizes=np.full(len(faces), 20, np.float32))))
    assert not len(drawable(replace(faces, landmarks=np.full_like(faces.landmarks, np.nan))))
