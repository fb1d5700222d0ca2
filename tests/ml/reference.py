"""The cascade's networks in plain numpy, straight from the wheel's arrays and layer by layer as the paper has them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def conv(x: Array, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> Array:
    """Convolve [H, W, C] with [h, w, C, K], valid."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))
    return np.asarray(np.einsum("yxchw,hwck->yxk", windows, kernel.astype(np.float64)) + bias)


def prelu(x: Array, slope: npt.NDArray[np.float32]) -> Array:
    """Scale what is negative, by channel."""
    return np.where(x > 0, x, x * slope.reshape(-1))


def pool(x: Array, size: int, *, padded: bool) -> Array:
    """Take the maximum of windows with stride two; `padded` is TensorFlow's SAME, which adds at the end."""
    if padded:
        rows, columns = (max(0, (-(-n // 2) - 1) * 2 + size - n) for n in x.shape[:2])
        x = np.pad(x, ((0, rows), (0, columns), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))
    return np.asarray(windows[::2, ::2].max(axis=(3, 4)))


def face(logits: Array) -> Array:
    """Turn the two classes, no face and face, into the one logit."""
    return np.asarray(logits[..., 1] - logits[..., 0])


def normalised(pixels: npt.NDArray[np.uint8]) -> Array:
    """Bring bytes to -1..1."""
    return (pixels.astype(np.float64) - 127.5) / 128


def pnet(pixels: npt.NDArray[np.uint8], w: Sequence[npt.NDArray[np.float32]]) -> Array:
    """Answer maps [5, h, w] for pixels [H, W, 3]."""
    x = pool(prelu(conv(normalised(pixels), w[0], w[1]), w[2]), 2, padded=True)
    x = prelu(conv(x, w[3], w[4]), w[5])
    x = prelu(conv(x, w[6], w[7]), w[8])
    maps = np.concatenate([face(conv(x, w[11], w[12]))[..., None], conv(x, w[9], w[10])], axis=2)
    return maps.transpose(2, 0, 1)


def rnet(pixels: npt.NDArray[np.uint8], w: Sequence[npt.NDArray[np.float32]]) -> tuple[Array, Array]:
    """Answer the logit and four offsets for pixels [24, 24, 3]."""
    x = pool(prelu(conv(normalised(pixels), w[0], w[1]), w[2]), 3, padded=True)
    x = pool(prelu(conv(x, w[3], w[4]), w[5]), 3, padded=False)
    x = prelu(conv(x, w[6], w[7]), w[8])
    flat = prelu(x.transpose(1, 0, 2).reshape(-1) @ w[9] + w[10], w[11])
    return face(flat @ w[14] + w[15]), flat @ w[12] + w[13]


def onet(pixels: npt.NDArray[np.uint8], w: Sequence[npt.NDArray[np.float32]]) -> tuple[Array, Array, Array]:
    """Answer the logit, four offsets and ten landmark coordinates for pixels [48, 48, 3]."""
    x = pool(prelu(conv(normalised(pixels), w[0], w[1]), w[2]), 3, padded=True)
    x = pool(prelu(conv(x, w[3], w[4]), w[5]), 3, padded=False)
    x = pool(prelu(conv(x, w[6], w[7]), w[8]), 2, padded=True)
    x = prelu(conv(x, w[9], w[10]), w[11])
    flat = prelu(x.transpose(1, 0, 2).reshape(-1) @ w[12] + w[13], w[14])
    return face(flat @ w[19] + w[20]), flat @ w[15] + w[16], flat @ w[17] + w[18]
