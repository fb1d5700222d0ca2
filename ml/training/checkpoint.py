"""Keep a run on disk so that it goes on after a kill as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Average:
    """Keep a running mean of the weights; it is better than the last ones and what is shipped."""

    def __init__(self, net: nn.Module, keep: float) -> None:
        self.keep, self.steps = keep, 0
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the net's weights in."""
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 10))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[name].lerp_(value, 1 - keep)
            else:
                self.values[name].copy_(value)


def save(path: Path, notes: Mapping[str, Any], weights: Mapping[str, Tensor], **state: Any) -> None:
    """Write notes (anything JSON takes), the weights to ship, and the state to go on from; never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    torch.save({"notes": json.dumps(notes), "weights": dict(weights), "state": state}, scratch)
    scratch.replace(path)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Return the notes, the weights to ship and the state, all on the CPU. Raises FileNotFoundError."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return json.loads(content["notes"]), content["weights"], content["state"]


def running(net: nn.Module, optimizer: Any, average: Average, rng: np.random.Generator) -> dict[str, Any]:
    """Return all that changes from step to step, for `save`: weights, moments, averages, random states."""
    return {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.values,
        "averaged": average.steps,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "random_numpy": json.dumps(rng.bit_generator.state),
    }


def go_on(state: Mapping[str, Any], net: nn.Module, optimizer: Any, average: Average, rng: np.random.Generator) -> None:
    """Put what `running` returned back into a fresh net, optimizer, average and generator."""
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average.values[name].copy_(value)
    average.steps = state["averaged"]
    torch.set_rng_state(state["random"])
    if len(state["random_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["random_cuda"])
    rng.bit_generator.state = json.loads(state["random_numpy"])
