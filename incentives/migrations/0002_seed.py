"""The first badge rules, the terms of boosts, what a post must be to earn, and a campaign that shows how one looks."""

from typing import Any

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

BADGE_RULES: list[dict[str, Any]] = [
    {
        "code": "first-mask",
        "title": "Mask-on",
        "description": "A first post with every mask on.",
        "kind": "masked_posts",
        "threshold": 1,
        "series": "masks",
        "level": 1,
    },
    {
        "code": "fifty-masks",
        "title": "Fifty masks",
        "description": "Fifty posts with every mask on.",
        "kind": "masked_posts",
        "threshold": 50,
        "series": "masks",
        "level": 3,
    },
    {
        "code": "five-days",
        "title": "Five days of masks",
        "description": "Masked posts on five different days.",
        "kind": "distinct_days",
        "threshold": 5,
        "series": "days",
        "level": 2,
        "symbol": "leaf",
    },
    {
        "code": "week-streak",
        "title": "A week in a row",
        "description": "A masked post on seven days in a row; one day may be missed between two.",
        "kind": "streak",
        "threshold": 7,
        "grace_days": 1,
        "series": "streaks",
        "level": 3,
        "symbol": "star",
    },
]
CAMPAIGN: dict[str, Any] = {
    "name": "Example campaign",
    "cause": "Masks for a clinic (an example: no money moves)",
    "currency": "EUR",
    "budget_minor": 1_000_00,
    "amount_minor": 50,
    "status": "active",
}


def seed(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Add what is missing."""
    rules = apps.get_model("incentives", "BadgeRule")
    for rule in BADGE_RULES:
        rules.objects.get_or_create(code=rule["code"], defaults=rule)
    for name in ("BoostPolicy", "EarningRules"):
        apps.get_model("incentives", name).objects.get_or_create(platform=None)
    campaigns = apps.get_model("incentives", "Campaign")
    if not campaigns.objects.exists():
        sponsor, _ = apps.get_model("incentives", "Sponsor").objects.get_or_create(name="Example Sponsor")
        campaign = campaigns.objects.create(sponsor=sponsor, last_entry=1, **CAMPAIGN)
        apps.get_model("incentives", "LedgerEntry").objects.create(
            campaign=campaign,
            number=1,
            kind="funded",
            amount_minor=campaign.budget_minor,
            day=campaign.created_at.date(),
            cause="staff",
            created_at=campaign.created_at,
        )


class Migration(migrations.Migration):
    dependencies = [("incentives", "0001_initial")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
