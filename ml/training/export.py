"""Turn a checkpoint into classifier.onnx and its manifest, and prove they say the same:
`python -m ml.training.export`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.stats import calibration_error
from ml.manifest import CLASSIFIER, WEIGHTS
from ml.training.evaluate import run_onnx, summary
from ml.training.pool import Pool, add_arguments, say
from ml.types import STATES

if TYPE_CHECKING:
    from ml.training.nets import FaceNet
    from ml.training.presets import Preset

OPSET = 17
CLOSE = 1e-3  # logits; more would be another network
NAME, VERSION = "face-states", "1"
TRAINED_ON = (
    "train split of 10,113 web photographs collected by others for research (street and news scenes, Kaggle, RMFD, "
    "K12, smokers, CelebA, FFHQ), and masks drawn onto bare faces of it by ml/training/draw_masks.py"
)


def to_onnx(net: FaceNet, size: int, path: Path) -> None:
    """Write the net as ONNX: `crops` float32 (N,3,size,size) to `logits` float32 (N,states), N free."""
    import torch

    with warnings.catch_warnings():
        # The newer exporter needs a further package and yields the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval().to(memory_format=torch.contiguous_format),
            (torch.zeros(2, 3, size, size),),
            str(path),
            input_names=["crops"],
            output_names=["logits"],
            dynamic_axes={"crops": {0: "faces"}, "logits": {0: "faces"}},
            opset_version=OPSET,
            dynamo=False,
        )


def parity(net: FaceNet, path: Path, crops: NDArray[np.uint8]) -> float:
    """Return the largest difference of any logit between the net and its ONNX file on crops (N,S,S,3)."""
    from ml.training.engine import logits_of

    return float(np.abs(logits_of(net, crops) - run_onnx(path, crops)).max())


def fit_temperature(logits: NDArray[np.float32], states: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Return the temperature in 0.3..3 with the least weighted log loss, after Guo et al., "On Calibration", 2017."""
    from ml.training.engine import softmax

    rows = np.arange(len(states))
    tried: list[float] = np.geomspace(0.3, 3.0, 93).tolist()
    losses = [-(weights * np.log(softmax(logits, t)[rows, states] + 1e-12)).sum() for t in tried]
    return round(tried[int(np.argmin(losses))], 3)


def manifest(path: Path, preset: Preset, temperature: float, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what classifier.json says."""
    return {
        "name": NAME,
        "version": VERSION,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": {
            "name": "crops",
            "size": preset.size,
            "layout": "NCHW",
            "color": "RGB",
            "mean": 127.5,
            "scale": 128.0,
        },
        "output": {"name": "logits", "states": list(STATES)},
        "temperature": temperature,
        "crop": {"margin": preset.margin},
        "opset": OPSET,
        "trained_on": TRAINED_ON,
        "metrics": metrics,
    }


def main(arguments: list[str] | None = None) -> int:
    """Export the checkpoint, check it, set its temperature on faces it did not learn from, and write the manifest."""
    parser = argparse.ArgumentParser(prog="python -m ml.training.export", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--checkpoint", default="classifier.pt", help="its name in the work folder")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    pool = Pool.of(options)
    if problem := pool.problem(needs_torch=True):
        say(problem)
        return 2
    from ml.training import engine
    from ml.training.data import draw_weights

    try:
        net, preset, meta = engine.load(pool.work / options.checkpoint)
    except FileNotFoundError:
        say(f"There is no checkpoint in {pool.work}: run python -m ml.training.train_classifier first.")
        return 2
    dev, val = pool.of_split("dev"), pool.of_split("val")
    options.out.mkdir(parents=True, exist_ok=True)
    scratch = options.out / "classifier.part.onnx"
    to_onnx(net, preset.size, scratch)
    crops = engine.plain_crops(dev, preset)
    apart = parity(net, scratch, crops[:256])
    if apart > CLOSE:
        scratch.unlink()
        say(f"The exported network differs from the trained one by {apart:.2g}; nothing was written.")
        return 1
    logits = run_onnx(scratch, crops)
    temperature = fit_temperature(logits, dev.states, draw_weights(dev))
    metrics: dict[str, Any] = {"epochs": meta["epoch"], "parity": float(f"{apart:.2g}")}
    for name, some in (("dev", dev), ("val", val)):
        chances = engine.softmax(run_onnx(scratch, engine.plain_crops(some, preset)), temperature)
        metrics[name] = summary(some, chances) | {"calibration_error": calibration_error(chances, some.states)}
    path = scratch.replace(options.out / "classifier.onnx")
    (options.out / CLASSIFIER).write_text(json.dumps(manifest(path, preset, temperature, metrics), indent=1) + "\n")
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, parity {apart:.1e}, temperature {temperature}")
    say(json.dumps(metrics, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
