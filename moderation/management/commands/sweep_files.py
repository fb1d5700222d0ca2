"""Delete the files that no row names."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from moderation import files


class Command(BaseCommand):
    help = "Delete the stored photos, older than a day, that no row names. Beat does so every night."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say which")
        parser.add_argument("--at-most", type=int, default=1000, help="files at a time (default: 1000)")
        parser.add_argument("--sure", action="store_true", help="even where more files are left over than named")

    def handle(self, *args: Any, **options: Any) -> None:
        swept = files.sweep(at_most=options["at_most"], dry_run=options["dry_run"], is_sure=options["sure"])
        for name in swept.names:
            self.stdout.write(name)
        if swept.is_refused:
            raise CommandError(
                f"{len(swept.names)} of {swept.looked_at} files have no row: is this their database? None was deleted; "
                "--sure deletes them."
            )
        done = "would be deleted" if options["dry_run"] else "deleted"
        self.stdout.write(f"{swept.looked_at} files looked at, {len(swept.names)} {done}.")
