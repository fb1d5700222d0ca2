"""Measure what grows with the tables; docs/scaling.md has the outcome."""

import json
import os
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from incentives.growth import plans, rows, work
from mask_social import clock
from moderation.models import Post


class Command(BaseCommand):
    help = (
        "Fill an EMPTY database with posts, verdicts, matches, ledger entries, boosts, events and deliveries, and"
        " measure the service's own queries at each size. The rows stay: name a folder for it in MASK_SOCIAL_VAR."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        sizes = (1_000_000, 10_000_000)
        parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="posts (default: 1000000 10000000)")
        parser.add_argument("--rounds", type=int, default=plans.ROUNDS, help=f"of each (default: {plans.ROUNDS})")
        parser.add_argument("--json", type=Path, help="write every plan to this file")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        if Post.objects.exists():
            raise CommandError("There are posts here; name an empty folder in MASK_SOCIAL_VAR.")
        world, grown, found = rows.make_world(clock.now()), 0, []
        for size in sorted(options["sizes"]):
            rows.grow(world, grown, size, self._say)
            grown = size
            self._say(f"measuring at {size:,} posts")
            measured = [plans.measure(name, act, options["rounds"]) for name, act in work.works(world)]
            found.append((size, _bytes(), measured))
        self._table(found)
        if options["json"]:
            options["json"].write_text(json.dumps(_written(found), indent=1, default=str))

    def _say(self, step: str) -> None:
        self.stdout.write(f"{clock.now():%H:%M:%S} {step}")
        self.stdout.flush()

    def _table(self, found: list[tuple[int, int, list[plans.Measured]]]) -> None:
        smallest, largest = found[0], found[-1]
        self.stdout.write(f"\n{'':36}{smallest[0]:>12,} posts{largest[0]:>21,} posts")
        self.stdout.write(f"{'work':36}{'ms':>8}{'pages':>10}{'ms':>15}{'pages':>10}{'rows':>12}   x   whole tables")
        for before, after in zip(smallest[2], largest[2], strict=True):
            self.stdout.write(
                f"{after.name:36}{before.ms:>8.1f}{before.pages:>10,}{after.ms:>15.1f}{after.pages:>10,}"
                f"{after.rows:>12,}{after.ms / before.ms:>6.1f}   {', '.join(after.whole_tables)}"
            )
        sizes = ", ".join(f"{size:,} posts: {taken / 2**30:.1f} GiB" for size, taken, _ in found)
        self.stdout.write(f"{sizes}. The load was {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


def _bytes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        [(taken,)] = cursor.fetchall()
    return int(taken)


def _written(found: list[tuple[int, int, list[plans.Measured]]]) -> list[dict[str, Any]]:
    return [
        {
            "posts": size,
            "bytes": taken,
            "work": [
                {
                    "name": row.name,
                    "ms": row.ms,
                    "queries": row.queries,
                    "plans": [{"sql": plan.sql, "ms": plan.ms, "plan": plan.text} for plan in row.plans],
                }
                for row in measured
            ],
        }
        for size, taken, measured in found
    ]
