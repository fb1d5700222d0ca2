"""What this app adds to a post: its part of the representation, and what staff see of it on the post's page."""

from collections.abc import Mapping, Sequence

from django.http import HttpRequest

from incentives import events, selectors
from incentives.models import Claim, LedgerEntry
from incentives.serializers import RewardsSerializer
from moderation import extensions
from moderation.extensions import PostSection, StaffSection, Stage
from moderation.models import Post


def add() -> None:
    """Add the sections to every post; called once, from ready()."""
    extensions.register(
        PostSection(
            name="rewards",
            serializer=RewardsSerializer,
            read=selectors.rewards_of,
            is_settled=selectors.is_settled,
            stages=_stages,
        )
    )
    extensions.register_for_staff(
        StaffSection(title="What it earned and lost", template="incentives/post_rewards.html", context=_for_staff)
    )


def _stages(post: Post) -> Sequence[Stage]:
    return (Stage("reward", selectors.reward_milliseconds(post)),)


def _for_staff(post: Post, request: HttpRequest) -> Mapping[str, object] | None:
    """Return what the post holds, why, and all that was told of it, the money for those who may see it."""
    sees_money = request.user.has_perm("incentives.view_ledgerentry")
    entries = LedgerEntry.objects.filter(match__post=post).select_related("campaign").order_by("pk")
    return {
        "rewards": selectors.rewards_of(post),
        "claim": Claim.objects.filter(post=post).first(),
        "entries": list(entries) if sees_money else [],
        "events": list(events.about(post)),
    }
