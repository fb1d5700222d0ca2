"""What the tests of this app add to the cast."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from incentives import campaigns, webhooks
from incentives.models import Campaign, Event, Sponsor, Tier, WebhookEndpoint
from moderation.models import Platform, Post
from tests.cast import ALL_SCOPES, make_key, make_platform

T = TypeVar("T")


def make_sponsor(name: str = "A Sponsor") -> Sponsor:
    """Return the sponsor of that name."""
    return Sponsor.objects.get_or_create(name=name)[0]


def make_campaign(
    sponsor: Sponsor | str = "A Sponsor", *, tiers: Sequence[tuple[int, int]] = (), **fields: Any
) -> Campaign:
    """Make a running, funded campaign that gives 50 cents to each masked post, for everybody.

    A tier is (from how much on, percent).
    """
    defaults: dict[str, Any] = {
        "name": "Masks for a clinic",
        "sponsor": make_sponsor(sponsor) if isinstance(sponsor, str) else sponsor,
        "cause": "masks",
        "currency": "EUR",
        "budget_minor": 100_00,
        "amount_minor": 50,
        "status": Campaign.Status.ACTIVE,
    }
    campaign = Campaign(**(defaults | fields))
    steps = [Tier(from_minor=from_minor, percent=percent) for from_minor, percent in tiers]
    return campaigns.create_campaign(campaign, None, timezone.now(), tiers=steps)


def make_endpoint(
    platform: Platform | None = None, url: str = "https://feed.example.org/hooks", **fields: Any
) -> WebhookEndpoint:
    """Make an active endpoint for every type."""
    return WebhookEndpoint.objects.create(
        platform=platform or make_platform(), url=url, secret=webhooks.new_secret(), **fields
    )


def types_of(post: Post) -> list[str]:
    """Return what was told to the post's platform, in the order it was written."""
    return [event.type for event in Event.objects.filter(platform=post.platform).order_by("position")]


def client_for(platform: Platform, scopes: Sequence[str] = ALL_SCOPES) -> APIClient:
    """Return a client that bears a key of the platform."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_key(platform, scopes)}")
    return client


def at_once(work: Callable[[T], object], items: Sequence[T], *, threads: int = 16) -> list[object]:
    """Run `work` on all items in real threads, each with a connection of its own, let go at the same moment."""
    lanes = [items[lane::threads] for lane in range(min(threads, len(items)))]
    ready = threading.Barrier(len(lanes))

    def run(lane: Sequence[T]) -> list[object]:
        try:
            connection.ensure_connection()
            ready.wait(timeout=30)
            return [work(item) for item in lane]
        finally:
            connection.close()

    with ThreadPoolExecutor(len(lanes)) as pool:
        return [result for results in pool.map(run, lanes) for result in results]
