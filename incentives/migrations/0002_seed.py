"""The first badge rules, and a campaign that shows how one looks."""

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
    },
    {
        "code": "five-days",
        "title": "Five days of masks",
        "description": "Masked posts on five different days.",
        "kind": "distinct_days",
        "threshold": 5,
    },
]
CAMPAIGN: dict[str, Any] = {
    "name": "Example campaign",
    "sponsor": "Example Sponsor",
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
    campaigns = apps.get_model("incentives", "Campaign")
    if not campaigns.objects.exists():
        campaigns.objects.create(**CAMPAIGN)


class Migration(migrations.Migration):
    dependencies = [("incentives", "0001_initial")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
