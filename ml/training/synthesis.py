"""Make more of what is scarce: masks, badly worn masks and hands on bare training faces, bare noses on masked ones."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE
from ml.training.crops import MARGIN, SIDE, Faces
from ml.training.data import DRAWN, TRANSFER
from ml.training.draw_extras import EXTRAS, draw_extra
from ml.training.draw_masks import Floats, Image, draw_mask, fit_camera
from ml.training.draw_occluders import HANDS, THIN, THINGS, draw_occluder
from ml.training.draw_styles import wild_style
from ml.training.transfer import PLACES, RealMask, bare_nose, likely, put, skin_around_eyes, take_all
from ml.types import STATES

# How many of each kind per bare face, on average: from our own brush, and real masks of others.
BRUSHED = {"full": 0.8, "under_nose": 0.8, "chin": 0.3, "hanging": 0.1, "hand": 0.9, "thing": 0.7, "thin": 0.25}
MOVED = {"full": 1.2, "under_nose": 2.2, "chin": 0.9}
SHIELDED, DRESSED = 0.1, 0.1  # bare faces with a clear shield; made ones with glasses, a hat or a shield
STUDIO = ("celeba_no_mask", "ffhq_no_mask")  # aligned portraits, of which there are too many: half as often
BEFORE = {"hand": (HANDS, "occluded"), "thing": (THINGS, "occluded"), "thin": (THIN, "no_mask")}
NOSES = 2  # at most, per masked face
FRONTAL = 0.35  # the sideways part of a viewing axis up to which a nose is put on
FACE = SIDE / MARGIN  # pixels of a face's longer side in a cut


def drawable(faces: Faces) -> NDArray[np.int64]:
    """Return the bare training faces whose landmarks look like a face; smokers' hands would be drawn over."""
    marks = faces.landmarks
    eyes = np.linalg.norm(marks[:, 1] - marks[:, 0], axis=1)
    drop = (marks[:, 3:].mean(axis=1) - marks[:, :2].mean(axis=1))[:, 1]
    fine = ~np.isnan(eyes) & (eyes > 0.12 * FACE) & (drop > 0.2 * FACE) & (drop < 0.8 * FACE)
    bare = (faces.states == STATES.index("no_mask")) & (faces.splits == "train") & (faces.parts != "smoker")
    return np.flatnonzero(fine & bare & (faces.sizes >= 32))


def _shows(cover: Floats, crop: Image, scale: float) -> bool:
    """Tell whether enough of what was put on lies inside the photo, which may end under the mouth."""
    inside = float((cover * (crop != OUTSIDE).any(axis=2)).sum())
    return inside > 0.55 * float(cover.sum()) and inside > 0.4 * scale**2


