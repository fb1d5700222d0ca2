"""Draw what was read onto a copy of the photo."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ml.geometry import Pixels
from ml.types import FaceReading

# Okabe and Ito's palette: the states stay apart for colour-blind eyes, and the label says them in words as well.
_COLOURS = {"mask": "#009e73", "no_mask": "#d55e00", "incorrect": "#e69f00", "occluded": "#56b4e9"}
_OTHER = "#cc79a7"


def draw_faces(image: Pixels, faces: Sequence[FaceReading]) -> Image.Image:
    """Return a copy of uint8 RGB [H, W, 3] with a box and a label, state and probability, for each face."""
    copy = Image.fromarray(image)
    pen = ImageDraw.Draw(copy)
    shortest = min(copy.size)
    line = max(2, round(shortest / 250))
    font = ImageFont.load_default(size=max(11, round(shortest / 40)))
    # Small faces first, so that the label of the large one in front stays readable.
    for face in reversed(faces):
        colour = _COLOURS.get(face.label, _OTHER)
        box = face.box
        pen.rectangle((box.x1, box.y1, box.x2, box.y2), outline=colour, width=line)
        text = f"{face.label.replace('_', ' ')} {face.probabilities[face.label]:.0%}"
        _label(pen, text, box.x1, box.y1, font, colour, copy.size)
    return copy


def _label(
    pen: ImageDraw.ImageDraw,
    text: str,
    x: float,
    y: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: str,
    size: tuple[int, int],
) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = 2
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    # Above the box; inside the photo even where the face touches its edge.
    x = min(max(0.0, x), max(0.0, size[0] - width))
    y = min(max(0.0, y - height), max(0.0, size[1] - height))
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + pad - left, y + pad - top), text, font=font, fill="black")
