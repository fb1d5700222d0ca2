"""What staff see of the programme; Django imports this package to find it.

Money and events are only read here. What is written goes through the services, or saves the fields of the form alone:
a whole row would overwrite what posts were promised meanwhile.
"""

from incentives.admin import badge_awards, badges, books, boosts, campaigns, dashboard, experiments, farming, messages

__all__ = ["badge_awards", "badges", "books", "boosts", "campaigns", "dashboard", "experiments", "farming", "messages"]
