"""The project as an app: it owns the Celery application, the health pages and the commands."""

from django.apps import AppConfig


class MaskSocialConfig(AppConfig):
    name = "mask_social"

    def ready(self) -> None:
        """Make our Celery application the current one, so that tasks reach our broker."""
        from mask_social import celery  # noqa: F401 - binds shared_task once settings are ready
