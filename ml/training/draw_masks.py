"""Draw face masks onto a bare face from its five landmarks.

A mask is a sheet bent around a rough head. The pose is the affine camera that carries five model points
onto the landmarks; the sheet is sampled densely, shaded, and splatted back to front at twice the resolution.
Lengths of the model are in units of the distance between the eyes, y down, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.training.draw_prints import COMMON_PATTERNS, PATTERNS, noise, print_cloth

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

STYLES = ("surgical", "cloth", "patterned", "cup", "vented", "gaiter", "bandana")
POSITIONS = ("full", "under_nose", "chin", "hanging")  # hanging: from one ear
STIFF = ("cup", "vented")
LONG = ("gaiter", "bandana")  # over the neck, held without loops

# Eyes, nose tip, mouth corners of the model head (picture's left first).
MODEL: Floats = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.6, 0.42], [-0.38, 1.03, 0.04], [0.38, 1.03, 0.04]], np.float32
)
# Rows of the sheet by height: y, half width of the face there, depth of its front.
PROFILE: Floats = np.array(
    [
        [0.10, 1.08, 0.16],
        [0.30, 1.09, 0.30],
        [0.60, 1.07, 0.50],
        [0.90, 1.02, 0.40],
        [1.10, 0.97, 0.38],
        [1.40, 0.84, 0.34],
        [1.70, 0.66, 0.22],
        [1.95, 0.52, -0.05],
        [2.20, 0.50, -0.30],
    ],
    np.float32,
)
BACK = -0.95  # where the ears are


@dataclass(frozen=True, slots=True)
class MaskStyle:
    """Say what a drawn mask looks like and where it sits; colours are RGB of a fully lit sheet."""

    kind: str = "surgical"
    position: str = "full"
    colour: tuple[int, int, int] = (150, 195, 225)
    accent: tuple[int, int, int] = (250, 250, 250)
    pattern: str = "dots"  # of cloth that is printed; none at all where it is empty
    loops: tuple[int, int, int] = (235, 235, 235)
    top: float = 0.0  # raises (-) or lowers (+) the upper edge, eye distances
    bottom: float = 0.0
    width: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Camera:
    """Carry model points (N,3) to pixels: `points @ matrix.T + origin`; `towards` is the viewing axis."""

    matrix: Floats
    origin: Floats
    towards: Floats
    scale: float

    def project(self, points: Floats) -> Floats:
        """Return pixels, float32 (N,2)."""
        return (points @ self.matrix.T + self.origin).astype(np.float32)


def fit_camera(landmarks: NDArray[Any]) -> Camera:
    """Fit an affine camera to pixels (5,2): eyes, nose tip, mouth corners, the picture's left first."""
    points = np.asarray(landmarks, np.float64).reshape(5, 2)
    design = np.hstack([MODEL.astype(np.float64), np.ones((5, 1))])
    # A weak prior at a frontal head keeps the depth column small when a landmark is off.
    middle = points.mean(axis=0)
    across = points[[1, 4]].mean(axis=0) - points[[0, 3]].mean(axis=0)
    down = points[[3, 4]].mean(axis=0) - points[[0, 1]].mean(axis=0)
    scale = max(float(np.hypot(*across)) / 0.88, float(np.hypot(*down)) / 1.03, 1e-3)
    prior = np.vstack([across / 0.88, down / 1.03, np.zeros(2), middle])
    weight = np.diag([0.05, 0.05, 0.05, 0.0])
    solution = np.linalg.solve(design.T @ design + weight, design.T @ points + weight @ prior)
    depth = solution[2]
    length = float(np.hypot(*depth))
    if length > 0.85 * scale:
        solution[2] = depth * (0.85 * scale / length)
    matrix = solution[:3].T
    third = np.cross(matrix[0], matrix[1])
    towards = third / max(float(np.linalg.norm(third)), 1e-6)
    if towards[2] < 0:
        towards = -towards
    return Camera(matrix.astype(np.float32), solution[3].astype(np.float32), towards.astype(np.float32), scale)


