"""Badges: what an author's counted posts add up to.

rules     what posts amount to under a rule, for one author; pure
counting  the same for every author at once, in SQL
awards    give and take back as posts count and cease to; expiry
staff     what people do by hand
preview   who would gain and who would lose by a rule that is not saved yet
backfill  measure everybody by a rule, as a job
"""

from incentives.badges.awards import counted_history, reconcile
from incentives.badges.rules import CountedOn, Evidence, Terms, measure

__all__ = ["CountedOn", "Evidence", "Terms", "counted_history", "measure", "reconcile"]
