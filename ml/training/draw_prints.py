"""Print cloth: the patterns of drawn masks, flat, before they are bent around a face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COMMON_PATTERNS = ("dots", "stripes", "checks", "flowers", "camouflage", "smile", "snout", "letters")
PATTERNS = (*COMMON_PATTERNS, "lips", "teeth", "logo", "moustache", "splashes")
Ink = tuple[float, float, float]


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Floats:
    """Return smooth noise, float32 in -1..1, with blobs of about `cell` samples."""
    small = rng.standard_normal((max(2, int(shape[0] / cell) + 2), max(2, int(shape[1] / cell) + 2)))
    return np.tanh(cv2.resize(small.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC))


def print_cloth(
    pattern: str,
    colour: tuple[int, int, int],
    accent: tuple[int, int, int],
    rng: np.random.Generator,
    size: tuple[int, int],
) -> Floats:
    """Return printed cloth, float32 (rows, columns, 3). Raises ValueError for an unknown pattern."""
    if pattern not in PATTERNS:
        raise ValueError(f"unknown pattern: {pattern}")
    sheet = np.empty((*size, 3), np.uint8)
    sheet[:] = colour
    if pattern in ("stripes", "checks", "camouflage", "splashes"):
        _fields(sheet, pattern, np.array(colour, np.float32), np.array(accent, np.float32), rng)
    elif pattern in ("smile", "snout", "lips", "teeth", "moustache"):
        _faces(sheet, pattern, (float(accent[0]), float(accent[1]), float(accent[2])), rng)
    elif pattern in ("letters", "logo"):
        _signs(sheet, pattern, (float(accent[0]), float(accent[1]), float(accent[2])), rng)
    else:
        _petals(sheet, 5 if pattern == "flowers" else 1, (float(accent[0]), float(accent[1]), float(accent[2])), rng)
    return sheet.astype(np.float32)


def _fields(sheet: NDArray[np.uint8], pattern: str, colour: Floats, accent: Floats, rng: np.random.Generator) -> None:
    rows, columns = sheet.shape[:2]
    unit = columns / 14 * float(rng.uniform(0.6, 1.5))
    yy, xx = np.mgrid[:rows, :columns].astype(np.float32)
    if pattern == "stripes":
        angle = float(rng.uniform(0, np.pi))
        sheet[np.sin((xx * np.cos(angle) + yy * np.sin(angle)) * 2 * np.pi / (unit * 1.4)) > 0] = accent
    elif pattern == "checks":
        share = ((np.floor(xx / unit) % 2) + (np.floor(yy / unit) % 2)) / 2
        sheet[:] = colour * (1 - share[..., None]) + accent * share[..., None]
    elif pattern == "camouflage":
        field = noise(rng, (rows, columns), unit * 1.5)
        sheet[field > 0.25] = accent
        sheet[field < -0.3] = colour * 0.45
    else:
        for _ in range(3):
            sheet[noise(rng, (rows, columns), unit * float(rng.uniform(0.6, 2.5))) > 0.45] = rng.integers(0, 256, 3)


def _faces(sheet: NDArray[np.uint8], pattern: str, ink: Ink, rng: np.random.Generator) -> None:
    """Print a mouth: the hardest cloth, for it shows what a mask hides."""
    rows, columns = sheet.shape[:2]
    x, y = columns // 2, int(rows * rng.uniform(0.52, 0.66))
    thick = max(1, int(columns / 60))
    wide, tall = int(columns * rng.uniform(0.12, 0.2)), int(rows * rng.uniform(0.06, 0.13))
    if pattern == "smile":
        cv2.ellipse(sheet, (x, y), (columns // 5, rows // 7), 0, 0, 180, ink, thick * 2, cv2.LINE_AA)
    elif pattern == "snout":
        cv2.ellipse(sheet, (x, int(rows * 0.4)), (columns // 16, rows // 14), 0, 0, 360, ink, -1, cv2.LINE_AA)
        for way in (-1, 1):
            spot = (x + way * columns // 11, int(rows * 0.55))
            cv2.ellipse(sheet, spot, (columns // 11, rows // 9), 0, 0, 180, ink, thick, cv2.LINE_AA)
    elif pattern == "moustache":
        for way in (-1, 1):
            spot = (x + way * wide // 2, y)
            cv2.ellipse(sheet, spot, (wide // 2 + thick, tall // 2 + 1), way * 15, 0, 360, ink, -1, cv2.LINE_AA)
    else:
        red = (float(rng.integers(150, 230)), float(rng.integers(20, 90)), float(rng.integers(40, 110)))
        cv2.ellipse(sheet, (x, y), (wide, tall), 0, 0, 360, red, -1, cv2.LINE_AA)
        if pattern == "lips":
            cv2.line(sheet, (x - wide, y), (x + wide, y), (90.0, 15.0, 30.0), thick, cv2.LINE_AA)
            cv2.ellipse(sheet, (x, y - tall), (wide // 3, tall // 3), 0, 0, 180, sheet[0, 0].tolist(), -1, cv2.LINE_AA)
        else:
            cv2.ellipse(sheet, (x, y), (int(wide * 0.86), int(tall * 0.72)), 0, 0, 360, (245.0,) * 3, -1, cv2.LINE_AA)
            cv2.line(sheet, (x - wide, y), (x + wide, y), (60.0, 40.0, 40.0), thick, cv2.LINE_AA)
            for tooth in np.linspace(-0.7, 0.7, int(rng.integers(5, 9))):
                at = int(x + wide * tooth)
                cv2.line(sheet, (at, y - tall // 2), (at, y + tall // 2), (90.0, 70.0, 70.0), max(1, thick // 2))


def _signs(sheet: NDArray[np.uint8], pattern: str, ink: Ink, rng: np.random.Generator) -> None:
    rows, columns = sheet.shape[:2]
    if pattern == "letters":
        text = "".join(rng.choice(list("ABCDEHKLMNORSTU"), int(rng.integers(3, 8))))
        size = columns / float(rng.uniform(130, 260))
        spot = (int(columns * rng.uniform(0.18, 0.42)), int(rows * rng.uniform(0.4, 0.75)))
        cv2.putText(sheet, text, spot, cv2.FONT_HERSHEY_SIMPLEX, size, ink, int(size * 4) + 1, cv2.LINE_AA)
        return
    spot = (int(columns * rng.uniform(0.25, 0.75)), int(rows * rng.uniform(0.35, 0.7)))
    radius = int(columns * rng.uniform(0.05, 0.13))
    corners = int(rng.integers(3, 7))
    angle = np.arange(corners * 2) * np.pi / corners + float(rng.uniform(0, 2))
    away = radius * np.where(np.arange(corners * 2) % 2, float(rng.uniform(0.4, 1.0)), 1.0)
    star = np.stack([spot[0] + away * np.cos(angle), spot[1] + away * np.sin(angle)], axis=1)
    cv2.fillPoly(sheet, [star.round().astype(np.int32)], ink, cv2.LINE_AA)


def _petals(sheet: NDArray[np.uint8], petals: int, ink: Ink, rng: np.random.Generator) -> None:
    rows, columns = sheet.shape[:2]
    unit = columns / 14 * float(rng.uniform(0.6, 1.5))
    for row in range(-1, int(rows / unit) + 2):
        for column in range(-1, int(columns / unit) + 2):
            jitter = rng.uniform(-0.25, 0.25, 2) if petals > 1 else np.zeros(2)
            cx, cy = (column + (row % 2) / 2 + jitter[0]) * unit, (row + jitter[1]) * unit
            for petal in range(petals):
                turn = petal * 2 * np.pi / petals
                away = unit * 0.2 if petals > 1 else 0.0
                spot = (int(cx + away * np.cos(turn)), int(cy + away * np.sin(turn)))
                cv2.circle(sheet, spot, max(1, int(unit * 0.22)), ink, -1, cv2.LINE_AA)
            if petals > 1:
                middle = (int(cx), int(cy))
                cv2.circle(sheet, middle, max(1, int(unit * 0.13)), (235.0, 200.0, 70.0), -1, cv2.LINE_AA)
