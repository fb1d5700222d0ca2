"""The first page of the admin: how the programme is doing."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from incentives import dashboard
from mask_social import clock

admin.site.index_template = "incentives/dashboard/index.html"


def add_to(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the person may see; unfold calls this for the first page alone."""
    return context | {
        "dashboard": dashboard.read(request.user, request.GET.dict(), clock.now()),
        "periods": dashboard.PERIODS,
        "fewest_for_a_rate": dashboard.FEWEST_FOR_A_RATE,
    }