def _edges(style: MaskStyle, u: Floats) -> tuple[Floats, Floats]:
    """Return the upper and lower edge heights over u in -1..1."""
    side = np.abs(u)
    if style.kind == "surgical":
        top = 0.24 + 0.26 * np.minimum(side / 0.45, 1.0) ** 1.3 - 0.04 * side
        bottom = 1.86 - 0.10 * side**2 - 0.58 * np.clip((side - 0.45) / 0.55, 0, 1) ** 1.5
    elif style.kind == "gaiter":
        top = 0.26 + 0.26 * np.minimum(side / 0.6, 1.0) ** 1.2 - 0.12 * np.clip(side - 0.6, 0, 1)
        bottom = 2.75 + 0.0 * side
    elif style.kind == "bandana":
        top = 0.26 + 0.26 * np.minimum(side / 0.6, 1.0) ** 1.2 - 0.16 * np.clip(side - 0.6, 0, 1)
        bottom = 2.65 - 1.6 * side
    elif style.kind in STIFF:
        top = 0.20 + 0.36 * np.minimum(side / 0.6, 1.0) ** 1.2
        bottom = 1.84 - 0.70 * side**2.2
    else:
        top = 0.20 + 0.33 * np.minimum(side / 0.5, 1.0) ** 1.2
        bottom = 1.90 - 0.78 * side**1.8
    if style.position == "under_nose":
        top = np.maximum(top * 0.25 + 0.72, 0.80)
        bottom = bottom + 0.08
    elif style.position == "chin":
        top = 1.40 - 0.22 * side**2
        bottom = np.maximum(bottom + 0.25, top + 0.35)
    elif style.position == "hanging":
        top = 0.45 + 0.35 * (u + 1) / 2
        bottom = top + 1.1
    return (top + style.top).astype(np.float32), np.maximum(bottom + style.bottom, top + 0.2).astype(np.float32)


def surface(u: Floats, y: Floats, width: float = 1.0, bulge: float = 0.0, reach: float = 1.20) -> Floats:
    """Return where a sheet over a face lies at columns u (C,) in -1..1 and heights y (R,C): float32 (R,C,3).

    bulge: how far a stiff cup stands out of its middle; reach: the sheet's angle at u = 1, radians.
    """
    half = np.interp(y, PROFILE[:, 0], PROFILE[:, 1]) * width
    front = np.interp(y, PROFILE[:, 0], PROFILE[:, 2])
    if bulge:
        v = (y - y[:1]) / np.maximum(y[-1:] - y[:1], 1e-6)
        front = front + bulge * np.sin(np.pi * v) * np.cos(u * np.pi / 2)
    angle = u * reach
    x = half * np.sin(angle)
    # The nose is a narrow ridge on the broad curve of the cheeks: a mask spans it like a tent.
    ridge = np.exp(-((u / 0.28) ** 2))
    base = np.minimum(front, 0.24)
    z = BACK + (base - BACK) * np.cos(angle) ** 0.8 + (front - base) * ridge
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def _sheet(style: MaskStyle, rows: int, columns: int) -> Floats:
    """Return the sheet's points, float32 (rows, columns, 3)."""
    u = np.linspace(-1, 1, columns, dtype=np.float32)
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    top, bottom = _edges(style, u)
    y = (top * (1 - v) + bottom * v).astype(np.float32)
    if style.position == "hanging":
        way = 1.0 if style.seed % 2 else -1.0
        x = way * (0.92 + 0.30 * style.width * u + 0.04 * np.sin(3 * y))
        return np.stack([x, y, np.full_like(y, -0.25) + 0.1 * np.cos(u * 2)], axis=-1).astype(np.float32)
    if style.kind in STIFF:
        return surface(u, y, style.width, bulge=0.16, reach=1.02)
    return surface(u, y, style.width, reach=1.45 if style.kind in LONG else 1.20)