def _finish(made: Image, crop: Image, pixels: float, rng: np.random.Generator) -> Image:
    """Leave what lies outside the photo alone, and make the face no sharper than its softer source was."""
    made = np.where((crop == OUTSIDE).all(axis=2, keepdims=True), OUTSIDE, made).astype(np.uint8)
    small = max(24, round(SIDE * min(1.0, pixels / FACE) * float(rng.uniform(0.7, 1.0))))
    blurred = cv2.resize(made, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(blurred, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def _dress(made: Image, marks: Floats, rng: np.random.Generator) -> Image:
    """Put glasses, a hat or a shield on some: what hides the eyes must not decide either."""
    if rng.random() >= DRESSED:
        return made
    return draw_extra(made, marks, str(rng.choice(EXTRAS)), int(rng.integers(2**31)))[0]


def _rows(faces: Faces, row: int, made: list[tuple[Image, str, str]]) -> Faces:
    """Return the pictures made of one face as rows: each a crop, a state and a part, all else the face's own."""
    same = faces.pick(np.full(len(made), row))
    return Faces(
        crops=np.stack([crop for crop, _, _ in made]),
        boxes=same.boxes,
        landmarks=same.landmarks,
        states=np.array([STATES.index(state) for _, state, _ in made], np.int64),
        parts=np.array([part for _, _, part in made]),
        splits=same.splits,
        files=same.files,
        sizes=same.sizes,
        hashes=same.hashes,
    )


def _on_bare(
    faces: Faces, row: int, masks: list[RealMask], rng: np.random.Generator
) -> Iterator[tuple[Image, str, str]]:
    """Yield one bare face with things drawn on it and with real masks."""
    crop, pixels = faces.crops[row], float(faces.sizes[row])
    often = 0.5 if faces.parts[row] in STUDIO else 1.0
    camera = fit_camera(faces.landmarks[row])
    for kind, share in BRUSHED.items():
        for _ in range(int(rng.random() + share * often)):
            marks = faces.landmarks[row] + rng.normal(0, 0.6, (5, 2)).astype(np.float32)
            if kind in BEFORE:
                tools, state = BEFORE[kind]
                made, cover = draw_occluder(crop, marks, str(rng.choice(tools)), int(rng.integers(2**31)))
            else:
                made, cover = draw_mask(crop, marks, wild_style(rng, kind, patterned=0.5))
                state = "mask" if kind == "full" else "incorrect"
            if state != "no_mask" and not _shows(cover, crop, camera.scale):
                continue
            yield _finish(_dress(made, marks, rng), crop, pixels, rng), state, DRAWN
    if rng.random() < SHIELDED * often:
        made, _ = draw_extra(crop, faces.landmarks[row], "shield", int(rng.integers(2**31)))
        yield _finish(made, crop, pixels, rng), "no_mask", DRAWN
    for place in PLACES if masks else ():
        for _ in range(int(rng.random() + MOVED[place] * often)):
            mask = likely(masks, float(camera.towards[0]), rng)
            made, cover = put(crop, faces.landmarks[row], mask, place, rng)
            if not _shows(cover, crop, camera.scale):
                continue
            state = "mask" if place == "full" else "incorrect"
            made = _dress(made, faces.landmarks[row], rng)
            yield _finish(made, crop, min(pixels, mask.size), rng), state, TRANSFER


class _Noses:
    """Offer the bare faces whose noses may be put over masks."""

    def __init__(self, faces: Faces, rows: NDArray[np.int64]) -> None:
        self.faces = faces
        self.rows = rows[faces.sizes[rows] >= 48]
        cameras = [fit_camera(faces.landmarks[row]) for row in self.rows]
        self.yaws = np.array([camera.towards[0] for camera in cameras])
        self.skins = np.array(
            [skin_around_eyes(faces.crops[row], camera) for row, camera in zip(self.rows, cameras, strict=True)]
        ).reshape(-1, 3)

    def alike(
        self, mask: RealMask, rng: np.random.Generator, number: int = 12
    ) -> Iterator[tuple[Image, Floats, float]]:
        """Yield crop, landmarks and size of faces that are turned and coloured like the mask's wearer, best first."""
        some = rng.integers(len(self.rows), size=200)
        apart = np.abs(np.abs(self.yaws[some]) - abs(mask.yaw)) * 6
        apart += np.abs(self.skins[some] - mask.skin).sum(axis=1) / 90
        for best in some[np.argsort(apart)[:number]]:
            crop, marks = self.faces.crops[self.rows[best]], self.faces.landmarks[self.rows[best]]
            if self.yaws[best] * mask.yaw < 0:
                crop = np.ascontiguousarray(crop[:, ::-1])
                marks = (np.array([SIDE, 0]) + marks * np.array([-1, 1]))[[1, 0, 2, 4, 3]].astype(np.float32)
            yield crop, marks, float(self.faces.sizes[self.rows[best]])


def _with_nose(
    faces: Faces, row: int, mask: RealMask, noses: _Noses, rng: np.random.Generator
) -> Iterator[tuple[Image, str, str]]:
    """Yield a masked face with others' noses over its mask, where some fit."""
    crop, found = faces.crops[row], 0
    for other, marks, pixels in noses.alike(mask, rng):
        made = bare_nose(crop, faces.landmarks[row], mask, other, marks, rng)
        if made is not None:
            yield _finish(made[0], crop, min(pixels, mask.size), rng), "incorrect", TRANSFER
            found += 1
        if found == NOSES:
            return


def synthesize(faces: Faces, seed: int = 0) -> Iterator[Faces]:
    """Yield made faces, those of one face at a time; the part is `drawn` or `transfer`, all else is that face's."""
    rng = np.random.default_rng(seed)
    bare, masks = drawable(faces), take_all(faces)
    worn = list(masks.values())
    for row in bare:
        made = list(_on_bare(faces, int(row), worn, rng))
        if made:
            yield _rows(faces, int(row), made)
    noses = _Noses(faces, bare)
    for row, mask in masks.items() if len(noses.rows) else ():
        if abs(mask.yaw) > FRONTAL:
            continue
        made = list(_with_nose(faces, row, mask, noses, rng))
        if made:
            yield _rows(faces, row, made)
