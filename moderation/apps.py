"""The moderation app: posts, what is seen on them, and the verdict."""

from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"
