"""Dump the database."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mask_social import backups


class Command(BaseCommand):
    help = "Dump the database into a folder by pg_dump, with a note of its SHA-256 and versions beside it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--keep", type=int, default=0, help="delete all but so many of the newest (default: none)")
        parser.add_argument("--check", action="store_true", help="restore it at once, as restore_check does")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keep"] < 0:
            raise CommandError("--keep is a number of backups.")
        try:
            path = backups.make(options["folder"], keep=options["keep"])
            self.stdout.write(f"{path}: {path.stat().st_size:,} bytes")
            if options["check"]:
                backups.check(path, self.stdout.write)
        except (backups.BackupError, OSError) as error:
            raise CommandError(str(error)) from error
