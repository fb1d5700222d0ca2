"""Draw things that are no mask before the mouth of a bare face: hands, cups, food; or thin ones that hide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.training.draw_masks import Camera, Floats, Image, fit_camera, light
from ml.training.draw_prints import noise

HANDS = ("hand", "palm", "fist", "fingers", "two_hands")
THINGS = ("mug", "glass", "bottle", "phone", "ball", "food", "paper", "sleeve")
OCCLUDERS = (*HANDS, *THINGS)
THIN = ("cigarette", "straw", "near_microphone")  # the mouth stays in view
ZOOM = 2
PALETTE = (
    (245, 245, 245), (40, 40, 45), (190, 40, 40), (60, 110, 180), (225, 190, 90), (80, 150, 90), (200, 160, 130),
)  # fmt: skip


@dataclass(slots=True)
class Brush:
    """Paint onto a layer of colours and its cover; unit is the eye distance in the layer's pixels."""

    layer: Image
    cover: Image
    unit: float
    rng: np.random.Generator

    def stroke(
        self, points: Sequence[Any] | NDArray[Any], width: float, colour: NDArray[Any], shade: float = 1.0
    ) -> None:
        """Paint a round limb through points (N,2), lighter along its middle."""
        line = (np.array(points, np.float32) * 16).round().astype(np.int32)
        for share, glow in ((1.0, 0.66), (0.88, 0.85), (0.66, 0.97), (0.34, 1.06)):
            ink = tuple(float(c) for c in np.clip(colour * glow * shade, 1, 255))
            lifted = line - np.array([0, int(width * (1 - share) * 2)], np.int32)
            cv2.polylines(self.layer, [lifted], False, ink, max(1, int(width * share)), cv2.LINE_AA, 4)
        cv2.polylines(self.cover, [line], False, 255, max(1, int(width)), cv2.LINE_AA, 4)

    def fill(self, points: Any, colour: NDArray[Any], glow: float = 1.0) -> None:
        """Paint a flat polygon (N,2)."""
        shape = (np.asarray(points, np.float32) * 16).round().astype(np.int32)
        ink = tuple(float(c) for c in np.clip(np.asarray(colour) * glow, 1, 255))
        cv2.fillPoly(self.layer, [shape], ink, cv2.LINE_AA, 4)
        cv2.fillPoly(self.cover, [shape], 255, cv2.LINE_AA, 4)

    def round_body(self, corners: Any, colour: NDArray[Any]) -> None:
        """Paint an upright round body between its four corners, lighter in its middle."""
        shape = np.asarray(corners, np.float32)
        for step in range(10):
            share = step / 10
            part = shape.copy()
            part[[0, 3]] = shape[[0, 3]] * (1 - share * 0.6) + shape[[1, 2]] * share * 0.6
            part[[1, 2]] = shape[[1, 2]] * (1 - share * 0.4) + shape[[0, 3]] * share * 0.4
            self.fill(part, colour, 0.66 + 0.42 * share)

    def ellipse(
        self, centre: Any, axes: tuple[float, float], turn: float, colour: NDArray[Any], glow: float = 1.0
    ) -> None:
        """Paint a filled ellipse; turn in radians."""
        angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        ring = np.stack([np.cos(angle) * axes[0], np.sin(angle) * axes[1]], axis=1)
        self.fill(ring @ _spin(turn).T + np.asarray(centre), colour, glow)


