"""What `manage.py check` says about the key that signs badges."""

from typing import Any

from django.conf import settings
from django.core import checks

from incentives.credentials import keys


@checks.register
def the_badge_key_can_be_read(**_: Any) -> list[checks.CheckMessage]:
    """Refuse a key that could sign nothing."""
    if not settings.BADGE_KEY:
        return []
    try:
        keys.read(settings.BADGE_KEY)
    except keys.BadKeyError as error:
        return [
            checks.Error(
                f"MASK_SOCIAL_BADGE_KEY cannot be used: {error}",
                hint="Make one with `manage.py make_badge_key --output FILE`.",
                id="incentives.E001",
            )
        ]
    return []


@checks.register(deploy=True)
def badges_can_be_signed(**_: Any) -> list[checks.CheckMessage]:
    """Tell a deployment what its badges lack; it may do without."""
    found: list[checks.CheckMessage] = []
    if not settings.BADGE_KEY and not settings.LOCAL:
        found.append(
            checks.Info(
                "Badges are not signed: there is no MASK_SOCIAL_BADGE_KEY.",
                hint="Make one with `manage.py make_badge_key --output FILE` and set MASK_SOCIAL_BADGE_KEY_FILE=FILE.",
                id="incentives.I001",
            )
        )
    if settings.BADGE_KEY and not settings.PUBLIC_URL:
        found.append(
            checks.Info(
                "The addresses in credentials follow the host that was asked: there is no MASK_SOCIAL_PUBLIC_URL.",
                hint="Set it to the one address that others know, such as https://masks.example.org.",
                id="incentives.I002",
            )
        )
    return found
