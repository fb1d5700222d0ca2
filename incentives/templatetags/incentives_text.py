"""What templates of this app write in a way of their own."""

from django import template
from django.contrib.admin.utils import quote

from incentives.money import format_money

register = template.Library()


@register.filter
def money(minor: int, currency: str) -> str:
    """Return an amount of minor units as people write it."""
    return format_money(minor, currency)


@register.filter
def amount(minor: int, currency: str) -> str:
    """Return an amount for a table in one currency; a dash for none."""
    return format_money(minor, currency).rpartition(" ")[0] if minor else "–"


@register.filter
def admin_quoted(pk: str) -> str:
    """Return a key as the admin's addresses hold it: it reads an underscore as an escape."""
    quoted: str = quote(pk)
    return quoted
