"""Take the mask off a real masked face and put it onto a bare one: worn well, under the nose, or on the chin.

Both faces are unwrapped onto the sheet of `draw_masks`, whose columns u run from ear to ear and whose rows are heights
y in eye distances. There a mask is what lies between an upper and a lower edge, so it can be pulled down like cloth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE
from ml.training.crops import Faces
from ml.training.draw_masks import Camera, Floats, Image, MaskStyle, draw_loops, fit_camera, splat, surface
from ml.types import STATES

DONORS = ("street_mask", "k12_mask", "ilc_scenes", "kaggle_scenes", "rmfd_mask")
PLACES = ("full", "under_nose", "chin")
SIDE = 80  # samples of an unwrapped face, each way
HIGH, LOW = -0.35, 2.35  # heights of its first and last row
ROWS, COLUMNS = 72, 96  # samples of a mask
SEAM = 0.09  # how far two skins may differ after their light is made equal, as a share of it
TIP, NOSTRILS, LIPS = 0.62, 0.76, 1.15  # heights of the nose tip, under the nostrils, and under the mouth


@dataclass(frozen=True, slots=True)
class RealMask:
    """Hold a mask cut from a photo: its cloth, the span of u it takes, its edges' heights by column, its light."""

    cloth: Image  # ROWS,COLUMNS,3 RGB
    span: tuple[float, float]
    top: Floats  # COLUMNS
    bottom: Floats
    yaw: float  # -1..1, the sideways part of the viewing axis
    skin: Floats  # RGB of its wearer's skin around the eyes
    size: float  # pixels of the wearer's face in its photo

    def mirrored(self) -> RealMask:
        """Return the same mask seen in a mirror."""
        left, right = self.span
        return RealMask(
            cloth=np.ascontiguousarray(self.cloth[:, ::-1]),
            span=(-right, -left),
            top=self.top[::-1],
            bottom=self.bottom[::-1],
            yaw=-self.yaw,
            skin=self.skin,
            size=self.size,
        )


