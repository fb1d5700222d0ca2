"""Try whether a backup can be restored."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mask_social import backups


class Command(BaseCommand):
    help = (
        "Restore a backup into a database of its own on the same server, prove its books and its audit log there, and "
        "drop it; the live database is only asked for its server. Ends with an error where anything is amiss."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dump", type=Path, help="a file that `manage.py backup` wrote")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            backups.check(options["dump"], self.stdout.write)
        except (backups.BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write("The backup is good.")
