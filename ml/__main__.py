"""Run `python -m ml setup | predict | annotate`.

Exits with 0 if a photo was read, 1 if none could be, 2 if what was asked for cannot be done.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ml.manifest import WEIGHTS
from ml.types import ProviderError, WeightsError

_NOTHING_READ = 1
_REFUSED = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "annotate" and bool(options.paths) == bool(options.predictions):
        parser.error("annotate takes either paths or --predictions")
    errors = Console(stderr=True)
    try:
        return _setup(options, errors) if options.command == "setup" else _read(options, errors)
    except (WeightsError, ProviderError, OSError, ValueError) as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return _REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _setup(options: argparse.Namespace, errors: Console) -> int:
    from ml.convert import write_detector

    written = write_detector(options.weights)
    state = "written" if written else "already there"
    errors.print(f"detector weights {state}: {escape(str(options.weights))}", highlight=False, soft_wrap=True)
    return 0


def _read(options: argparse.Namespace, errors: Console) -> int:
    from ml import commands

    if options.command == "annotate" and options.predictions:
        count = commands.annotate_known(options.predictions, options.out)
        errors.print(escape(f"drew {count} files into {options.out}"), highlight=False, soft_wrap=True)
        return 0 if count else _NOTHING_READ
    files = commands.find_files(options.paths)
    providers = tuple(options.providers.split(",")) if options.providers else None
    reader = commands.Reader(options.weights, providers, options.jobs)
    if options.command == "predict":
        count = commands.predict(files, options.json, reader, errors)
        done = f"read {count} of {len(files)} files"
    else:
        count = commands.annotate(files, options.out, reader, errors)
        done = f"drew {count} of {len(files)} files into {options.out}"
    errors.print(escape(done), highlight=False, soft_wrap=True)
    return 0 if count else _NOTHING_READ


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Read from photos who wears a mask.")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the weights and manifests")
    commands.add_parser("setup", parents=[shared], help="write the detector's weights; quick if they are there")
    reading = argparse.ArgumentParser(add_help=False, parents=[shared])
    reading.add_argument("--jobs", type=_count, default=1, help="processes to read with (default: 1)")
    reading.add_argument("--providers", help="ONNX Runtime execution providers, in order, by comma")
    predict = commands.add_parser("predict", parents=[reading], help="write what is on the photos as JSON")
    predict.add_argument("paths", type=Path, nargs="+", help="files, and folders to search")
    predict.add_argument("--json", type=Path, help="file to write; without it, a line per photo goes to stdout")
    annotate = commands.add_parser("annotate", parents=[reading], help="draw boxes and labels on copies")
    annotate.add_argument("paths", type=Path, nargs="*", help="files, and folders to search")
    annotate.add_argument("out", type=Path, help="folder for the copies")
    annotate.add_argument(
        "--predictions", type=Path, help="draw what predict wrote here, instead of reading the photos"
    )
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
