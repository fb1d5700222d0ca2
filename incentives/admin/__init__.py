"""What staff see of the programme; Django imports this package to find it.

Money and events are only read here. What is written goes through the services, or saves the fields of the form alone:
a whole row would overwrite what posts were promised meanwhile.
"""

from incentives.admin import books, campaigns, experiments, farming, messages, programme

__all__ = ["books", "campaigns", "experiments", "farming", "messages", "programme"]
