"""Print the audit log for whoever checks it elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand

from moderation import audit


class Command(BaseCommand):
    help = "Print every entry of the audit log as a line of JSON; docs/operations.md says how to verify them."

    def handle(self, *args: Any, **options: Any) -> None:
        for line in audit.export():
            self.stdout.write(line)
