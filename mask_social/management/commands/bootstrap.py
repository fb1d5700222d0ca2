"""Give a fresh installation someone who can sign in and a platform that can send posts."""

import json
import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from moderation import api_keys, audit
from moderation.audit import Deed
from moderation.models import ApiKey, Platform


class Command(BaseCommand):
    help = (
        "Make an administrator and a platform with an API key. What exists already stays as it is, so the "
        "password and the key are printed by the first call alone; --new-key issues another key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--platform", default="local", help="slug of the platform (default: local)")
        parser.add_argument("--admin", default="admin", help="name of the administrator (default: admin)")
        parser.add_argument("--new-key", action="store_true", help="issue a key even if there is one")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            password = _ensure_admin(options["admin"])
            key = _ensure_key(options["platform"], always=options["new_key"])
        if options["json"]:
            self.stdout.write(json.dumps({"admin": options["admin"], "password": password, "api_key": key}, indent=1))
            return
        self.stdout.write(
            f"Administrator: {options['admin']}, one-time password: {password} (change it after signing in)"
            if password
            else f"Administrator: as before; manage.py changepassword {options['admin']} sets a new password"
        )
        self.stdout.write(
            f"API key of platform {options['platform']}: {key} (shown this once)"
            if key
            else "API key: as before; manage.py bootstrap --new-key issues another"
        )


def _ensure_admin(name: str) -> str | None:
    if User.objects.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    User.objects.create_superuser(name, password=password)
    return password


def _ensure_key(slug: str, *, always: bool) -> str | None:
    platform, _ = Platform.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})
    if not always and platform.api_keys.filter(revoked_at=None).exists():
        return None
    issued = api_keys.issue_key(platform, name="bootstrap", scopes=ApiKey.Scope.values)
    audit.record(Deed.to(issued.api_key, "add"))
    return issued.plaintext
