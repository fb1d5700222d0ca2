"""Make the demo's pictures again from the one portrait: `python -m ml.training.demo_pictures`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ml.training.draw_masks import Floats, Image, MaskStyle, draw_mask, random_style

PHOTOS = Path(__file__).resolve().parents[2] / "mask_social" / "demo" / "photos"
# Measured once on portrait.jpg: eyes, nose tip, mouth corners, the picture's left first.
LANDMARKS = np.array([[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]], np.float32)
GPS_IFD = 0x8825
# The foot of the Washington Monument: a public place that is nobody's home.
GPS = {1: "N", 2: (38.0, 53.0, 22.0), 3: "W", 4: (77.0, 2.0, 7.0)}

SURGICAL = MaskStyle(seed=3)
PATTERNED = MaskStyle(
    kind="patterned",
    pattern="flowers",
    colour=(40, 70, 120),
    accent=(235, 170, 175),
    loops=(40, 70, 120),
    seed=14,
)
UNDER_NOSE = MaskStyle(position="under_nose", seed=5)
GPS_MASK = MaskStyle(kind="cloth", colour=(60, 95, 80), loops=(60, 95, 80), seed=6)
# Turned over and cut closer: a photo of its own, where the others are near-duplicates of each other.
GPS_CUT = (slice(0, 330), slice(60, 390))


def _save(picture: Image, path: Path, gps: bool = False) -> None:
    exif = Pillow.Exif()
    if gps:
        exif[GPS_IFD] = GPS
    extra: dict[str, Any] = {"exif": exif} if gps else {}
    Pillow.fromarray(picture).save(path, quality=90, optimize=True, **extra)


def _ridges(rng: np.random.Generator, width: int, rough: float) -> NDArray[np.float64]:
    """Return a mountain line of `width` heights around 0 by midpoint displacement."""
    points = rng.normal(0, 1, 3)
    amount = 1.0
    while len(points) < width:
        between = (points[:-1] + points[1:]) / 2 + rng.normal(0, amount, len(points) - 1) * rough
        points = np.insert(points, np.arange(1, len(points)), between)
        amount *= 0.5
    return np.asarray(points[:width], np.float64)


def draw_landscape(seed: int = 7, width: int = 960, height: int = 640) -> Image:
    """Draw hills, a lake and a sky without anybody in it, uint8 RGB."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None, None]
    picture = np.array([110.0, 160.0, 215.0]) * (1 - rows) + np.array([245.0, 215.0, 180.0]) * rows
    picture = np.repeat(picture, width, axis=1)
    clouds = sum(
        cv2.resize(rng.standard_normal((4 * 2**k, 4 * 2**k)), (width, height), interpolation=cv2.INTER_CUBIC) / 2**k
        for k in range(5)
    )
    veil = np.clip(np.asarray(clouds) - 0.3, 0, 1)[..., None] * (1 - rows) * 0.7
    picture = picture * (1 - veil) + 250 * veil
    yy = np.arange(height)[:, None]
    for line, tall, colour, rough in (
        (0.50, 46, (135, 150, 175), 0.9), (0.58, 40, (95, 120, 125), 0.8), (0.66, 30, (60, 92, 72), 0.6),
    ):  # fmt: skip
        crest = line * height - tall * _ridges(rng, width, rough)
        inside = yy > crest[None, :]
        picture[inside] = np.array(colour, np.float64)
    water = yy[:, 0] > 0.72 * height
    mirrored = picture[: int(0.72 * height)][::-1][: water.sum()]
    picture[water] = mirrored * 0.75 + np.array([15.0, 35.0, 50.0])
    ripple = cv2.resize(rng.standard_normal((height, width // 24)), (width, height))[..., None]
    picture[water] += ripple[water] * 7
    picture += rng.normal(0, 2.5, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _bust() -> Floats:
    """Return where the head and shoulders are on the portrait's cut, float32 (250,245) with a soft edge."""
    oval = np.zeros((250, 245), np.float32)
    cv2.ellipse(oval, (122, 96), (82, 88), 0, 0, 360, 1.0, -1)
    cv2.rectangle(oval, (75, 150), (170, 185), 1.0, -1)
    cv2.ellipse(oval, (122, 252), (120, 76), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(oval, (0, 0), 3), np.float32)


def _figure(head: Image, rng: np.random.Generator) -> Floats:
    """Return one more masked person in a coat and light of her own, float32 RGB."""
    marks = LANDMARKS - np.array([105.0, 0.0], np.float32)
    drawn, _ = draw_mask(head, marks, random_style(rng, patterned=0.4))
    figure = drawn.astype(np.float32)
    figure[176:] = figure[176:] * 0.45 + rng.uniform(20, 150, 3) * 0.55
    return np.asarray(figure * rng.uniform(0.8, 1.1) + rng.uniform(-10, 10), np.float32)


def draw_crowd(portrait: Image, seed: int = 11) -> Image:
    """Draw three rows of masked people, the far ones smaller, before a drawn backdrop; uint8 RGB 720x1024."""
    rng = np.random.default_rng(seed)
    # The studio's own grey, so that no head brings a halo along.
    cloud = cv2.resize(rng.standard_normal((6, 8)).astype(np.float32), (1024, 720), interpolation=cv2.INTER_CUBIC)
    grey = portrait[20:90, 110:150].reshape(-1, 3).mean(axis=0)
    wall = np.asarray(grey + cloud[..., None] * 6 + rng.normal(0, 2, (720, 1024, 3)), np.float32)
    head = np.asarray(portrait[0:250, 105:350], np.uint8)
    for scale, count, base in ((0.62, 7, 50), (0.85, 5, 195), (1.17, 4, 432)):
        for place in range(count):
            turn = -1 if rng.random() < 0.5 else 1
            size = (round(245 * scale), round(250 * scale))
            figure = cv2.resize(_figure(head, rng)[:, ::turn].copy(), size, interpolation=cv2.INTER_AREA)
            alpha = cv2.resize(_bust()[:, ::turn].copy(), size, interpolation=cv2.INTER_AREA)[..., None]
            step = 1024 / count
            left = int(step * (place + 0.5) - size[0] / 2 + rng.uniform(-0.06, 0.06) * step)
            top = int(base + rng.uniform(-8, 8))
            x1, x2 = max(0, left), min(1024, left + size[0])
            y1, y2 = max(0, top), min(720, top + size[1])
            part = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            patch = wall[y1:y2, x1:x2]
            wall[y1:y2, x1:x2] = patch * (1 - alpha[part]) + figure[part] * alpha[part]
    return np.asarray(np.clip(wall, 0, 255), np.uint8)


def make(folder: Path = PHOTOS) -> list[Path]:
    """Write every picture but the portrait, which must be there; return their paths."""
    portrait = np.asarray(Pillow.open(folder / "portrait.jpg").convert("RGB"))
    written = []
    for name, style in (("surgical", SURGICAL), ("patterned", PATTERNED), ("under_nose", UNDER_NOSE)):
        picture, _ = draw_mask(portrait, LANDMARKS, style)
        _save(picture, folder / f"{name}.jpg")
        written.append(folder / f"{name}.jpg")
    picture, _ = draw_mask(portrait, LANDMARKS, GPS_MASK)
    closer = cv2.resize(picture[GPS_CUT][:, ::-1], (512, 512), interpolation=cv2.INTER_CUBIC)
    _save(np.asarray(closer, np.uint8), folder / "gps.jpg", gps=True)
    _save(draw_crowd(portrait), folder / "crowd.jpg")
    _save(draw_landscape(), folder / "landscape.jpg")
    return [*written, *(folder / f"{name}.jpg" for name in ("gps", "crowd", "landscape"))]


def main() -> int:
    """Make the pictures and say which."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=PHOTOS, help="holds portrait.jpg, receives the rest")
    folder = parser.parse_args().folder
    for path in make(folder):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")  # noqa: T201 - this is a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
