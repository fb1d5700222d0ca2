"""Turn a cut face into a network input: plainly, as the run time does, or varied, as training does."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ml.geometry import OUTSIDE
from ml.training.data import choose_box, square_of

Image = NDArray[np.uint8]


def plain(crop: Image, boxes: NDArray[np.float32], size: int, margin: float) -> Image:
    """Cut the run time's square out of a cut face; uint8 (size,size,3)."""
    x, y, side = square_of(choose_box(boxes), margin)
    zoom = size / side
    step = np.array([[zoom, 0, size / 2 - zoom * x], [0, zoom, size / 2 - zoom * y]], np.float32)
    return _warp(crop, step, size)


def _warp(crop: Image, step: NDArray[np.float32], size: int) -> Image:
    # Pixel centres lie at i + 0.5 in our coordinates and at i in OpenCV's.
    shifted = step.astype(np.float64)
    shifted[:, 2] += step[:, :2].sum(axis=1) * 0.5 - 0.5
    return np.asarray(
        cv2.warpAffine(crop, shifted, (size, size), flags=cv2.INTER_LINEAR, borderValue=(OUTSIDE,) * 3), np.uint8
    )


def varied(
    crop: Image, boxes: NDArray[np.float32], size: int, margin: float, rng: np.random.Generator, pixels: float = 1e9
) -> Image:
    """Cut a jittered square and vary light, sharpness and compression; uint8 (size,size,3).

    pixels: the face's size in its own photo, so that a large face is made small more often than a small one.
    The mouth is never covered: that would change the truth.
    """
    x, y, side = square_of(choose_box(boxes, rng), margin)
    shift = np.clip(rng.normal(0, 0.045, 2), -0.11, 0.11) * side / margin
    zoom = size / (side * float(np.clip(np.exp(rng.normal(0, 0.075)), 0.82, 1.2)))
    angle = float(rng.uniform(-20, 20) if rng.random() < 0.5 else rng.normal(0, 4))
    turn = np.deg2rad(angle)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    stretch = float(np.exp(rng.normal(0, 0.04)))
    shear = float(rng.normal(0, 0.06))
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * zoom
    linear = linear @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([flip * stretch, 1 / stretch])
    offset = size / 2 - linear @ (np.array([x, y]) + shift)
    step = np.hstack([linear, offset[:, None]])
    image = _tilt(crop, step, size, rng) if rng.random() < 0.25 else _warp(crop, step.astype(np.float32), size)
    _edge(image, rng)
    image = _light(image, rng)
    image = _worsen(image, size / margin, pixels, rng)
    if rng.random() < 0.1:
        _cover_chin(image, rng)
    if rng.random() < 0.15:
        _cover_forehead(image, rng)
    if rng.random() < 0.08:
        _cover_side(image, rng)
    return image


def _tilt(crop: Image, step: NDArray[np.float64], size: int, rng: np.random.Generator) -> Image:
    """Cut as `_warp` does, seen a little from one side, above or below."""
    middle = np.array([[1, 0, -size / 2], [0, 1, -size / 2], [0, 0, 1]])
    lean = np.eye(3)
    lean[2, :2] = np.clip(rng.normal(0, 0.16, 2), -0.35, 0.35) / size
    # Pixel centres, as in `_warp`.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    whole = np.linalg.inv(half) @ np.linalg.inv(middle) @ lean @ middle @ np.vstack([step, [0, 0, 1]]) @ half
    return np.asarray(
        cv2.warpPerspective(crop, whole, (size, size), flags=cv2.INTER_LINEAR, borderValue=(OUTSIDE,) * 3), np.uint8
    )


