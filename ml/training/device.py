"""Choose where to train."""

from __future__ import annotations

import os

import torch


def choose_device(name: str = "auto") -> str:
    """Return `cuda` where it is asked for, or there is one and nothing is asked for, else `cpu`."""
    if name != "auto":
        return str(torch.device(name))
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_workers(device: str) -> int:
    """Return how many processes keep the device busy: one beside a CPU that trains, more beside a GPU."""
    return 1 if device == "cpu" else max(1, min(8, (os.cpu_count() or 2) - 1))
