"""Make the key that signs badges, or the next one."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from incentives.credentials import keys


class Command(BaseCommand):
    help = (
        "Write a fresh private key to a new file, and behind it the public halves of the keys in use, so that what "
        "they signed can still be verified. Set MASK_SOCIAL_BADGE_KEY_FILE to the file and restart the web processes."
    )
    # A key that cannot be used must not keep the command from making a better one.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Ask where to."""
        parser.add_argument("--output", type=Path, help="a file that does not exist yet; without it, standard output")
        parser.add_argument(
            "--forget", action="store_true", help="leave the keys in use out: nothing they signed counts"
        )

    def handle(self, *args: Any, output: Path | None, forget: bool, **options: Any) -> None:
        """Make it."""
        text = keys.rotated(None if forget else _current())
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(f"{output} cannot be made: {error.strerror}.") from error
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        self.stderr.write(f"Wrote {output}.")


def _current() -> keys.Ring | None:
    # A checkout that has signed nothing yet has no key to keep.
    if not settings.BADGE_KEY and not (settings.LOCAL and settings.LOCAL_BADGE_KEY.exists()):
        return None
    try:
        return keys.ring()
    except keys.BadKeyError as error:
        raise CommandError(f"The key in use cannot be read, --forget leaves it out: {error}") from error
