"""The project: settings, addresses, and what all apps share."""

__version__ = "0.1.0"
