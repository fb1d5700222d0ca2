#!/usr/bin/env python
"""Django's command line, over the embedded services where no others are given."""

import os
import sys
from pathlib import Path

# These neither read nor write a database: nothing is started for them.
WITHOUT_DATABASE = {
    *("check", "collectstatic", "compilemessages", "diffsettings", "help", "makemessages"),
    *("spectacular", "startapp", "version", "--help", "-h", "--version"),
}


def main() -> None:
    """Run one command."""
    from django.core.management import execute_from_command_line

    from mask_social import embedded
    from mask_social.env import var_directory

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mask_social.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command not in WITHOUT_DATABASE:
        try:
            embedded.ensure(var_directory(Path(__file__).resolve().parent))
        except embedded.ServicesError as error:
            sys.exit(f"error: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
