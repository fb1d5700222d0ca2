"""Run `python -m ml predict | annotate | evaluate`.

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
        return (_evaluate if options.command == "evaluate" else _read)(options, errors)
    except (WeightsError, ProviderError, OSError, ValueError) as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return _REFUSED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _read(options: argparse.Namespace, errors: Console) -> int:
    from ml import commands

    if options.command == "annotate" and options.predictions:
        count = commands.annotate_known(options.predictions, options.out)
        errors.print(escape(f"drew {count} files into {options.out}"), highlight=False, soft_wrap=True)
        return 0 if count else _NOTHING_READ
    files = commands.find_files(options.paths)
    reader = commands.Reader(options.weights, _providers(options), options.jobs)
    if options.command == "predict":
        count = commands.predict(files, options.json, reader, errors)
        done = f"read {count} of {len(files)} files"
    else:
        count = commands.annotate(files, options.out, reader, errors)
        done = f"drew {count} of {len(files)} files into {options.out}"
    errors.print(escape(done), highlight=False, soft_wrap=True)
    return 0 if count else _NOTHING_READ


def _evaluate(options: argparse.Namespace, errors: Console) -> int:
    from ml.evaluation import command
    from ml.evaluation.posts import Rule

    task = command.Task(
        index=options.index,
        split=options.split,
        parts=tuple(part for part in options.parts.split(",") if part),
        weights=options.weights,
        providers=_providers(options),
        predictions=options.predictions,
        jobs=options.jobs,
        seed=options.seed,
        rounds=options.bootstrap,
        rule=Rule(options.min_face_score, options.min_face_ratio, options.mask_likely),
    )
    out = Console(highlight=False)
    # In a file or a pipe nothing folds the tables: they are as wide as their text.
    count = command.evaluate(task, options.out, out if out.is_terminal else Console(highlight=False, width=200), errors)
    errors.print(escape(f"wrote {options.out / 'report.md'}"), highlight=False, soft_wrap=True)
    return 0 if count else _NOTHING_READ


def _providers(options: argparse.Namespace) -> tuple[str, ...] | None:
    return tuple(options.providers.split(",")) if options.providers else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Read from photos who wears a mask.")
    commands = parser.add_subparsers(dest="command", required=True)
    reading = argparse.ArgumentParser(add_help=False)
    reading.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the weights and manifests")
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
    _add_evaluate(commands.add_parser("evaluate", parents=[reading], help="judge the networks on labelled photos"))
    return parser


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("index", type=Path, help="table of labelled photos (docs/evaluation.md), or its folder")
    evaluate.add_argument("--split", choices=("val", "train", "all"), default="val", help="default: val")
    evaluate.add_argument("--parts", default="", help="only these parts of the table, by comma")
    evaluate.add_argument("--out", type=Path, default=Path("var/evaluation"), help="default: var/evaluation")
    evaluate.add_argument(
        "--predictions", type=Path, help="judge what predict wrote here, instead of reading the photos"
    )
    evaluate.add_argument("--seed", type=int, default=0, help="of the draws for the intervals (default: 0)")
    evaluate.add_argument("--bootstrap", type=_count, default=1000, help="how many draws (default: 1000)")
    rule = evaluate.add_argument_group("the policy whose thresholds are tried")
    rule.add_argument("--min-face-score", type=_share, default=0.0, help="ask faces of this score (default: 0)")
    rule.add_argument(
        "--min-face-ratio", type=_share, default=0.0, help="ask faces of this share of the largest one (default: 0)"
    )
    rule.add_argument("--mask-likely", type=_share, default=0.3, help="uncertain from here up (default: 0.3)")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
