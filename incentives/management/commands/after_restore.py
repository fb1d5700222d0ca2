"""Make a restored database fit its new server."""

from typing import Any

from django.core.management.base import BaseCommand

from incentives import restored


class Command(BaseCommand):
    help = (
        "Run once after a dump was restored, before anything is served from it: on a server that has run fewer "
        "transactions than the old one, the events of the dump would stay hidden from the feed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        changed = restored.settle()
        self.stdout.write(f"{changed} events brought from the old server's future." if changed else "Nothing to do.")
