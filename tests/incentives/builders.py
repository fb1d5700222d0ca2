"""What the tests of this app add to the cast."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from incentives import campaigns, causes, donations, signing
from incentives.models import (
    BadgeAward,
    BadgeRule,
    Boost,
    BoostPolicy,
    Campaign,
    EarningRules,
    Event,
    SigningKey,
    Sponsor,
    Tier,
    WebhookEndpoint,
)
from moderation.models import Author, Platform, Post, Verdict
from tests.cast import ALL_SCOPES, make_author, make_key, make_platform, make_policy, make_post

T = TypeVar("T")
R = TypeVar("R")


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
        "starts_at": datetime(2020, 1, 1, tzinfo=UTC),  # so that a test can choose its day
    }
    campaign = Campaign(**(defaults | fields))
    steps = [Tier(from_minor=from_minor, percent=percent) for from_minor, percent in tiers]
    return campaigns.create_campaign(campaign, None, timezone.now(), tiers=steps)


def masked_posts(count: int, author: Author | None = None, *, region: str = "") -> list[Post]:
    """Make posts that were found masked, and whose rewards nobody has worked out."""
    author = author or make_author()
    posts = [make_post(author, outcome="masked", photos=()) for _ in range(count)]
    Post.objects.filter(pk__in=[post.pk for post in posts]).update(region=region)
    return posts


def give(post: Post, now: datetime | None = None) -> donations.Decision:
    """Have a masked post matched, as its latest verdict brings it about; money alone, no other reward."""
    with transaction.atomic():
        held, verdict = _held(post)
        return donations.reconcile(held, verdict, now or timezone.now(), causes.by_verdict(verdict))


def take(post: Post, now: datetime | None = None, *, withdrawn: bool = False) -> donations.Decision:
    """Have a post give its money back, for its verdict is overturned or, where it says so, because it is withdrawn."""
    with transaction.atomic():
        held, verdict = _held(post)
        cause = causes.by_withdrawal("evt_withdrawal") if withdrawn else causes.by_verdict(verdict)
        return donations.reconcile(held, None, now or timezone.now(), cause)


def _held(post: Post) -> tuple[Post, Verdict]:
    author = Author.objects.select_for_update(no_key=True).get(pk=post.author_id)
    held = Post.objects.select_for_update(no_key=True).get(pk=post.pk)
    held.author = author
    return held, held.verdicts.order_by("-sequence")[0]


def make_award(author: Author | None = None, rule: BadgeRule | None = None, **fields: Any) -> BadgeAward:
    """Give a badge as it stands in the table; nothing is counted and nobody is told."""
    if rule is None:
        rule, _ = BadgeRule.objects.get_or_create(
            code="five-days", defaults={"title": "Five days of masks", "kind": "distinct_days", "threshold": 5}
        )
    evidence = {"measured": rule.threshold, "threshold": rule.threshold, "post_ids": []}
    return BadgeAward.objects.create(author=author or make_author(), rule=rule, **({"evidence": evidence} | fields))


def furnish() -> None:
    """Add the rows of a fresh installation that a test with transactions of its own has emptied."""
    make_policy()
    BoostPolicy.objects.get_or_create(platform=None)
    EarningRules.objects.get_or_create(platform=None)
    for code, kind, threshold in (("first-mask", "masked_posts", 1), ("five-days", "distinct_days", 5)):
        BadgeRule.objects.get_or_create(code=code, defaults={"title": code, "kind": kind, "threshold": threshold})


def make_endpoint(
    platform: Platform | None = None, url: str = "https://feed.example.org/hooks", **fields: Any
) -> WebhookEndpoint:
    """Make an active endpoint for every type."""
    if fields.get("status") == WebhookEndpoint.Status.DISABLED:
        fields = {"disabled_at": timezone.now(), "disabled_reason": WebhookEndpoint.Reason.OWNER} | fields
    endpoint = WebhookEndpoint.objects.create(platform=platform or make_platform(), url=url, **fields)
    SigningKey.objects.bulk_create(signing.new_key(endpoint, scheme) for scheme in SigningKey.Scheme)
    return endpoint


def secret_of(endpoint: WebhookEndpoint) -> str:
    """Return the shared secret in use."""
    return endpoint.signing_keys.get(scheme=SigningKey.Scheme.HMAC, expires_at=None).secret


def types_of(post: Post) -> list[str]:
    """Return what was told to the post's platform, in the order it was written."""
    return [event.type for event in Event.objects.filter(platform=post.platform).order_by("position")]


def client_for(platform: Platform, scopes: Sequence[str] = ALL_SCOPES) -> APIClient:
    """Return a client that bears a key of the platform."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_key(platform, scopes)}")
    return client


def pointers(answer: Any) -> list[tuple[str, str]]:
    """Return what a refusal points at: (pointer, code)."""
    assert answer["Content-Type"] == "application/problem+json"
    return [(problem["pointer"], problem["code"]) for problem in answer.json()["errors"]]


def make_boost(post: Post, **fields: Any) -> Boost:
    """Give a post that has a verdict a boost of 1.5, begun this moment."""
    now = timezone.now()
    defaults: dict[str, Any] = {
        "verdict": post.verdicts.latest("sequence"),
        "factor": 1.5,
        "cap": 3.0,
        "half_life_seconds": 6 * 3600,
        "starts_at": now,
        "ends_at": now + timedelta(hours=24),
    }
    return Boost.objects.create(post=post, **(defaults | fields))


def at_once(work: Callable[[T], R], items: Sequence[T], *, threads: int = 16) -> list[R]:
    """Run `work` on all items in real threads, each with a connection of its own, let go at the same moment."""
    lanes = [items[lane::threads] for lane in range(min(threads, len(items)))]
    ready = threading.Barrier(len(lanes))

    def run(lane: Sequence[T]) -> list[R]:
        try:
            connection.ensure_connection()
            ready.wait(timeout=30)
            return [work(item) for item in lane]
        finally:
            connection.close()

    with ThreadPoolExecutor(len(lanes)) as pool:
        return [result for results in pool.map(run, lanes) for result in results]


def signed_in(role: str, name: str | None = None) -> Client:
    """Return a browser in which somebody of the staff with a role is signed in."""
    user = User.objects.create_user(name or role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client
