"""The incentives app: what a verdict earns, and who is told."""

from django.apps import AppConfig


class IncentivesConfig(AppConfig):
    name = "incentives"

    def ready(self) -> None:
        """Listen to the app below, add our section to its posts, and keep the roles of staff complete."""
        from incentives import receivers, roles, section

        receivers.connect()
        roles.connect()
        section.add()
