"""Write a trained network as ONNX and compare the two."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.session import CPU, make_session

OPSET = 17


def to_onnx(
    net: nn.Module,
    inputs: Sequence[Tensor],
    path: Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write the net as ONNX of opset 17; `inputs` are examples, and axes not named in `dynamic_axes` stay as they are.

    dynamic_axes: for each input or output, the name of each free axis.
    """
    with warnings.catch_warnings():
        # The newer exporter needs a further package and yields the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval().to(memory_format=torch.contiguous_format),
            tuple(inputs),
            str(path),
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )


@torch.no_grad()
def difference(net: nn.Module, path: Path, inputs: Sequence[NDArray]) -> float:
    """Return the largest difference of any output between the net and its ONNX file on the same inputs."""
    session = make_session(path.read_bytes(), threads=1, providers=[CPU])
    names = [one.name for one in session.get_inputs()]
    ours = net.eval()(*(torch.from_numpy(one) for one in inputs))
    theirs = session.run(None, dict(zip(names, inputs, strict=True)))
    pairs = zip([ours] if isinstance(ours, Tensor) else ours, theirs, strict=True)
    # NumPy's maximum, for Python's forgets a NaN that does not come first.
    return float(np.max([np.abs(one.numpy() - other).max(initial=0) for one, other in pairs]))
