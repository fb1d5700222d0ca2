"""Measure the ranking of feeds; docs/benchmarks.md says how."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from incentives import bench
from moderation.models import Post

SIZES = (1_000, 10_000)


class Command(BaseCommand):
    help = "Measure POST /api/v1/feed/rank over this database, beside a bare view that reads and writes the same JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--posts", type=int, default=20_000, help="posts to make and take back (default: 20000)")
        parser.add_argument("--rounds", type=int, default=100, help="rankings of each size (default: 100)")
        parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="candidates (default: 1000 10000)")

    def handle(self, *args: Any, **options: Any) -> None:
        posts = max(options["posts"], *options["sizes"])
        self.stdout.write(f"Making {posts:,} posts, of which nothing stays ...")
        with bench.furnished(posts) as feed:
            results = [bench.measure(feed, size, options["rounds"]) for size in options["sizes"]]
        self.stdout.write("candidates  queries  p50 ms  p95 ms  max ms |   SQL  Python |  bare  x bare | CPU ms")
        for result in results:
            cpu = "-" if result.cpu is None else f"{result.cpu:.1f}"
            self.stdout.write(
                f"{result.candidates:>10,}  {result.queries:>7}  {result.p50:>6.1f}  {result.p95:>6.1f}"
                f"  {result.longest:>6.1f} | {result.sql:>5.1f}  {result.python:>6.1f}"
                f" | {result.bare:>5.1f}  {result.ratio:>6.1f} | {cpu:>6}"
            )
        for result in results:
            size = f"{result.request_bytes / 1e6:.2f} MB in, {result.answer_bytes / 1e6:.2f} MB out"
            self.stdout.write(f"{result.candidates:,} candidates: {size}")
        load, cores = os.getloadavg()[0], os.cpu_count()
        self.stdout.write(
            f"{Post.objects.count():,} posts stay in the table. The load was {load:.1f} on {cores} cores."
        )