def _folds(style: MaskStyle, rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Return the light on the cloth's own relief, float32 (rows, columns) around 1."""
    u = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    light = np.ones((rows, columns), np.float32)
    if style.kind == "surgical":
        open_ = float(rng.uniform(0.2, 1.0))  # how far the pleats stand apart
        for pleat in (0.34, 0.52, 0.70):
            line = pleat + (u**2 - 0.5) * 0.06 * open_ + float(rng.uniform(-0.02, 0.02))
            away = v - line
            light -= 0.30 * np.exp(-((away / 0.018) ** 2))
            light += 0.09 * np.exp(-(((away + 0.045) / 0.035) ** 2))
        light += 0.05 * ((v < 0.07) | (v > 0.94) | (np.abs(u) > 0.95))
        light -= 0.10 * np.exp(-(((v - 0.075) / 0.008) ** 2))
    elif style.kind in STIFF:
        light -= 0.14 * np.exp(-(((v - 0.5 - 0.12 * u**2) / 0.012) ** 2))
        light += 0.06 * np.sin(np.pi * v)
        if style.kind == "vented":
            away = np.maximum(np.abs(u - 0.38) / 0.17, np.abs(v - 0.58) / 0.14)
            light -= 0.35 * np.exp(-(((away - 1) / 0.15) ** 2)) + 0.12 * (away < 0.9)
            light -= 0.12 * (away < 0.8) * (np.sin(v * 110) > 0)
    elif style.kind in LONG:
        light += 0.16 * np.sin(v * 9 + 2.5 * u**2 + noise(rng, (rows, columns), columns / 4))
    else:
        light -= 0.16 * np.exp(-((u / 0.012) ** 2)) * float(rng.random() < 0.6)
        light -= 0.12 * np.exp(-(((v - 0.05) / 0.01) ** 2)) + 0.12 * np.exp(-(((v - 0.95) / 0.01) ** 2))
    wrinkles = noise(rng, (rows, columns), columns / 7) * 0.07 + noise(rng, (rows, columns), columns / 22) * 0.045
    weave = rng.standard_normal((rows, columns)).astype(np.float32) * 0.015
    return light + wrinkles + weave


def light(image: Image, camera: Camera) -> tuple[Floats, Floats]:
    """Read the skin: return its colour relative to plain lit skin, and the light left and right, float32."""
    spots = camera.project(np.array([[-0.6, 0.55, 0.0], [0.6, 0.55, 0.0], [0.0, 0.25, 0.3]], np.float32))
    radius = max(1, round(camera.scale * 0.12))
    tones = []
    for x, y in spots.round().astype(int):
        patch = image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        tones.append(patch.reshape(-1, 3).mean(axis=0) if patch.size else np.full(3, 128.0))
    sides = np.array(tones, np.float32)
    grey = sides @ np.array([0.3, 0.59, 0.11], np.float32)
    level = float(np.clip(0.35 + grey.mean() / 230, 0.35, 1.12))
    # Cast: half way to the light's own tint, judged against an average skin.
    tint = sides.mean(axis=0) / max(float(grey.mean()), 1.0) / np.array([1.18, 0.95, 0.82], np.float32)
    tone = level * (0.6 + 0.4 * np.clip(tint, 0.6, 1.4))
    slope = float(np.clip((grey[1] - grey[0]) / max(float(grey.sum()), 1.0), -0.4, 0.4))
    return tone.astype(np.float32), np.array([1 - slope, 1 + slope], np.float32)


def draw_mask(image: Image, landmarks: NDArray[Any], style: MaskStyle) -> tuple[Image, Floats]:
    """Draw a mask; return the new RGB picture and the mask's cover, float32 HxW in 0..1.

    image: uint8 HxWx3 RGB; landmarks: (5,2) pixels, eyes, nose tip, mouth corners, picture's left first.
    Raises ValueError for an unknown kind, position or pattern.
    """
    if style.kind not in STYLES or style.position not in POSITIONS or style.pattern not in ("", *PATTERNS):
        raise ValueError(f"unknown mask style: {style.kind}, {style.position}, {style.pattern}")
    rng = np.random.default_rng(style.seed)
    camera = fit_camera(landmarks)
    zoom = 2
    columns = int(np.clip(camera.scale * 2.6 * zoom * 1.2, 60, 1200))
    rows = int(columns * (1.0 if style.kind in LONG else 0.7))
    points = _sheet(style, rows, columns)
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    normals *= np.where(normals[..., 2:] < 0, -1, 1)
    facing = normals @ camera.towards
    tone, sides = light(image, camera)
    u = np.linspace(0, 1, columns, dtype=np.float32)[None, :]
    lit = (0.50 + 0.50 * np.clip(facing, 0, 1) ** 0.8) * (sides[0] * (1 - u) + sides[1] * u)
    lit = lit * (1.03 - 0.12 * np.linspace(0, 1, rows, dtype=np.float32)[:, None])
    cloth = np.broadcast_to(np.array(style.colour, np.float32), (rows, columns, 3))
    if style.kind == "patterned" or (style.kind in LONG and style.pattern):
        cloth = print_cloth(style.pattern or PATTERNS[0], style.colour, style.accent, rng, (rows, columns))
    colours = cloth * (lit * _folds(style, rng, rows, columns))[..., None] * tone
    height, width = image.shape[:2]
    canvas, cover = splat(points, colours, facing, camera, (height, width), zoom)
    shadow = cv2.GaussianBlur(cover, (0, 0), max(0.6, camera.scale * 0.05))
    drop = np.array([[1, 0, 0], [0, 1, camera.scale * 0.03]], np.float32)
    shadow = cv2.warpAffine(shadow, drop, (width, height))
    out = image.astype(np.float32) * (1 - 0.35 * (shadow * (1 - cover)))[..., None]
    if style.kind not in LONG and style.position != "hanging":
        out = draw_loops(out, points, camera, style, tone)
    out = out * (1 - cover[..., None]) + canvas
    return np.clip(out, 0, 255).astype(np.uint8), cover


def splat(
    points: Floats, colours: Floats, facing: Floats, camera: Camera, size: tuple[int, int], zoom: int
) -> tuple[Floats, Floats]:
    """Paint the sheet's visible samples; return premultiplied colours and cover at the picture's own size."""
    height, width = size
    xy = camera.project(points.reshape(-1, 3)) * zoom
    depth = points.reshape(-1, 3) @ camera.towards
    seen = facing.reshape(-1) > 0.02
    order = np.argsort(depth[seen], kind="stable")
    xy, ink = xy[seen][order], colours.reshape(-1, 3)[seen][order]
    column, row = np.floor(xy[:, 0]).astype(np.int32), np.floor(xy[:, 1]).astype(np.int32)
    inside = (column >= 0) & (column < width * zoom) & (row >= 0) & (row < height * zoom)
    column, row, ink = column[inside], row[inside], ink[inside]
    colours_out, cover_out = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    if not len(row):
        return colours_out, cover_out
    # Only the part of the picture that the sheet takes, with room for the filling below.
    top, left = max(0, int(row.min()) // zoom - 2), max(0, int(column.min()) // zoom - 2)
    low, right = min(height, int(row.max()) // zoom + 3), min(width, int(column.max()) // zoom + 3)
    wide = (right - left) * zoom
    canvas = np.zeros(((low - top) * zoom, wide, 3), np.float32)
    cover = np.zeros(((low - top) * zoom, wide), np.float32)
    at = (row - top * zoom) * wide + (column - left * zoom)
    canvas.reshape(-1, 3)[at] = ink  # the last, nearest sample stays
    cover.reshape(-1)[at] = 1
    # Close pinholes between samples: fill from the neighbours' mean.
    closed = cv2.morphologyEx(cover, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    mean = cv2.blur(canvas, (5, 5)) / np.maximum(cv2.blur(cover, (5, 5)), 1e-6)[..., None]
    filled = np.where((closed > cover)[..., None], mean, canvas) * closed[..., None]
    small = (right - left, low - top)
    colours_out[top:low, left:right] = cv2.resize(filled, small, interpolation=cv2.INTER_AREA)
    cover_out[top:low, left:right] = cv2.resize(closed, small, interpolation=cv2.INTER_AREA)
    return colours_out, cover_out


def draw_loops(out: Floats, points: Floats, camera: Camera, style: MaskStyle, tone: Floats) -> Floats:
    """Draw the loops from the sheet's side edges to the ears that are in view."""
    colour = np.array(style.loops, np.float32) * tone * 0.92
    strokes = np.zeros(out.shape[:2], np.uint8)
    thick = max(1, round(camera.scale * 0.028))
    rows = points.shape[0]
    for edge, way in ((0, -1.0), (-1, 1.0)):
        if camera.towards[0] * way < -0.35:  # that ear is behind the head
            continue
        for index, height in ((int(rows * 0.03), 0.16), (int(rows * 0.97), 0.58)):
            start = points[index, edge]
            ear = np.array([way * 1.07, height, BACK + 0.1], np.float32)
            middle = (start + ear) / 2 + np.array([way * 0.03, 0.02, 0.0], np.float32)
            line = camera.project(np.stack([start, middle, ear]).astype(np.float32))
            cv2.polylines(strokes, [(line * 16).round().astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    cover = (strokes.astype(np.float32) / 255)[..., None]
    below = np.roll(cover, 1, axis=0) * (1 - cover)
    return np.asarray(out * (1 - 0.3 * below) * (1 - cover) + colour * cover, np.float32)


SURGICAL_COLOURS = (
    (150, 195, 225), (120, 180, 215), (165, 210, 205), (110, 190, 180), (240, 242, 245), (235, 200, 210),
    (45, 45, 50), (190, 180, 220), (150, 200, 160), (60, 80, 140),
)  # fmt: skip


def random_style(rng: np.random.Generator, position: str = "full", patterned: float = 0.4) -> MaskStyle:
    """Draw a common style at random; `patterned` is the share of printed cloth. `draw_styles` knows rarer ones."""
    kind = "patterned" if rng.random() < patterned else str(rng.choice(["surgical", "surgical", "cloth", "cup"]))
    colour = tuple(int(c) for c in rng.integers(10, 250, 3))
    if kind == "surgical" or (kind == "cup" and rng.random() < 0.4):
        colour = SURGICAL_COLOURS[rng.integers(len(SURGICAL_COLOURS))]
    elif kind == "cup":
        colour = (240, 240, 238)
    elif rng.random() < 0.4:
        colour = tuple(int(c) for c in np.full(3, rng.choice([15, 35, 60, 120, 200, 245])) + rng.integers(-10, 10, 3))
    accent = tuple(int(c) for c in rng.integers(0, 256, 3))
    if abs(sum(accent) - sum(colour)) < 150:
        accent = (250, 250, 245) if sum(colour) < 380 else (20, 20, 30)
    red, green, blue = (int(np.clip(c, 0, 255)) for c in colour)
    white = (235, 235, 235)
    return MaskStyle(
        kind=kind,
        position=position,
        colour=(red, green, blue),
        accent=(accent[0], accent[1], accent[2]),
        pattern=str(rng.choice(COMMON_PATTERNS)),
        loops=white if rng.random() < 0.6 else (red, green, blue),
        top=float(rng.normal(0, 0.04)),
        bottom=float(rng.normal(0.0, 0.08)),
        width=float(np.clip(rng.normal(0.97, 0.05), 0.85, 1.1)),
        seed=int(rng.integers(2**31)),
    )
