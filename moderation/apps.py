"""The moderation app: posts, what is seen on them, and the verdict."""

from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"

    def ready(self) -> None:
        """Let the audit log hear of sign-ins and accounts, and scrapes of what waits."""
        from moderation import observed, witness

        observed.begin()
        witness.connect()
