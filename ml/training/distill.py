"""Let larger nets, or several, teach a small one: what they think of a face is mixed into what its label says.

After Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; the teachers see the very input that the
pupil sees, after Beyer et al., "Knowledge Distillation: A Good Teacher Is Patient and Consistent", 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SOFT = 2.0  # temperature at which both sides are compared: doubts between the other states become visible


class Teachers:
    """Hold trained nets that map normalised crops (N,3,S,S) to logits (N,states); `share` is theirs of the loss."""

    def __init__(self, nets: Sequence[nn.Module], sizes: Sequence[int], share: float) -> None:
        self.nets, self.sizes, self.share = [net.eval() for net in nets], list(sizes), share

    @torch.no_grad()
    def chances(self, inputs: Tensor) -> Tensor:
        """Return the mean of the nets' softened probabilities, float32 (N,states)."""
        several = []
        for net, size in zip(self.nets, self.sizes, strict=True):
            seen = inputs
            if size != inputs.shape[-1]:
                seen = nn.functional.interpolate(inputs, (size, size), mode="bilinear", antialias=True)
            several.append(torch.softmax(net(seen).float() / SOFT, dim=1))
        return torch.stack(several).mean(dim=0)

    def loss(self, logits: Tensor, chances: Tensor) -> Tensor:
        """Return how far the pupil is from its teachers; scaled so that its gradients weigh like the labels'."""
        return nn.functional.cross_entropy(logits / SOFT, chances) * SOFT**2
