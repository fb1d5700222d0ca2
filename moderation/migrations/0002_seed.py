"""The policy for every platform without one of its own: a fresh installation can decide at once."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def seed(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    policy = apps.get_model("moderation", "Policy")
    policy.objects.get_or_create(platform=None, version=1, defaults={"note": "The first policy, for everybody."})


class Migration(migrations.Migration):
    dependencies = [("moderation", "0001_initial")]

    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