def _sample(image: Image, camera: Camera, points: Floats) -> Image:
    """Read the picture at model points (R,C,3); uint8 (R,C,3)."""
    xy = camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2)
    return np.asarray(
        cv2.remap(image, xy[..., 0], xy[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def skin_around_eyes(image: Image, camera: Camera) -> Floats:
    """Return the RGB colour of the skin that a mask leaves bare, float32 (3,)."""
    spots = [[-0.6, 0.2, 0.1], [0.6, 0.2, 0.1], [-0.35, -0.4, 0.15], [0.35, -0.4, 0.15], [0.0, -0.15, 0.3]]
    radius = max(1, round(camera.scale * 0.08))
    tones = []
    for x, y in camera.project(np.array(spots, np.float32)).round().astype(int):
        patch = image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        if patch.size:
            tones.append(np.median(patch.reshape(-1, 3), axis=0))
    return np.asarray(np.median(np.array(tones or [[128.0] * 3]), axis=0), np.float32)


def _prior() -> Image:
    """Return where a mask surely, likely, hardly and never is on an unwrapped face, as GrabCut wants it."""
    u = np.linspace(-1, 1, SIDE)[None, :]
    y = np.linspace(HIGH, LOW, SIDE)[:, None]
    side = np.abs(u)
    area = np.full((SIDE, SIDE), cv2.GC_PR_BGD, np.uint8)
    area[(y > 0.28 + 0.25 * side) & (y < 1.85 - 0.6 * side**2) & (side < 0.85)] = cv2.GC_PR_FGD
    area[(y > 0.75) & (y < 1.45) & (side < 0.4)] = cv2.GC_FGD
    area[np.broadcast_to((y < 0.12 + 0.1 * side) | (y > 2.2), area.shape)] = cv2.GC_BGD
    return area


PRIOR = _prior()


def _outline(flat: Image) -> NDArray[np.bool_]:
    """Find the mask on an unwrapped face; bool (SIDE,SIDE)."""
    area = PRIOR.copy()
    back, fore = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(flat), area, (0, 0, 0, 0), back, fore, 3, cv2.GC_INIT_WITH_MASK)
    found: NDArray[Any] = np.isin(area, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, parts = cv2.connectedComponents(found)
    middle = int(parts[round((1.1 - HIGH) / (LOW - HIGH) * SIDE), SIDE // 2])
    return np.asarray((parts == middle) & (middle > 0), np.bool_)


def take(image: Image, landmarks: NDArray[Any], size: float) -> RealMask | None:
    """Cut the mask off a face, or return nothing where its outline is not a well worn mask's.

    image: uint8 HxWx3 RGB; landmarks: (5,2) pixels; size: pixels of the face in its own photo.
    """
    camera = fit_camera(landmarks)
    u = np.linspace(-1, 1, SIDE, dtype=np.float32)
    y = np.linspace(HIGH, LOW, SIDE, dtype=np.float32)
    grid = surface(u, np.broadcast_to(y[:, None], (SIDE, SIDE)))
    cover = _outline(_sample(image, camera, grid))
    tall = cover.sum(axis=0) * float(y[1] - y[0])
    columns = np.flatnonzero(tall > 0.4)
    if len(columns) < SIDE * 0.5 or len(columns) != columns[-1] - columns[0] + 1:
        return None
    left, right = float(u[columns[0]]), float(u[columns[-1]])
    first = y[cover[:, columns].argmax(axis=0)]
    last = y[SIDE - 1 - cover[::-1, columns].argmax(axis=0)]
    full = cover[:, columns].sum(axis=0) * (y[1] - y[0]) / (last - first + y[1] - y[0])
    middle = np.abs(u[columns]) < 0.15
    high, low = first[middle], last[middle]
    worn = high.min() > 0.13 and high.max() < 0.46 and low.max() < 2.15 and low.min() > 1.4
    if not worn or full.mean() < 0.93 or max(-left, right) < 0.6 or min(-left, right) < 0.3:
        return None

    def smooth(edge: Floats) -> Floats:
        even = np.interp(np.linspace(0, len(edge) - 1, COLUMNS), np.arange(len(edge)), edge).astype(np.float32)
        even = np.pad(even, 12, mode="reflect", reflect_type="odd")
        return np.asarray(cv2.GaussianBlur(even[None], (0, 0), 3.0)[0, 12:-12], np.float32)

    top, bottom = smooth(first) + 0.05, smooth(last) - 0.05  # a hair inside: no skin may hang on
    if np.abs(np.gradient(top)).max() > 0.06:
        return None
    span = np.linspace(left + 0.02, right - 0.02, COLUMNS, dtype=np.float32)
    cloth = _sample(image, camera, surface(span, _between(top, bottom, ROWS)))
    if (cloth == OUTSIDE).all(axis=2).mean() > 0.01:
        return None
    return RealMask(
        cloth=cloth,
        span=(float(span[0]), float(span[-1])),
        top=top,
        bottom=bottom,
        yaw=float(camera.towards[0]),
        skin=skin_around_eyes(image, camera),
        size=size,
    )


def _between(top: Floats, bottom: Floats, rows: int) -> Floats:
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    return np.asarray(top * (1 - v) + bottom * v, np.float32)


def take_all(faces: Faces, limit: int = 1600, seed: int = 0) -> dict[int, RealMask]:
    """Cut the masks of the training faces that are large and plain enough, at most `limit`, by row."""
    marks = faces.landmarks
    fine = (faces.states == STATES.index("mask")) & (faces.splits == "train") & np.isin(faces.parts, DONORS)
    rows = np.flatnonzero(fine & (faces.sizes >= 48) & ~np.isnan(marks[:, 0, 0]))
    masks: dict[int, RealMask] = {}
    for row in np.random.default_rng(seed).permutation(rows):
        mask = take(faces.crops[row], marks[row], float(faces.sizes[row]))
        if mask is not None:
            masks[int(row)] = mask
        if len(masks) == limit:
            break
    return masks


def _place(mask: RealMask, place: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the heights of the edges where the mask now sits."""
    u = np.linspace(*mask.span, COLUMNS, dtype=np.float32)
    side = np.abs(u)
    top, bottom = mask.top, mask.bottom
    if place == "full":
        slip = float(rng.uniform(-0.03, 0.05))
        return top + slip, bottom + slip
    middle = float(top[side < 0.2].mean())
    lean = float(rng.normal(0, 0.05)) * u
    if place == "under_nose":
        # Sometimes only the tip shows; the cloth flattens as it leaves the ridge and stays high at the ears.
        wanted = float(rng.uniform(TIP, NOSTRILS)) if rng.random() < 0.4 else float(rng.uniform(NOSTRILS, 0.95))
        flat = float(rng.uniform(0.0, 0.5))
        top = wanted + (top - middle) * flat - float(rng.uniform(0.0, 0.25)) * side**2 + lean
        top = np.maximum(top, TIP - 0.3 * np.clip(side / 0.3 - 0.6, 0, 1))
        drop = (wanted - middle) * float(rng.uniform(0.1, 0.8))
    else:
        wanted = float(rng.uniform(LIPS, 1.55))
        top = wanted + (top - middle) * 0.2 - float(rng.uniform(0.0, 0.4)) * side**2 + lean
        drop = (wanted - middle) * float(rng.uniform(0.15, 0.85))  # bunched, or whole before the neck
    bottom = np.maximum(bottom + drop * (1 - 0.5 * side), top + (0.35 if place == "chin" else 0.45))
    return np.asarray(top, np.float32), np.asarray(bottom, np.float32)


def put(
    image: Image, landmarks: NDArray[Any], mask: RealMask, place: str, rng: np.random.Generator
) -> tuple[Image, Floats]:
    """Put a real mask onto a bare face; return the RGB picture and the mask's cover, float32 HxW in 0..1.

    place: `full`, `under_nose` or `chin`. Raises ValueError for another one.
    """
    if place not in PLACES:
        raise ValueError(f"unknown place: {place}")
    camera = fit_camera(landmarks)
    top, bottom = _place(mask, place, rng)
    gain = _gain(skin_around_eyes(image, camera), mask)
    points, canvas, cover = _lay(mask.cloth * gain, mask.span, (top, bottom), camera, (image.shape[0], image.shape[1]))
    soft = float(rng.uniform(0.4, 0.9))
    canvas, cover = _blur(canvas, soft), _blur(cover, soft)
    out = image * (1 - float(rng.uniform(0.1, 0.4)) * _shadow(cover, camera, -0.03))[..., None]
    if rng.random() < 0.7:
        loops = MaskStyle(loops=(240, 240, 240) if rng.random() < 0.85 else (60, 60, 65))
        out = draw_loops(out.astype(np.float32), points, camera, loops, (gain * mask.skin / 200).astype(np.float32))
    out = out * (1 - cover[..., None]) + canvas
    return np.clip(out, 0, 255).astype(np.uint8), cover


def _blur(image: NDArray[Any], sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _lay(
    texture: Floats, span: tuple[float, float], edges: tuple[Floats, Floats], camera: Camera, size: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Lay a texture over a face; return its points, its premultiplied colours and its cover."""
    zoom = 2
    columns = int(np.clip(camera.scale * (span[1] - span[0]) * zoom * 1.4, 40, 600))
    rows = int(max(columns, camera.scale * zoom * 2.0) * 0.7)
    grid = np.linspace(0, texture.shape[1] - 1, columns)
    top, bottom = (np.interp(grid, np.arange(texture.shape[1]), edge).astype(np.float32) for edge in edges)
    points = surface(np.linspace(*span, columns, dtype=np.float32), _between(top, bottom, rows))
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    normals *= np.where(normals[..., 2:] < 0, -1, 1)
    large = cv2.resize(texture.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    return points, *splat(points, np.asarray(large, np.float32), normals @ camera.towards, camera, size, zoom)


def _shadow(cover: Floats, camera: Camera, down: float) -> Floats:
    """Return the shade that something throws past its edge, in 0..1."""
    drop = np.array([[1, 0, 0], [0, 1, camera.scale * down]], np.float32)
    soft = cv2.GaussianBlur(cover, (0, 0), max(0.6, camera.scale * 0.05))
    return np.asarray(cv2.warpAffine(soft, drop, cover.shape[::-1]) * (1 - cover), np.float32)


def _gain(skin: Floats, mask: RealMask) -> Floats:
    """Return what carries the cloth from its wearer's light to that of a face with this skin, float32 (3,).

    Skin differs between people as much as light does, so only a part of the difference is taken for light.
    """
    ratio = (skin + 12) / (mask.skin + 12)
    level = float(np.clip(ratio.mean(), 0.4, 2.0))
    brightest = float(np.percentile(mask.cloth, 90)) + 1
    return np.asarray(
        min(level**0.6, max(1.0, 235 / brightest)) * np.clip(ratio / level, 0.75, 1.33) ** 0.5, np.float32
    )


def bare_nose(
    image: Image,
    landmarks: NDArray[Any],
    mask: RealMask,
    other: Image,
    other_landmarks: NDArray[Any],
    rng: np.random.Generator,
) -> tuple[Image, Floats] | None:
    """Pull a worn mask under the nose: put the nose of another, bare face over it.

    mask: what `take` cut from `image`; other: a bare face that looks the same way. Returns the RGB picture and the
    cover of what was put on, float32 HxW in 0..1; nothing where the two faces would not meet without a seam.
    """
    camera, bare = fit_camera(landmarks), fit_camera(other_landmarks)
    half = float(rng.uniform(0.38, 0.65))
    u = np.linspace(-half, half, COLUMNS, dtype=np.float32)
    edge = np.interp(u, np.linspace(*mask.span, COLUMNS), mask.top).astype(np.float32)
    middle = float(edge[COLUMNS // 2])
    wanted = float(rng.uniform(0.72, 0.84))
    bend = (1 - np.abs(u / half) ** float(rng.uniform(2.0, 5.0))).clip(0, 1)
    top, bottom = edge - 0.10, edge + (wanted - middle) * bend
    points = surface(u, _between(top, bottom, ROWS))
    # The two skins must meet: compare them where they will, on the bridge and the cheeks above the mask's edge.
    seam = surface(u, _between(edge - 0.3, edge - 0.08, 10))
    ours, theirs = (_blur(_sample(*pair, seam), 1.5) for pair in ((image, camera), (other, bare)))
    ratio = (np.median(ours, axis=(0, 1)) + 8) / (np.median(theirs, axis=(0, 1)) + 8)
    if np.abs(ours - theirs * ratio).mean() > SEAM * float(ours.mean()) or np.abs(np.log(ratio)).max() > 0.45:
        return None
    texture = np.asarray(_sample(other, bare, points) * ratio, np.float32)
    _, canvas, cover = _lay(texture, (-half, half), (top, bottom), camera, (image.shape[0], image.shape[1]))
    soft = max(0.6, camera.scale * 0.03)
    colours = _blur(canvas, soft) / np.maximum(_blur(cover, soft), 1e-3)[..., None]
    colours = np.where(cover[..., None] > 0.99, canvas, colours)
    alpha = _blur(cover, soft)
    out = image * (1 - 0.35 * _shadow(alpha, camera, 0.04))[..., None]
    out = out * (1 - alpha[..., None]) + colours * alpha[..., None]
    return np.clip(out, 0, 255).astype(np.uint8), alpha


def likely(masks: Sequence[RealMask], yaw: float, rng: np.random.Generator) -> RealMask:
    """Choose one of the masks whose wearer looked about the same way, or the mirrored one's."""
    some = [masks[pick] for pick in rng.integers(len(masks), size=12)]
    mask: RealMask = min(some, key=lambda one: abs(abs(one.yaw) - abs(yaw)))
    return mask.mirrored() if mask.yaw * yaw < 0 else mask
