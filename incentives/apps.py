"""The incentives app: what a verdict earns, and who is told."""

from django.apps import AppConfig


class IncentivesConfig(AppConfig):
    name = "incentives"

    def ready(self) -> None:
        """Listen to the app below, and add our section to its posts."""
        from incentives import receivers, section

        receivers.connect()
        section.add()
