"""Fill a database with a past; incentives.seed says of what kind."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from incentives.seed import SeedError, seed
from mask_social import clock

_HERE = ("", "localhost", "127.0.0.1", "::1")


class Command(BaseCommand):
    help = "Write a platform named “seeded” with 90 days of posts, verdicts, badges, money and two experiments."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--posts", type=int, default=20_000, help="how many posts (default: 20000)")
        parser.add_argument("--number", type=int, default=1, help="another number tells another story (default: 1)")
        parser.add_argument("--yes", action="store_true", help="also where the database is on another machine")

    def handle(self, *args: Any, **options: Any) -> None:
        host = str(connection.settings_dict["HOST"])
        if not options["yes"] and host not in _HERE and not host.startswith("/"):
            raise CommandError(f"The database is on {host}: say --yes if it may be filled with invented posts.")
        call_command("migrate", verbosity=0)
        columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=Console(file=self.stdout)) as shown:  # type: ignore[arg-type]  # writes alike

            def tick(step: str) -> None:
                for task in shown.tasks:
                    shown.update(task.id, total=1, completed=1)
                shown.add_task(step, total=None)

            try:
                done = seed(options["posts"], clock.now(), number=options["number"], progress=tick)
            except SeedError as error:
                raise CommandError(str(error)) from error
            for task in shown.tasks:
                shown.update(task.id, total=1, completed=1)
        self.stdout.write(
            f"{done.posts:,} posts of up to {done.authors:,} authors, {done.matches:,} matches, {done.awards:,} badges."
        )
