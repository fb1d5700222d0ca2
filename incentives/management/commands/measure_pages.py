"""Open the pages of staff, and say how long each takes and how often it asks the database."""

import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from incentives.pages import Opened, measure

LONGEST_MS = 1_000
MOST_QUERIES = 40


class Command(BaseCommand):
    help = "Open every page of the admin as a superuser; fail where one takes over a second or over 40 queries."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", default="", help="pages whose address holds this text")
        parser.add_argument("--rounds", type=int, default=2, help="the best of so many counts (default: 2)")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=self.stdout, width=150)  # type: ignore[arg-type]  # writes alike
        table = Table("page", "ms", "queries", "status")
        opened = []
        logging.getLogger("django.request").setLevel(logging.ERROR)  # it is found out which addresses are pages
        for page in measure(only=options["only"], rounds=options["rounds"]):
            opened.append(page)
            style = "red" if is_wrong(page) else ""
            table.add_row(page.address, f"{page.ms:,.0f}", str(page.queries), str(page.status), style=style)
        console.print(table)
        wrong = [page.address for page in opened if is_wrong(page)]
        self.stdout.write(f"{len(opened)} pages, the slowest in {max((page.ms for page in opened), default=0):.0f} ms.")
        if wrong:
            raise CommandError(f"{len(wrong)} over {LONGEST_MS} ms or {MOST_QUERIES} queries, or broken.")


def is_wrong(page: Opened) -> bool:
    """Say whether a page is too slow, asks too often, or does not open."""
    return page.ms > LONGEST_MS or page.queries > MOST_QUERIES or page.status != 200
