"""What staff see and do; Django imports this package to find it."""

from moderation.admin import appeals, audit, keys, people, platforms, policies, posts, records, reevaluations

__all__ = ["appeals", "audit", "keys", "people", "platforms", "policies", "posts", "records", "reevaluations"]
