"""Money in templates."""

from django import template

from incentives.money import format_money

register = template.Library()


@register.filter
def money(minor: int, currency: str) -> str:
    """Return an amount of minor units as people write it."""
    return format_money(minor, currency)
