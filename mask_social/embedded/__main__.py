"""``python -m mask_social.embedded stop|remove|status``, for the Makefile and for a stuck developer."""

import argparse
import shutil
import sys
from pathlib import Path

from mask_social import embedded
from mask_social.env import var_directory


def main() -> int:
    """Do one thing to the servers of this checkout."""
    parser = argparse.ArgumentParser(prog="python -m mask_social.embedded", description=main.__doc__)
    parser.add_argument("action", choices=("status", "stop", "remove"))
    action = parser.parse_args().action
    var = var_directory(Path(__file__).resolve().parents[2])
    if action == "status":
        services = embedded.running(var)
        sys.stdout.write(f"{services.database_url}\n" if services else "Nothing runs.\n")
        return 0 if services else 1
    embedded.stop_for_all(var)
    if action == "remove":
        for kind in embedded.KINDS:
            shutil.rmtree((var / kind.name).resolve(), ignore_errors=True)  # PostgreSQL's may be a link
    return 0


if __name__ == "__main__":
    sys.exit(main())
