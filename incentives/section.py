"""The part of a post's representation that tells what it earned."""

from collections.abc import Sequence

from incentives import selectors
from incentives.serializers import RewardsSerializer
from moderation import extensions
from moderation.extensions import PostSection, Stage
from moderation.models import Post


def add() -> None:
    """Add the section to every post; called once, from ready()."""
    extensions.register(
        PostSection(
            name="rewards",
            serializer=RewardsSerializer,
            read=selectors.rewards_of,
            is_settled=selectors.is_settled,
            stages=_stages,
        )
    )


def _stages(post: Post) -> Sequence[Stage]:
    return (Stage("reward", selectors.reward_milliseconds(post)),)
