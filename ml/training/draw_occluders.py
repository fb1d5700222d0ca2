"""Draw things that are no mask before the mouth of a bare face: a hand, a mug, a phone, a ball."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.training.draw_masks import Camera, Floats, Image, fit_camera, light, noise

OCCLUDERS = ("hand", "mug", "phone", "ball")


def draw_occluder(image: Image, landmarks: NDArray[Any], kind: str, seed: int = 0) -> tuple[Image, Floats]:
    """Draw something that is no mask before the mouth; return the RGB picture and its cover, float32 in 0..1.

    kind: `hand`, `mug`, `phone` or `ball` (a microphone or a fruit). Raises ValueError for another one.
    """
    if kind not in OCCLUDERS:
        raise ValueError(f"unknown occluder: {kind}")
    rng = np.random.default_rng(seed)
    camera = fit_camera(landmarks)
    tone, _ = light(image, camera)
    height, width = image.shape[:2]
    zoom = 2
    layer = np.zeros((height * zoom, width * zoom, 3), np.uint8)
    cover = np.zeros((height * zoom, width * zoom), np.uint8)
    unit = camera.scale * zoom
    centre = camera.project(np.array([[0.0, 1.0, 0.3]], np.float32))[0] * zoom
    centre = centre + rng.normal(0, 0.08, 2) * unit
    if kind == "hand":
        _hand(layer, cover, centre, unit, _skin(image, camera), rng)
    else:
        _thing(layer, cover, centre, unit, kind, tone, rng)
    if kind == "hand":  # skin has no hard creases
        layer = cv2.GaussianBlur(layer, (0, 0), max(0.5, unit * 0.03)).astype(np.uint8)
        layer[cover == 0] = 0
    small = (width, height)
    alpha = cv2.resize(cover, small, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    ink = cv2.resize(layer, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    grain = noise(rng, (height, width), max(3.0, camera.scale * 0.2))[..., None] * 9
    shadow = cv2.GaussianBlur(alpha[..., 0], (0, 0), max(0.6, camera.scale * 0.06))[..., None]
    # The layer is black where nothing was painted, so shrinking it has already multiplied it by its cover.
    out = image * (1 - 0.3 * shadow) * (1 - alpha) + ink + grain * alpha
    return np.clip(out, 0, 255).astype(np.uint8), np.asarray(alpha[..., 0], np.float32)


def _skin(image: Image, camera: Camera) -> Floats:
    """Return the colour of the forehead and cheeks, float32 (3,)."""
    spots = camera.project(np.array([[-0.55, 0.55, 0.0], [0.55, 0.55, 0.0], [0.0, -0.45, 0.1]], np.float32))
    radius = max(1, round(camera.scale * 0.1))
    patches = [
        image[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].reshape(-1, 3)
        for x, y in spots.round().astype(int)
    ]
    return np.asarray(np.median(np.vstack([np.full((1, 3), 140.0), *patches]), axis=0), np.float32)


def _hand(layer: Image, cover: Image, centre: Floats, unit: float, skin: Floats, rng: np.random.Generator) -> None:
    """Paint four fingers, a thumb and the back of a hand across the mouth, onto layer and cover."""
    turn = float(rng.choice([-1, 1])) * float(rng.uniform(0.2, 1.5))
    along = np.array([np.sin(turn), -np.cos(turn)])
    aside = np.array([np.cos(turn), np.sin(turn)])
    thick = unit * float(rng.uniform(0.24, 0.32))
    reach = unit * float(rng.uniform(0.6, 1.0))
    palm = centre - along * (unit * 1.15)

    def stroke(start: NDArray[Any], end: NDArray[Any], size: float, shade: float) -> None:
        first, last = (tuple(int(c) for c in p) for p in (start, end))
        for share, glow in ((1.0, 0.72), (0.8, 0.93), (0.4, 1.05)):
            colour = tuple(float(c) for c in np.clip(skin * glow * shade, 0, 255))
            cv2.line(layer, first, last, colour, max(1, int(size * share)), cv2.LINE_AA)
        cv2.line(cover, first, last, 255, max(1, int(size)), cv2.LINE_AA)

    stroke(palm - along * unit * 2.2, palm - along * unit * 0.4, unit * 0.95, 0.92)  # wrist and arm
    stroke(palm - aside * thick * 1.1, palm + aside * thick * 1.1, unit * 1.0, 0.97)
    stroke(palm - along * unit * 0.1, palm + aside * unit * 0.75 + along * unit * 0.5, thick * 1.05, 0.95)
    for finger, length in enumerate((0.82, 1.0, 0.95, 0.72)):
        base = palm + aside * (finger - 1.5) * thick * 0.95
        spread = aside * (finger - 1.5) * float(rng.uniform(-0.05, 0.12)) * unit
        stroke(base, base + along * (unit * 0.6 + reach * length) + spread, thick, float(rng.uniform(0.93, 1.05)))


def _thing(
    layer: Image, cover: Image, centre: Floats, unit: float, kind: str, tone: Floats, rng: np.random.Generator
) -> None:
    """Paint a mug, a phone or a ball before the mouth, onto layer and cover."""
    palette = np.array([[245, 245, 245], [40, 40, 45], [190, 40, 40], [60, 110, 180], [225, 190, 90], [80, 150, 90]])
    base = np.clip(palette[rng.integers(len(palette))] * tone + rng.normal(0, 12, 3), 8, 250)
    x, y = float(centre[0]), float(centre[1])
    if kind == "mug":
        half, tall = unit * float(rng.uniform(0.5, 0.75)), unit * float(rng.uniform(1.2, 1.7))
        corners = [
            [x - half, y - unit * 0.25],
            [x + half, y - unit * 0.25],
            [x + half * 0.8, y + tall],
            [x - half * 0.8, y + tall],
        ]
    elif kind == "phone":
        half, tall = unit * float(rng.uniform(0.42, 0.6)), unit * float(rng.uniform(1.0, 1.3))
        corners = [
            [x - half, y - tall * 0.6],
            [x + half, y - tall * 0.6],
            [x + half, y + tall],
            [x - half, y + tall],
        ]
        base = np.clip(np.array([35.0, 36.0, 40.0]) + rng.normal(0, 10, 3), 5, 250)
    else:
        radius = int(unit * float(rng.uniform(0.45, 0.65)))
        spot = (int(x), int(y + unit * 0.15))
        for share, glow in ((1.0, 0.7), (0.8, 0.95), (0.45, 1.12)):
            off = (int(spot[0] - radius * (1 - share) * 0.4), int(spot[1] - radius * (1 - share) * 0.4))
            colour = tuple(float(c) for c in np.clip(base * glow, 0, 255))
            cv2.circle(layer, off, int(radius * share), colour, -1, cv2.LINE_AA)
        cv2.circle(cover, spot, radius, 255, -1, cv2.LINE_AA)
        foot = (int(x + rng.normal(0, 0.4) * unit), int(y + unit * 3))
        cv2.line(layer, spot, foot, (30.0, 30.0, 32.0), max(1, int(radius * 0.5)), cv2.LINE_AA)
        cv2.line(cover, spot, foot, 255, max(1, int(radius * 0.5)), cv2.LINE_AA)
        cv2.circle(layer, spot, radius, tuple(float(c) for c in base * 0.9), -1, cv2.LINE_AA)
        return
    turn = float(rng.normal(0, 0.2))
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shape = (np.array(corners) - [x, y]) @ spin.T + [x, y]
    for step in range(8):  # a round body is lighter in its middle
        share = step / 8
        part = shape.copy()
        part[[0, 3]] = shape[[0, 3]] * (1 - share / 2) + shape[[1, 2]] * share / 2
        part[[1, 2]] = shape[[1, 2]] * (1 - share / 2) + shape[[0, 3]] * share / 2
        glow = 0.72 + 0.34 * share if kind == "mug" else 0.95 + 0.05 * share
        colour = tuple(float(c) for c in np.clip(base * glow, 0, 255))
        cv2.fillPoly(layer, [part.round().astype(np.int32)], colour, cv2.LINE_AA)
    cv2.fillPoly(cover, [shape.round().astype(np.int32)], 255, cv2.LINE_AA)
