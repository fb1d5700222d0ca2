"""Turn a checkpoint into classifier.onnx and its manifest, and prove they say the same:
`python -m ml.training.export`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.stats import calibration_error
from ml.manifest import CLASSIFIER, WEIGHTS
from ml.training.calibration import Calibration, calibrate
from ml.training.crops import Faces
from ml.training.data import twin_groups
from ml.training.evaluate import BOXED, run_onnx, summary
from ml.training.progress import say
from ml.training.sources import add_source_arguments, open_source
from ml.types import STATES

if TYPE_CHECKING:
    from ml.training.nets import FaceNet
    from ml.training.presets import Preset

CLOSE = 1e-3  # logits; more would be another network
COMPARED = 256  # faces
NAME, VERSION = "face-states", "2"


def write_net(net: FaceNet, size: int, path: Path) -> None:
    """Write the net as ONNX: `crops` float32 (N,3,size,size) to `logits` float32 (N,states), N free."""
    import torch

    from ml.training.onnx_file import to_onnx

    free = {"crops": {0: "faces"}, "logits": {0: "faces"}}
    to_onnx(net, [torch.zeros(2, 3, size, size)], path, ["crops"], ["logits"], free)


def parity(net: FaceNet, path: Path, crops: NDArray[np.uint8]) -> float:
    """Return the largest difference of any logit between the net and its ONNX file on crops (N,S,S,3)."""
    import torch

    from ml.training.engine import to_input
    from ml.training.onnx_file import difference

    return float(difference(net, path, [to_input(torch.from_numpy(crops)).contiguous().numpy()]))


def measure(faces: Faces, chances: NDArray[np.float64]) -> dict[str, Any]:
    """Return how well faces are told apart; more of it where their parts are known."""
    from ml.training.engine import score

    judged = score(chances, faces.states)
    said = {"macro_f1": round(judged.macro_f1, 4), "recall": judged.recall, "log_loss": round(judged.loss, 4)}
    known = summary(faces, chances) if np.isin(faces.parts, BOXED).any() else {"faces": len(faces)}
    return known | said | {"calibration_error": calibration_error(chances, faces.states)}


def manifest(
    path: Path,
    preset: Preset,
    calibration: Calibration,
    parity: dict[str, Any],
    trained_on: str,
    version: str = VERSION,
) -> dict[str, Any]:
    """Return what classifier.json says, but for what was measured."""
    from ml.training.engine import MEAN, SCALE
    from ml.training.onnx_file import OPSET

    size = preset.size
    return {
        "name": NAME,
        "version": version,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "opset": OPSET,
        "input": {
            "name": "crops",
            "shape": ["faces", 3, size, size],
            "type": "float32",
            "size": size,
            "layout": "NCHW",
            "color": "RGB",
            "mean": MEAN,
            "scale": SCALE,
        },
        "output": {"name": "logits", "shape": ["faces", len(STATES)], "type": "float32", "states": list(STATES)},
        "temperature": calibration.temperature,
        "bias": list(calibration.bias),
        "crop": {"margin": preset.margin},
        "parity": parity,
        "trained_on": trained_on,
        "calibrated": calibration.log_loss,
    }


def main(arguments: list[str] | None = None) -> int:
    """Export the checkpoint, check it, calibrate it on faces it did not learn from, and write the manifest."""
    parser = argparse.ArgumentParser(prog="python -m ml.training.export", description=__doc__)
    add_source_arguments(parser)
    parser.add_argument("--checkpoint", default="classifier.pt", help="its name in the work folder")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the folder for classifier.onnx and classifier.json")
    parser.add_argument("--version", default=VERSION, help="what the manifest shall call it")
    options = parser.parse_args(arguments)
    pool = open_source(options)
    if problem := pool.problem(needs_torch=True):
        say(problem)
        return 2
    from ml.training import engine

    try:
        net, preset, notes = engine.load(pool.work / options.checkpoint)
    except FileNotFoundError:
        say(f"There is no checkpoint in {pool.work}: run python -m ml.training.train_classifier first.")
        return 2
    # Held out by that run, whatever a split of today's cuts would hold out.
    faces = pool.faces()
    dev, val = (faces.pick(np.isin(faces.files, np.array(notes["held_out"][name], str))) for name in ("dev", "val"))
    if not len(dev):
        say("No face that this checkpoint held out is here: give the --data, --folder and --mix of its training.")
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    scratch = options.out / "classifier.part.onnx"
    write_net(net, preset.size, scratch)
    crops = engine.plain_crops(dev, preset)
    apart = parity(net, scratch, crops[:COMPARED])
    if apart > CLOSE:
        scratch.unlink()
        say(f"The exported network differs from the trained one by {apart:.2g}; nothing was written.")
        return 1
    calibration = calibrate(run_onnx(scratch, crops), dev.states, pool.chances(dev), twin_groups(dev))
    metrics: dict[str, Any] = {"epochs": notes["epoch"]}
    for name, some in (("dev", dev), ("val", val)):
        metrics[name] = measure(some, calibration.chances(run_onnx(scratch, engine.plain_crops(some, preset))))
    path = scratch.replace(options.out / "classifier.onnx")
    compared = {"max_difference": float(f"{apart:.2g}"), "faces": min(COMPARED, len(crops))}
    described = manifest(path, preset, calibration, compared, notes.get("trained_on") or pool.about, options.version)
    (options.out / CLASSIFIER).write_text(json.dumps(described | {"metrics": metrics}, indent=1) + "\n")
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, parity {apart:.1e}, temperature {calibration.temperature}")
    say(json.dumps(metrics, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
