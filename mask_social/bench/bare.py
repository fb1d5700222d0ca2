"""The bare loop that the service is compared with: `python -m mask_social.bench.bare` reads names of files from stdin.

One process, one thread, the models and nothing else. It prints how many seconds the photos took, models loaded.
"""

import sys
import time
from pathlib import Path

from ml.analyzer import Analyzer


def main() -> None:
    """Look at every photo; wait for a line before beginning, so that several begin together."""
    files = [Path(line.rstrip("\n")) for line in iter(sys.stdin.readline, "\n")]
    analyzer = Analyzer()
    analyzer.analyze(files[0].read_bytes())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.perf_counter()
    for file in files:
        analyzer.analyze(file.read_bytes())
    sys.stdout.write(f"{time.perf_counter() - began}\n")


if __name__ == "__main__":
    main()
