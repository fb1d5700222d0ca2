"""Draw what the networks see, and where they fail, on the demo portrait: `python -m ml.training.showcase`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ml.analyzer import Analyzer
from ml.drawing import draw_faces
from ml.training.demo_pictures import LANDMARKS, PATTERNED, PHOTOS, SURGICAL, UNDER_NOSE
from ml.training.draw_extras import draw_extra
from ml.training.draw_masks import Image, MaskStyle, draw_mask
from ml.training.draw_occluders import draw_occluder

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "vision.png"
TILE, CAPTION, COLUMNS = 250, 22, 6
_RIGHT, _WRONG = "#009e73", "#d55e00"


def _turned(portrait: Image, degrees: float) -> Image:
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _far(portrait: Image, side: int) -> Image:
    """Put the portrait, `side` pixels wide, into the middle of a grey picture of its own size."""
    small = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
    wide = np.full_like(portrait, 128)
    at = (wide.shape[0] - side) // 2
    wide[at : at + side, at : at + side] = small
    return wide


def versions(portrait: Image) -> list[tuple[str, str | None, Image]]:
    """Return captions, the true state (None: nobody) and pictures, uint8 RGB of one size."""
    cut = np.asarray(cv2.resize(portrait[0:320, 62:382], (512, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
    marks = ((LANDMARKS - np.array([62, 0], np.float32)) * 1.6).astype(np.float32)

    def mask(style: MaskStyle) -> Image:
        return np.asarray(draw_mask(cut, marks, style)[0], np.uint8)

    cloth: Callable[..., MaskStyle] = lambda **more: MaskStyle(kind="cloth", seed=4, **more)  # noqa: E731
    surgical = mask(SURGICAL)
    hand = np.asarray(draw_occluder(cut, marks, "palm", 3)[0], np.uint8)
    mug = np.asarray(draw_occluder(cut, marks, "mug", 3)[0], np.uint8)
    shield = np.asarray(draw_extra(cut, marks, "shield", 3)[0], np.uint8)
    return [
        ("bare", "no_mask", cut),
        ("surgical", "mask", surgical),
        ("patterned", "mask", mask(PATTERNED)),
        ("drawn mouth", "mask", mask(replace(PATTERNED, pattern="lips"))),
        ("skin-coloured", "mask", mask(cloth(colour=(214, 160, 130), loops=(214, 160, 130)))),
        ("under the nose", "incorrect", mask(UNDER_NOSE)),
        ("on the chin", "incorrect", mask(MaskStyle(position="chin", seed=5))),
        ("tip of the nose shows", "incorrect", mask(replace(UNDER_NOSE, top=-0.14))),
        ("a hand", "occluded", hand),
        ("a mug", "occluded", mug),
        ("a clear shield", "no_mask", shield),
        ("turned by 30°", "mask", _turned(surgical, 30)),
        ("turned by 60°", "mask", _turned(surgical, 60)),
        ("upside down", "mask", _turned(surgical, 180)),
        ("a face of 20 px", "mask", _far(surgical, 80)),
        ("a face of 12 px", "mask", _far(surgical, 48)),
        ("blurred", "mask", np.asarray(cv2.GaussianBlur(surgical, (0, 0), 9), np.uint8)),
        ("dark", "mask", np.asarray(surgical * 0.12, np.uint8)),
    ]


def sheet(analyzer: Analyzer, portrait: Image) -> Pillow.Image:
    """Return all versions with what was read from them; the frame tells right from wrong."""
    tiles = versions(portrait)
    rows = -(-len(tiles) // COLUMNS)
    page = Pillow.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for number, (caption, truth, picture) in enumerate(tiles):
        coded = BytesIO()
        Pillow.fromarray(picture).save(coded, "PNG")
        faces = analyzer.analyze(coded.getvalue()).faces
        said = [face.label for face in faces]
        right = said == ([] if truth is None else [truth])
        x, y = number % COLUMNS * TILE, number // COLUMNS * (TILE + CAPTION)
        page.paste(draw_faces(picture, faces).resize((TILE - 8, TILE - 8)), (x + 4, y + 4))
        pen.rectangle((x + 1, y + 1, x + TILE - 2, y + TILE - 2), outline=_RIGHT if right else _WRONG, width=3)
        told = "" if right else f" - {', '.join(said).replace('_', ' ') or 'not found'}"
        pen.text((x + 5, y + TILE + 2), caption + told, font=font, fill="black")
    return page


def main() -> int:
    """Draw the sheet and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE)
    path = parser.parse_args().out
    portrait = np.asarray(Pillow.open(PHOTOS / "portrait.jpg").convert("RGB"))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(Analyzer(), portrait).quantize(128).save(path, optimize=True)
    print(path)  # noqa: T201 - this is a command
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