def _edge(image: Image, rng: np.random.Generator) -> None:
    """Vary what lies outside the photo, in place: which set a face comes from must not show at its edge."""
    size = image.shape[0]
    if rng.random() < 0.12:
        wide = int(size * rng.uniform(0.03, 0.14))
        edge = int(rng.integers(4))
        if edge == 0:
            image[:wide] = OUTSIDE
        elif edge == 1:
            image[size - wide // 2 :] = OUTSIDE
        elif edge == 2:
            image[:, :wide] = OUTSIDE
        else:
            image[:, size - wide :] = OUTSIDE
    elif rng.random() < 0.3:
        image[(image == OUTSIDE).all(axis=2)] = rng.integers(0, 256, 3)


def _light(image: Image, rng: np.random.Generator) -> Image:
    """Vary brightness, contrast, gamma, tint and saturation."""
    if rng.random() < 0.15:
        return image
    ramp = np.arange(256, dtype=np.float32) / 255
    ramp = np.power(ramp, float(np.exp(rng.normal(0, 0.2)))) * float(np.exp(rng.normal(0, 0.1)))
    ramp = (ramp - 0.5) * float(np.exp(rng.normal(0, 0.13))) + 0.5 + float(rng.normal(0, 0.05))
    warm = float(rng.normal(0, 0.09))  # from a cloudy sky to a bulb
    tint = np.exp(rng.normal(0, 0.04, 3) + np.array([warm, 0.0, -warm]))
    table = np.clip(ramp[:, None] * tint[None, :] * 255, 0, 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table.reshape(256, 1, 3)), np.uint8)
    if rng.random() < 0.5:
        keep = 0.0 if rng.random() < 0.15 else float(rng.uniform(0.4, 1.5))
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = np.asarray(cv2.addWeighted(image, keep, grey, 1 - keep, 0), np.uint8)
    if rng.random() < 0.15:  # another hue: masks come in every colour
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = ((hsv[..., 0].astype(np.int16) + int(rng.integers(-18, 19))) % 180).astype(np.uint8)
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    return image


def _worsen(image: Image, face: float, pixels: float, rng: np.random.Generator) -> Image:
    """Take away resolution, sharpness and clean coding, as small faces on the web have lost them."""
    size = image.shape[0]
    if rng.random() < 0.4:
        wanted = float(np.exp(rng.uniform(np.log(14), np.log(60))))
        if wanted < min(face, pixels) * 0.9:
            small = max(12, round(size * wanted / face))
            image = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.12:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6))), np.uint8)
    elif rng.random() < 0.1:
        image = _smear(image, rng)
    if rng.random() < 0.1:
        grain = rng.normal(0, float(rng.uniform(3, 14)), image.shape)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(22, 85))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    if image.shape[0] != size:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def _smear(image: Image, rng: np.random.Generator) -> Image:
    """Blur along a line, as a moving head or hand does."""
    length = int(rng.integers(3, max(4, image.shape[0] // 13)))
    kernel = np.zeros((length, length), np.float32)
    angle = float(rng.uniform(0, np.pi))
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
    start, end = ((length - 1) / 2 + way * reach for way in (-1, 1))
    cv2.line(kernel, start.round().astype(int).tolist(), end.round().astype(int).tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def _cover_side(image: Image, rng: np.random.Generator) -> None:
    """Hide a strip at the left or right edge, in place, with another part of the picture or one colour."""
    size = image.shape[0]
    wide, tall = int(size * rng.uniform(0.06, 0.2)), int(size * rng.uniform(0.3, 0.9))
    top = int(rng.integers(0, size - tall))
    left = 0 if rng.random() < 0.5 else size - wide
    if rng.random() < 0.5:
        away = int(rng.integers(0, size - tall))
        image[top : top + tall, left : left + wide] = image[away : away + tall, size - left - wide : size - left].copy()
    else:
        image[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)


def _cover_forehead(image: Image, rng: np.random.Generator) -> None:
    """Hide a part of the upper face, in place: eyes and hair must not decide."""
    size = image.shape[0]
    low = int(size * rng.uniform(0.15, 0.42))
    tall, wide = int(size * rng.uniform(0.1, 0.3)), int(size * rng.uniform(0.15, 0.6))
    left = int(rng.integers(0, size - wide))
    image[max(0, low - tall) : low, left : left + wide] = rng.integers(0, 256, 3)


def _cover_chin(image: Image, rng: np.random.Generator) -> None:
    """Put the back of a head before the lower edge, in place, as in a crowd: it is no mask, and says nothing of one."""
    size = image.shape[0]
    wide, tall = size * rng.uniform(0.25, 0.55), size * rng.uniform(0.14, 0.36)
    at = float(rng.uniform(0.1, 0.9) * size)
    cover = np.zeros((size, size), np.uint8)
    cv2.ellipse(cover, (round(at), size), (round(wide), round(tall)), float(rng.normal(0, 8)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(cover, (0, 0), float(rng.uniform(0.5, 2.0))).astype(np.float32)[..., None] / 255
    if rng.random() < 0.5:  # the hair of this very face, upside down
        hair = image[::-1].astype(np.float32)
    else:
        hair = np.full(image.shape, rng.uniform(5, 90), np.float32) + rng.normal(0, 6, (1, size, 1)).astype(np.float32)
        hair = hair * rng.uniform(0.8, 1.2, 3).astype(np.float32)
    image[:] = np.clip(image * (1 - soft) + hair * soft, 0, 255).astype(np.uint8)
