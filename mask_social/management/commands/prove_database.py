"""Prove what a database holds, after it was restored."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

# Its tables are those of this code, its event feed can be read, its books are true, its audit log is whole.
PROOFS: tuple[tuple[str, ...], ...] = (
    ("migrate", "--check"),
    ("after_restore",),
    ("prove_ledgers",),
    ("verify_audit",),
)


class Command(BaseCommand):
    help = (
        "Make a restored database fit its server and prove what it holds, before anything is served from it: "
        f"{', '.join(' '.join(proof) for proof in PROOFS)}. Ends with an error where anything is amiss."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for proof in PROOFS:
            self.stdout.write(f"{' '.join(proof)} ...")
            try:
                call_command(*proof, stdout=self.stdout, stderr=self.stderr)
            except SystemExit as end:  # how `migrate --check` says no
                raise CommandError(f"{' '.join(proof)} failed.") from end
            except CommandError as error:
                raise CommandError(f"{proof[0]}: {error}") from error
