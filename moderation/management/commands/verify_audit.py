"""Walk along the audit log from its first entry."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from moderation import audit


class Command(BaseCommand):
    help = (
        "Verify the audit log from its first entry, and print its head: keep that elsewhere, for a log that was cut "
        "off or written anew is whole in itself. Ends with an error where anything is missing or changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--expect",
            action="append",
            default=[],
            metavar="NUMBER:HASH",
            help="a head that was printed before; may be given several times",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            expected = [audit.Head.read(text) for text in options["expect"]]
        except ValueError as error:
            raise CommandError(f"--expect: {error}.") from None
        found = audit.verify(expected)
        for problem in found.problems:
            self.stderr.write(problem)
        if found.problems:
            raise CommandError(f"The audit log is not whole: {found.problems[0]}.")
        self.stdout.write(f"{found.entries} entries, whole. Head: {found.head}")
