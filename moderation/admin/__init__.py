"""What staff see and do; Django imports this package to find it."""

from moderation.admin import appeals, platforms, policies, posts, records, reevaluations

__all__ = ["appeals", "platforms", "policies", "posts", "records", "reevaluations"]
