"""Add up every campaign's books."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from incentives import proof
from incentives.models import Campaign
from incentives.money import format_money
from mask_social import clock


class Command(BaseCommand):
    help = "Prove the books of every campaign from the first entry; ends with an error where anything disagrees."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaigns", nargs="*", help="ids of campaigns (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = Campaign.objects.order_by("pk")
        if options["campaigns"]:
            chosen = chosen.filter(pk__in=options["campaigns"])
            if missing := set(options["campaigns"]) - set(chosen.values_list("pk", flat=True)):
                raise CommandError(f"campaigns: there is no {', '.join(sorted(missing))}.")
        wrong = 0
        for campaign in chosen:
            found = proof.prove(campaign, clock.now())
            promised = format_money(found.reserved_minor, campaign.currency)
            paid = format_money(found.settled_minor - found.refunded_minor, campaign.currency)
            if not found.problems:
                self.stdout.write(f"{campaign}: {found.entries} entries agree; {promised} reserved, {paid} paid.")
            for problem in found.problems:
                self.stderr.write(f"{campaign}: {problem}")
            wrong += bool(found.problems)
        if wrong:
            raise CommandError(f"The books of {wrong} campaigns are wrong.")
