"""Speak as a benchmark's worker does, but with figures told beforehand: `python contender.py LOG NAME PLAN`.

PLAN maps the name of a photo to [milliseconds, faces], or to null, at which the process dies; each photo that is run
goes to LOG with the contender's name.
"""

import json
import sys
import time
from pathlib import Path


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(log: str, name: str, plan: str) -> None:
    figures = json.loads(plan)
    if "hello" in figures:
        sys.exit(f"RuntimeError: {figures['hello']}")
    answer({"load_ms": 7.0, "versions": {name: "1.2"}, "note": "a fake"})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "memory":
            answer({"peak_mib": 100.0})
        elif request["do"] == "cycle":
            answer({"per_second": 30.0})
        elif request["do"] == "prepare":
            answer({})
        else:
            photo = Path(request["path"]).name
            with Path(log).open("a") as lines:
                lines.write(f"{name} {photo}\n")
            if figures[photo] is None:
                sys.exit("MemoryError: enough")
            if figures[photo] == "sleep":
                time.sleep(60)
            milliseconds, faces = figures[photo]
            answer({"ms": milliseconds, "faces": faces})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
