"""What the posts of a benchmark belong to: a platform with a key, a listener and a sponsor's money. Needs Django."""

from dataclasses import dataclass
from datetime import timedelta

from incentives import campaigns, signing
from incentives.models import Campaign, EarningRules, SigningKey, Sponsor, WebhookEndpoint
from mask_social import clock
from moderation import api_keys
from moderation.models import ApiKey, Platform

SLUG = "bench"
_BUDGET_MINOR = 10**12  # nobody is refused for want of money


@dataclass(frozen=True, slots=True)
class Furniture:
    """A platform and the key it calls with."""

    platform: Platform
    key: str


def furnish(listener: str) -> Furniture:
    """Make a platform whose every masked post earns all there is; `listener` is told of each event."""
    platform = Platform.objects.create(slug=SLUG, name="Benchmark")
    key = api_keys.issue_key(platform, name="bench", scopes=ApiKey.Scope.values).plaintext
    EarningRules.objects.update(posts_per_day=None, cooldown_seconds=0)  # as many posts an hour as the machine takes
    sponsor = Sponsor.objects.create(name="Bench")
    campaign = Campaign(
        name="Bench",
        sponsor=sponsor,
        cause="masks",
        currency="EUR",
        budget_minor=_BUDGET_MINOR,
        amount_minor=50,
        status=Campaign.Status.ACTIVE,
        starts_at=clock.now() - timedelta(days=1),
    )
    campaigns.create_campaign(campaign, None, clock.now())
    endpoint = WebhookEndpoint.objects.create(platform=platform, url=listener)
    SigningKey.objects.bulk_create(signing.new_key(endpoint, scheme) for scheme in SigningKey.Scheme)
    return Furniture(platform, key)
