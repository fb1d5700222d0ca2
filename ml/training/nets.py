"""The classifier: a small residual network that one processor core can train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Add two 3x3 convolutions to a shortcut, after He et al., "Deep Residual Learning", 2016."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            # Averaging before the 1x1 looks at all four pixels where a strided one would drop three.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (N, after, H/stride, W/stride)."""
        return torch.relu(self.body(pixels) + self.shortcut(pixels))


class FaceNet(nn.Module):
    """Map normalised crops (N,3,S,S) to logits (N,states)."""

    def __init__(self, widths: tuple[int, ...], states: int, dropout: float = 0.1) -> None:
        super().__init__()
        stem, *stages = widths
        layers: list[Any] = [
            nn.Conv2d(3, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        ]
        before = stem
        for width in stages[:-1]:
            layers += [Residual(before, width, 2), Residual(width, width, 1)]
            before = width
        layers.append(Residual(before, stages[-1], 2))
        self.trunk = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(stages[-1] * 2, states)

    def forward(self, crops: Tensor) -> Tensor:
        """Return logits float32 (N,states)."""
        features = self.trunk(crops)
        # The mean tells what the face is like, the maximum that something small is there: a nose above a mask.
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.head(self.drop(pooled))
