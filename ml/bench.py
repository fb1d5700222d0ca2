"""Measure ours beside other detectors: `python -m ml.bench`; docs/benchmarks.md says what is compared."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ml.benchmark import machine, suite
from ml.benchmark.driver import Contender, ContenderError
from ml.benchmark.environment import PACKAGES, InstallError, install
from ml.benchmark.photos import DEMO_PHOTOS, load
from ml.benchmark.show import show, write_json
from ml.manifest import WEIGHTS

#: Peers that are one file of weights: name, kind of worker, beginning of the file's name.
GRAPHS = (
    ("YuNet in ONNX Runtime", "yunet-onnxruntime", "yunet"),
    ("YuNet in OpenCV", "yunet-opencv", "yunet"),
    ("RFB-640", "rfb", "rfb640"),
)
PEERS = ("yunet", "rfb640", *(package.name for package in PACKAGES))
# Of a log file, which has no width of its own.
_WIDTH = 120
_REFUSED = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables, and write JSON if asked for."""
    options = _parser().parse_args(arguments)
    # Workers run in the checkout's own folder.
    weights, peers = options.weights.resolve(), options.peers.resolve()
    errors, out = Console(stderr=True), Console()
    if not out.is_terminal:
        out.width = _WIDTH
    # Before anything of ours makes it busy.
    here = machine.describe()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        photos = load(options.photos, max(options.sizes))
        contenders, absent = gather(weights, peers, options.beside, errors)
        plan = suite.Plan(contenders, weights, options.sizes, options.rounds, options.starts, options.seconds)
        progress = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
        with tempfile.TemporaryDirectory() as scratch, progress:
            report = suite.run(plan, photos, here, Path(scratch), progress)
        report.left_out.update(absent)
        show(report, out)
        if options.json:
            write_json(report, options.json)
    except (OSError, ContenderError) as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return _REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def gather(
    weights: Path, peers: Path, beside: Sequence[str], errors: Console
) -> tuple[list[Contender], dict[str, str]]:
    """List ours and the peers that are wanted and can be had here; and those that cannot, with the reason."""
    found = [Contender.of("ours", "detector", weights=weights)]
    absent = {}
    for name, kind, prefix in GRAPHS:
        if prefix not in beside:
            continue
        files = sorted(peers.glob(f"{prefix}*.onnx"))
        if files:
            found.append(Contender.of(name, kind, weights=files[-1]))
        else:
            absent[name] = f"there is no {prefix}*.onnx in {peers}"
    for package in PACKAGES:
        if package.name not in beside:
            continue
        try:
            python = install(package, lambda line: errors.print(escape(line), highlight=False, soft_wrap=True))
        except InstallError as error:
            absent[package.name] = f"it could not be installed: {error}"
        else:
            found.append(Contender.of(package.name, package.name, python=python))
    return found, absent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.bench", description="Measure ours beside other detectors.")
    parser.add_argument("--photos", type=Path, default=DEMO_PHOTOS, help="folder (default: the demonstration's)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of our weights and manifests")
    parser.add_argument(
        "--peers", type=Path, default=Path("../shared/peers"), help="folder of yunet*.onnx and rfb640*.onnx"
    )
    parser.add_argument(
        "--beside",
        nargs="*",
        choices=PEERS,
        default=list(PEERS),
        help="peers to measure (default: all; none: ours only)",
    )
    parser.add_argument("--sizes", type=_count, nargs="+", default=[640, 1280], help="long sides (default: 640 1280)")
    parser.add_argument("--rounds", type=_count, default=5, help="runs over each photo (default: 5)")
    parser.add_argument("--starts", type=_count, default=5, help="fresh processes for the start (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one throughput run (default: 3)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to as well")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
