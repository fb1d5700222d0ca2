import numpy as np

from ml.drawing import draw_faces
from ml.types import Box, FaceReading

WHITE = np.full((200, 300, 3), 255, np.uint8)


def inked(x1: float, y1: float) -> int:
    """Count the pixels that are not white after a face of 8 by 8 pixels was drawn there."""
    face = FaceReading(Box(x1, y1, x1 + 8, y1 + 8), 0.9, {"mask": 0.75, "no_mask": 0.25})
    return int((np.asarray(draw_faces(WHITE, [face])) != 255).any(axis=2).sum())


def test_the_label_of_a_face_at_the_right_edge_is_as_whole_as_any() -> None:
    assert inked(290, 100) > 0.95 * inked(100, 100)


def test_the_label_of_a_face_at_the_top_stays_in_the_photo() -> None:
    # It covers the little box there, and nothing of it is lost.
    assert inked(100, 1) > 0.8 * inked(100, 100)


def test_the_picture_itself_is_left_alone() -> None:
    inked(10, 10)
    assert (WHITE == 255).all()
