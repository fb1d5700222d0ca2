"""Draw what a face may wear besides and what changes nothing about its mask: glasses, hats, a clear face shield."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.training.draw_masks import Camera, Floats, Image, fit_camera, light

EXTRAS = ("sunglasses", "glasses", "cap", "beanie", "shield")
SHIFT = 4  # bits of a pixel that OpenCV's brushes see


def draw_extra(image: Image, landmarks: NDArray[Any], kind: str, seed: int = 0) -> tuple[Image, Floats]:
    """Draw something that leaves the face's state as it is; return the RGB picture and its cover, float32 in 0..1.

    kind: one of EXTRAS; a shield is clear. Raises ValueError for another one.
    """
    if kind not in EXTRAS:
        raise ValueError(f"unknown extra: {kind}")
    rng = np.random.default_rng(seed)
    camera = fit_camera(landmarks)
    tone, _ = light(image, camera)
    cover = np.zeros(image.shape[:2], np.float32)
    colours = np.zeros(image.shape, np.float32)
    if kind in ("sunglasses", "glasses"):
        _glasses(colours, cover, camera, rng, dark=kind == "sunglasses")
    elif kind == "shield":
        _shield(colours, cover, camera, rng)
    else:
        _hat(colours, cover, camera, kind, tone, rng)
    shadow = cv2.GaussianBlur(cover, (0, 0), max(0.6, camera.scale * 0.05))
    drop = np.array([[1, 0, 0], [0, 1, camera.scale * 0.06]], np.float32)
    shadow = cv2.warpAffine(shadow, drop, cover.shape[::-1]) * (1 - cover)
    out = image * (1 - (0.05 if kind == "shield" else 0.3) * shadow)[..., None]
    out = out * (1 - cover[..., None]) + colours * cover[..., None]
    return np.clip(out, 0, 255).astype(np.uint8), cover


def _paint(colours: Floats, cover: Floats, points: Floats, ink: Any, share: float = 1.0, line: int = 0) -> None:
    """Paint a polygon of pixels (N,2), or an open line as wide as `line`, with `share` of cover, in place."""
    shape = [(points * (1 << SHIFT)).round().astype(np.int32)]
    fresh = np.zeros(cover.shape, np.uint8)
    if line:
        cv2.polylines(fresh, shape, False, 255, line, cv2.LINE_AA, SHIFT)
    else:
        cv2.fillPoly(fresh, shape, 255, cv2.LINE_AA, SHIFT)
    alpha = fresh.astype(np.float32) / 255 * share
    total = alpha + cover * (1 - alpha)
    weight = (alpha / np.maximum(total, 1e-6))[..., None]
    colours[:] = colours * (1 - weight) + np.asarray(ink, np.float32) * weight
    cover[:] = total


def _glasses(colours: Floats, cover: Floats, camera: Camera, rng: np.random.Generator, *, dark: bool) -> None:
    frame = rng.integers(0, 90, 3) if rng.random() < 0.7 else rng.integers(90, 220, 3)
    lens = np.full(3, float(rng.integers(5, 50))) + rng.integers(-5, 18, 3)
    wide, tall = float(rng.uniform(0.32, 0.42)), float(rng.uniform(0.22, 0.34))
    power = float(rng.uniform(2.0, 5.0))  # from round to square
    angle = np.linspace(0, 2 * np.pi, 40)
    cos, sin = np.cos(angle), np.sin(angle)
    thick = max(1, round(camera.scale * float(rng.uniform(0.03, 0.08))))
    for way in (-1.0, 1.0):
        x = way * 0.5 + wide * np.sign(cos) * np.abs(cos) ** (2 / power)
        y = 0.04 + tall * np.sign(sin) * np.abs(sin) ** (2 / power)
        ring = camera.project(np.stack([x, y, np.full_like(x, 0.2)], axis=1).astype(np.float32))
        if dark:
            _paint(colours, cover, ring, lens, float(rng.uniform(0.8, 1.0)))
        elif rng.random() < 0.3:
            _paint(colours, cover, ring, (235, 240, 245), float(rng.uniform(0.05, 0.3)))
        _paint(colours, cover, ring, frame, line=thick)
        if camera.towards[0] * way > -0.35:
            arm = np.array([[way * (0.5 + wide), 0.0, 0.2], [way * 1.1, 0.05, -0.7]], np.float32)
            _paint(colours, cover, camera.project(arm), frame, line=thick)
    bridge = np.array([[-0.5 + wide, 0.0, 0.2], [0.0, -0.06, 0.3], [0.5 - wide, 0.0, 0.2]], np.float32)
    _paint(colours, cover, camera.project(bridge), frame, line=thick)


def _hat(colours: Floats, cover: Floats, camera: Camera, kind: str, tone: Floats, rng: np.random.Generator) -> None:
    ink = np.clip(rng.integers(10, 235, 3) * tone, 4, 250)
    low = float(rng.uniform(-0.75, -0.4))
    angle = np.linspace(-np.pi / 2, np.pi / 2, 24)
    band = np.stack([1.12 * np.sin(angle), low + 0.15 * (1 - np.cos(angle)), -0.8 + 1.0 * np.cos(angle)], axis=1)
    crown = np.stack([1.1 * np.sin(angle), low - 1.1 * np.cos(angle), np.full(24, -0.8)], axis=1)
    shape = np.vstack([band, crown[::-1]]).astype(np.float32)
    _paint(colours, cover, camera.project(shape), ink)
    if kind == "beanie":
        thick = max(2, round(camera.scale * 0.3))
        _paint(
            colours, cover, camera.project((band - np.array([0, 0.12, 0])).astype(np.float32)), ink * 0.85, line=thick
        )
    else:
        brim = np.stack([0.95 * np.sin(angle), low + 0.25 * np.cos(angle), 0.2 + 0.75 * np.cos(angle)], axis=1)
        edge = np.vstack([brim, band[::-1]]).astype(np.float32)
        _paint(colours, cover, camera.project(edge), ink * 0.7)


def _shield(colours: Floats, cover: Floats, camera: Camera, rng: np.random.Generator) -> None:
    """Draw a sheet of clear plastic: a band over the brows, glare, a bright rim."""
    angle = np.linspace(-1.25, 1.25, 24)
    low, high = float(rng.uniform(2.0, 2.7)), float(rng.uniform(-0.9, -0.55))
    ring = np.stack([1.35 * np.sin(angle), np.zeros(24), -0.6 + 1.25 * np.cos(angle)], axis=1)
    top, bottom = (camera.project((ring + np.array([0, y, 0])).astype(np.float32)) for y in (high, low))
    _paint(colours, cover, np.vstack([top, bottom[::-1]]), (225, 232, 238), float(rng.uniform(0.04, 0.22)))
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, 21))
        start, end = float(rng.uniform(0, 0.5)), float(rng.uniform(0.5, 1))
        strip = np.array([top[at], top[at + 2], bottom[at + 2], bottom[at]])
        glare = np.array(
            [strip[i] * (1 - s) + strip[j] * s for i, j, s in ((0, 3, start), (1, 2, start), (1, 2, end), (0, 3, end))]
        )
        _paint(colours, cover, glare.astype(np.float32), (250, 250, 252), float(rng.uniform(0.1, 0.45)))
    band = rng.choice([30, 90, 200, 240]) + rng.integers(-12, 12, 3)
    thick = max(2, round(camera.scale * float(rng.uniform(0.15, 0.4))))
    _paint(colours, cover, top, band, float(rng.uniform(0.7, 1.0)), line=thick)
    rim = np.vstack([top[:1], bottom, top[-1:]])
    _paint(colours, cover, rim, (240, 243, 246), float(rng.uniform(0.2, 0.7)), line=max(1, round(camera.scale * 0.04)))
