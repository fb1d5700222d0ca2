"""The incentives app: what a verdict earns, and who is told."""

from django.apps import AppConfig


class IncentivesConfig(AppConfig):
    name = "incentives"