def _spin(turn: float) -> NDArray[np.float64]:
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def draw_occluder(image: Image, landmarks: NDArray[Any], kind: str, seed: int = 0) -> tuple[Image, Floats]:
    """Draw something that is no mask before the mouth; return the RGB picture and its cover, float32 in 0..1.

    kind: one of OCCLUDERS, which hide the mouth, or of THIN, which do not. Raises ValueError for another one.
    """
    if kind not in OCCLUDERS and kind not in THIN:
        raise ValueError(f"unknown occluder: {kind}")
    rng = np.random.default_rng(seed)
    camera = fit_camera(landmarks)
    tone, _ = light(image, camera)
    height, width = image.shape[:2]
    layer = np.zeros((height * ZOOM, width * ZOOM, 3), np.uint8)
    cover = np.zeros((height * ZOOM, width * ZOOM), np.uint8)
    brush = Brush(layer, cover, camera.scale * ZOOM, rng)
    centre = camera.project(np.array([[0.0, 1.0, 0.2]], np.float32))[0] * ZOOM
    skin = _skin(image, camera) * float(rng.uniform(0.86, 1.08))
    if kind in HANDS and rng.random() < 0.06:  # a glove
        skin = np.array(PALETTE[rng.integers(len(PALETTE))], np.float32) * tone
    if kind in THIN:
        _thin(brush, camera, kind, skin, tone)
    elif kind in HANDS:
        _hands(brush, centre + rng.normal(0, 0.06, 2) * brush.unit, kind, skin)
    else:
        _thing(brush, centre + rng.normal(0, 0.06, 2) * brush.unit, kind, skin, tone)
    if kind in HANDS or kind == "sleeve":  # skin and cloth have no hard creases
        soft = max(0.5, brush.unit * 0.025)
        layer = cv2.GaussianBlur(layer, (0, 0), soft)
        weight = cv2.GaussianBlur((cover > 0).astype(np.float32), (0, 0), soft)[..., None]
        layer = np.clip(layer / np.maximum(weight, 0.2), 0, 255).astype(np.uint8)
        layer = (layer * (cover[..., None] / 255)).astype(np.uint8)
    small = (width, height)
    alpha = cv2.resize(cover, small, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    ink = cv2.resize(layer, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    if kind == "glass":
        alpha, ink = alpha * 0.62, ink * 0.62
    grain = noise(rng, (height, width), max(3.0, camera.scale * 0.2))[..., None] * 7
    grain = grain + rng.normal(0, 2.5, (height, width, 1)).astype(np.float32)
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


def _hands(brush: Brush, centre: NDArray[Any], kind: str, skin: NDArray[Any]) -> None:
    """Paint the back of one or two hands over the mouth."""
    rng = brush.rng
    if kind == "fist":
        _fist(brush, centre, skin)
    elif kind == "two_hands":
        turn, apart = float(rng.uniform(0.25, 0.75)), float(rng.uniform(0.1, 0.35))
        for way in rng.permutation([-1.0, 1.0]):
            _hand(brush, centre + np.array([way * apart * brush.unit, 0]), skin, -way * turn, 0.85, (1, 1, 1, 1))
    else:
        turn = float(rng.choice([-1, 1])) * float(rng.uniform(0.1, 1.9))
        if kind == "fingers":
            _hand(brush, centre, skin, turn, 1.1, (0.25, 1, 1, 1) if rng.random() < 0.6 else (1, 1, 1, 0.25))
        else:
            _hand(brush, centre, skin, turn, 0.25 if kind == "palm" else 1.05, (1, 1, 1, 1))


def _hand(
    brush: Brush,
    centre: NDArray[Any],
    skin: NDArray[Any],
    turn: float,
    back: float,
    lengths: tuple[float, float, float, float],
) -> None:
    """Paint a hand that points along `turn`; its knuckles lie `back` eye distances behind the centre."""
    rng, unit = brush.rng, brush.unit
    along = np.array([np.sin(turn), -np.cos(turn)])
    aside = np.array([np.cos(turn), np.sin(turn)]) * float(rng.choice([-1, 1]))
    thick = unit * float(rng.uniform(0.26, 0.33))
    reach = unit * float(rng.uniform(0.45, 0.8))
    palm = centre - along * (unit * back)
    bend = aside * float(rng.normal(0, 0.08)) * unit
    sleeve = np.array(PALETTE[rng.integers(len(PALETTE))], np.float32) * 0.8
    wrist = palm - along * unit * 1.5
    brush.stroke([palm - along * unit * 3.2 + bend * 3, wrist], unit * 0.85, skin, 0.92)
    if rng.random() < 0.6:
        brush.stroke([palm - along * unit * 3.4 + bend * 3, wrist - along * unit * 0.5], unit * 1.05, sleeve)
    brush.stroke([wrist, palm - along * unit * 0.3], unit * 0.9, skin, 0.95)
    brush.stroke([palm - aside * thick * 1.3, palm + aside * thick * 1.3], unit * 1.05, skin, 0.98)
    if rng.random() < 0.7:
        tip = palm + aside * unit * float(rng.uniform(0.6, 0.95)) + along * unit * float(rng.uniform(0.2, 0.6))
        brush.stroke([palm - along * unit * 0.5 + aside * thick, palm + aside * unit * 0.55, tip], thick * 1.08, skin)
    spread = float(rng.uniform(-0.04, 0.11))
    for finger in rng.permutation(4):
        length = (0.82, 1.0, 0.95, 0.72)[finger] * lengths[finger]
        base = palm + aside * (finger - 1.5) * thick * 0.95
        end = base + along * (unit * 0.55 + reach * length) * min(1.0, length + 0.3)
        knee = (base + end) / 2 + bend * 0.4
        end = end + aside * (finger - 1.5) * spread * unit + bend
        shade = float(rng.uniform(0.92, 1.05))
        brush.stroke([base, knee, end], thick * (1.0 if finger < 3 else 0.88), skin, shade)
        if lengths[finger] == 1 and rng.random() < 0.5:  # a nail
            brush.ellipse(end + along * thick * 0.1, (thick * 0.26, thick * 0.34), turn, skin, 1.12)


def _fist(brush: Brush, centre: NDArray[Any], skin: NDArray[Any]) -> None:
    rng, unit = brush.rng, brush.unit
    way = float(rng.choice([-1, 1]))
    turn = way * float(rng.uniform(0.0, 0.9))
    down = np.array([-np.sin(turn), np.cos(turn)])
    across = np.array([np.cos(turn), np.sin(turn)])
    thick = unit * float(rng.uniform(0.30, 0.36))
    brush.stroke([centre + down * unit * 0.7, centre + down * unit * 3.2], unit * 0.9, skin, 0.93)
    brush.stroke([centre + down * unit * 0.4 - across * thick, centre + down * unit * 0.4 + across * thick], unit, skin)
    for finger in range(4):
        top = centre + across * (finger - 1.5) * thick * 0.98 - down * unit * float(rng.uniform(0.18, 0.26))
        brush.stroke([top, top + down * unit * 0.55], thick, skin, float(rng.uniform(0.93, 1.04)))
    start = centre + across * way * thick * 2.0 + down * unit * 0.6
    brush.stroke([start, centre + down * unit * 0.42 - across * way * thick * 0.6], thick, skin, 1.02)


def _grip(brush: Brush, centre: NDArray[Any], half: float, skin: NDArray[Any]) -> None:
    """Paint the fingers that hold an upright thing."""
    rng, unit = brush.rng, brush.unit
    way = float(rng.choice([-1, 1]))
    thick = unit * 0.27
    palm = centre + np.array([way * (half + unit * 0.25), unit * 0.3])
    brush.stroke([palm, palm + np.array([way * unit * 0.9, unit * 2.4])], unit * 0.8, skin, 0.93)
    brush.stroke(palm + np.array([[0, -thick], [0, thick]]), unit * 0.6, skin)
    for finger in range(4):
        start = palm + np.array([0.0, (finger - 1.5) * thick])
        end = start - np.array([way * (half * 1.2 + unit * 0.25) * (1 - 0.08 * finger), -unit * 0.06])
        brush.stroke([start, end], thick, skin, float(rng.uniform(0.94, 1.05)))


def _thing(brush: Brush, centre: NDArray[Any], kind: str, skin: NDArray[Any], tone: NDArray[Any]) -> None:
    """Paint a thing before the mouth, often with the hand that holds it."""
    rng, unit = brush.rng, brush.unit
    base = np.clip(np.array(PALETTE[rng.integers(len(PALETTE))]) * tone + rng.normal(0, 14, 3), 8, 250)
    base = base.astype(np.float32)
    x, y = float(centre[0]), float(centre[1])
    turn = float(rng.normal(0, 0.18))

    def upright(above: float, below: float, high: float, low: float) -> NDArray[np.float64]:
        corners = np.array([[-high, -above], [high, -above], [low, below], [-low, below]]) * unit
        return np.asarray(corners @ _spin(turn).T + centre, np.float64)

    if kind in ("mug", "glass"):
        half, tall = float(rng.uniform(0.5, 0.78)), float(rng.uniform(1.1, 1.6))
        if kind == "glass":
            base = np.array([205, 215, 215], np.float32) * tone
        if kind == "mug" and rng.random() < 0.5:
            side = float(rng.choice([-1, 1]))
            handle = centre + np.array([side * half * unit, unit * 0.6])
            cv2.ellipse(brush.layer, handle.astype(int).tolist(), (int(unit * 0.4), int(unit * 0.45)), 0, 0, 360,
                        tuple(float(c) for c in base * 0.85), max(2, int(unit * 0.16)), cv2.LINE_AA)  # fmt: skip
            cv2.ellipse(brush.cover, handle.astype(int).tolist(), (int(unit * 0.4), int(unit * 0.45)), 0, 0, 360, 255,
                        max(2, int(unit * 0.16)), cv2.LINE_AA)  # fmt: skip
        body = upright(0.25, tall, half, half * float(rng.uniform(0.7, 1.0)))
        brush.round_body(body, base)
        brush.ellipse((body[0] + body[1]) / 2, (half * unit, unit * 0.12), turn, base, 1.08)
        brush.ellipse((body[0] + body[1]) / 2, (half * unit * 0.9, unit * 0.08), turn, base, 0.6)
        if kind == "mug" and rng.random() < 0.5:
            band = body[[0, 1, 1, 0]] * 0.55 + body[[3, 2, 2, 3]] * 0.45
            band[2:] += (body[2] - body[1]) * 0.2
            brush.fill(band, np.array(PALETTE[rng.integers(len(PALETTE))], np.float32), float(tone.mean()))
        if rng.random() < 0.6:
            _grip(brush, centre + np.array([0, unit * 0.5 * tall]), half * unit, skin)
    elif kind == "bottle":
        turn = float(rng.choice([-1, 1])) * float(rng.uniform(0.1, 0.9))
        neck = upright(0.28, 0.8, float(rng.uniform(0.3, 0.4)), 0.36)
        wide = float(rng.uniform(0.5, 0.65))
        brush.round_body(upright(-0.7, 2.8, wide, wide), base)
        brush.round_body(neck, base if rng.random() < 0.5 else np.array([210, 215, 220], np.float32) * tone)
        _grip(brush, centre + _spin(turn) @ np.array([0, unit * 1.6]), wide * unit, skin)
    elif kind in ("phone", "paper"):
        dark = kind == "phone" and rng.random() < 0.75
        base = np.array([38, 39, 43], np.float32) if dark else base
        if kind == "paper":
            base = np.array([225, 222, 212], np.float32) * tone if rng.random() < 0.5 else base
        high, half = (0.7, float(rng.uniform(0.42, 0.6))) if kind == "phone" else (0.45, float(rng.uniform(0.9, 1.5)))
        body = upright(high + float(rng.uniform(-0.15, 0.25)), float(rng.uniform(0.9, 1.6)), half, half)
        brush.fill(body, base)
        for line in range(int(rng.integers(0, 6))):
            at = 0.15 + 0.13 * line
            strip = body[[0, 1, 1, 0]] * (1 - at) + body[[3, 2, 2, 3]] * at
            strip[2:] += (body[2] - body[1]) * 0.04
            middle = strip.mean(axis=0)
            brush.fill(middle + (strip - middle) * 0.75, base, 0.75 if base.mean() > 90 else 1.6)
        _grip(brush, centre + np.array([0, unit * 0.7]), half * unit, skin)
    elif kind == "sleeve":
        way = float(rng.choice([-1, 1]))
        elbow = centre + np.array([way * float(rng.uniform(0.3, 1.2)), float(rng.uniform(-0.1, 0.2))]) * unit
        upper = centre + np.array([-way * 2.5, float(rng.uniform(0.6, 2.4))]) * unit
        lower = elbow + np.array([way * float(rng.uniform(-0.4, 1.5)), 2.6]) * unit
        base = base * 0.85
        brush.stroke([lower, elbow], unit * 1.15, base, 0.9)
        brush.stroke([upper, elbow], unit * float(rng.uniform(1.2, 1.5)), base)
        for _ in range(6):
            crease = elbow + (upper - elbow) * float(rng.uniform(0, 0.6))
            fold = rng.normal(0, 0.25, 2) * unit
            brush.stroke(
                [crease - fold, crease + fold], unit * float(rng.uniform(0.05, 0.16)), base, float(rng.uniform(0.75, 1))
            )
    elif kind == "food":
        wide, tall = unit * float(rng.uniform(0.5, 0.8)), unit * float(rng.uniform(0.36, 0.5))
        bread = np.array([205, 150, 85], np.float32) * tone
        brush.ellipse((x, y + unit * 0.05), (wide, tall), turn, bread, 0.85)
        brush.ellipse((x, y - unit * 0.05), (wide * 0.9, tall * 0.75), turn, bread, 1.08)
        for layer in ((90, 150, 60), (190, 50, 40), (110, 70, 45))[: int(rng.integers(0, 4))]:
            low = np.array([0, unit * float(rng.uniform(-0.02, 0.2))])
            brush.ellipse(centre + low, (wide * 0.98, unit * 0.07), turn, np.array(layer, np.float32) * tone)
        _grip(brush, centre + np.array([0, unit * 0.35]), wide * 0.8, skin)
    else:
        radius = unit * float(rng.uniform(0.45, 0.65))
        spot = np.array([x, y + unit * 0.15])
        foot = np.array([x + rng.normal(0, 0.5) * unit, y + unit * 3])
        fruit = rng.random() < 0.35
        if not fruit:
            brush.stroke([spot, foot], radius * 0.7, np.array([42, 42, 46], np.float32))
        for share, glow in ((1.0, 0.66), (0.85, 0.9), (0.55, 1.05), (0.25, 1.18)):
            off = spot - radius * (1 - share) * 0.4
            brush.ellipse(off, (radius * share, radius * share), 0.0, base, glow)
        if rng.random() < 0.7:
            _grip(brush, spot + np.array([0, radius * (0.4 if fruit else 1.9)]), radius * 0.5, skin)


def _thin(brush: Brush, camera: Camera, kind: str, skin: NDArray[Any], tone: NDArray[Any]) -> None:
    """Paint a cigarette, a straw or a microphone that leaves the mouth in view."""
    rng, unit = brush.rng, brush.unit
    way = float(rng.choice([-1, 1]))
    if kind == "near_microphone":
        spot = camera.project(np.array([[way * 0.25, 1.75, 0.4]], np.float32))[0] * ZOOM
        dark = np.array([45, 45, 50], np.float32)
        foot = spot + np.array([way * 0.5, 2.5]) * unit
        brush.stroke([spot, foot], unit * 0.25, dark)
        for share, glow in ((1.0, 0.7), (0.7, 1.1), (0.35, 1.5)):
            brush.ellipse(spot, (unit * 0.26 * share, unit * 0.26 * share), 0.0, dark, glow)
        _grip(brush, spot + np.array([way * 0.2, 0.9]) * unit, unit * 0.14, skin)
        return
    lips = camera.project(np.array([[way * float(rng.uniform(0.0, 0.3)), 1.03, 0.3]], np.float32))[0] * ZOOM
    out = np.array([way * float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.1, 0.6))]) * unit
    if kind == "straw":
        colour = np.array(PALETTE[rng.integers(len(PALETTE))], np.float32) * tone
        out = np.array([way * float(rng.uniform(0.0, 0.5)), 1.0]) * unit
        brush.stroke([lips, lips + out * 1.2], unit * 0.075, colour)
        cup = lips + out * 1.25
        brush.round_body(cup + np.array([[-0.45, 0.0], [0.45, 0.0], [0.35, 2.0], [-0.35, 2.0]]) * unit, colour)
        _grip(brush, cup + np.array([0, unit * 0.6]), unit * 0.4, skin)
        return
    brush.stroke([lips, lips + out], unit * 0.09, np.array([235, 232, 225], np.float32) * tone)
    brush.stroke([lips + out * 0.97, lips + out], unit * 0.09, np.array([200, 90, 50], np.float32))
    if rng.random() < 0.7:  # two fingers that hold it, off the lips
        held = lips + out * 0.75
        for finger in (-1, 1):
            start = held + np.array([way * (0.35 + 0.1 * finger), 1.1]) * unit
            brush.stroke([start, held + np.array([way * 0.1 * finger, -0.15]) * unit], unit * 0.24, skin)
        back = held + np.array([way * 0.45, 1.2]) * unit
        brush.stroke([back, back + np.array([way * 0.6, 2.0]) * unit], unit * 0.9, skin, 0.95)
