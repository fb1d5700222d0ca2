"""The incentives app: what a verdict earns, and who is told."""

from django.apps import AppConfig


class IncentivesConfig(AppConfig):
    name = "incentives"

    def ready(self) -> None:
        """Listen to the app below, add our section to its posts, and keep the roles of staff complete."""
        from incentives import observed, receivers, roles, section
        from incentives.credentials import checks  # noqa: F401 - importing it registers them

        receivers.connect()
        roles.connect()
        section.add()
        observed.begin()
