"""Run `python -m ml setup | predict | annotate`."""

import argparse
import sys
from pathlib import Path

from ml.convert import write_detector
from ml.manifest import WEIGHTS


def main() -> int:
    """Parse the command line and run it."""
    parser = argparse.ArgumentParser(prog="python -m ml")
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="write the detector's weights")
    setup.add_argument("--weights", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    write_detector(options.weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
