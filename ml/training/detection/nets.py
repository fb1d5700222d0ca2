"""The cascade's three networks: one over the whole photo, two over crops."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Cells of the proposal maps, in pixels of the photo it sees.
STRIDES = (8, 16, 32)


def _block(before: int, after: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class Separable(nn.Module):
    """Add a depthwise 3x3 and a 1x1 convolution to their input, after Sandler et al., "MobileNetV2", 2018."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(width, width, groups=width), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return torch.relu(self.body(features) + features)


class Dense(nn.Module):
    """Add two 3x3 convolutions to their input, after He et al., "Deep Residual Learning", 2016."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return torch.relu(self.body(features) + features)


class ProposalNet(nn.Module):
    """Propose faces at three strides from one run over the photo: no pyramid of levels is needed.

    Maps pixels/128 (N,3,H,W), H and W multiples of 32, to one map per stride, (N,5,H/s,W/s): the logit of a face
    centred near the cell, its centre's offset in cells, and the logarithm of its sides in cells.
    """

    def __init__(
        self, widths: tuple[int, int, int, int, int] = (8, 16, 48, 96, 128), depths: tuple[int, int, int] = (2, 3, 2)
    ) -> None:
        super().__init__()
        stem, early, *stages = widths
        self.stem = nn.Sequential(_block(3, stem, 2), _block(stem, early, 2))
        self.stages = nn.ModuleList()
        before = early
        for width, depth in zip(stages, depths, strict=True):
            self.stages.append(nn.Sequential(_block(before, width, 2), *(Separable(width) for _ in range(depth))))
            before = width
        shared = stages[0]
        self.across = nn.ModuleList(nn.Conv2d(width, shared, 1) for width in stages)
        self.smooth = nn.ModuleList(Separable(shared) for _ in stages)
        self.heads = nn.ModuleList(nn.Conv2d(shared, 5, 1) for _ in stages)
        for head in self.heads:
            nn.init.constant_(head.bias, 0.0)
            head.bias.data[0] = -4.6  # a face in one cell of a hundred, to begin with

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return one map per stride, finest first."""
        features = self.stem(pixels)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        above: Tensor | None = None
        maps: list[Tensor] = []
        for level in reversed(range(len(found))):
            here = self.across[level](found[level])
            if above is not None:
                here = here + nn.functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            maps.insert(0, self.heads[level](self.smooth[level](torch.relu(here))))
        return tuple(maps)


class RefineNet(nn.Module):
    """Judge crops of 24 pixels: pixels/128 (N,3,24,24) to the logit (N,1) and the box's offsets (N,4)."""

    SIZE, MARGIN = 24, 1.2

    def __init__(self, widths: tuple[int, int, int, int] = (12, 24, 32, 48), hidden: int = 64) -> None:
        super().__init__()
        a, b, c, d = widths
        self.trunk = nn.Sequential(_block(3, a, 2), _block(a, b), _block(b, c, 2), _block(c, d, 2), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(d * 9, hidden), nn.ReLU(inplace=True))
        self.head = nn.Linear(hidden, 5)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and offsets; offsets are in units of the crop's unwidened square, as fractions of its side."""
        answer = self.head(self.hidden(self.trunk(pixels)))
        return answer[:, :1], answer[:, 1:]


class OutputNet(nn.Module):
    """Judge crops of 56 pixels: pixels/128 (N,3,56,56) to logit (N,1), offsets (N,4) and landmarks (N,10)."""

    SIZE, MARGIN = 56, 1.4

    def __init__(self, widths: tuple[int, int, int, int] = (16, 40, 72, 112), hidden: int = 128) -> None:
        super().__init__()
        a, b, c, d = widths
        self.trunk = nn.Sequential(
            *(_block(3, a, 2), _block(a, b, 2), Dense(b)),
            *(_block(b, c, 2), Dense(c), _block(c, d, 2), nn.Flatten()),
        )
        self.hidden = nn.Sequential(nn.Linear(d * 16, hidden), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.head = nn.Linear(hidden, 15)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, offsets and landmarks (x1 y1 … x5 y5), in units of the crop's unwidened square."""
        answer = self.head(self.hidden(self.trunk(pixels)))
        return answer[:, :1], answer[:, 1:5], answer[:, 5:]
