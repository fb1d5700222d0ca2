"""What set a change off, as the books, the history and the events tell it."""

from dataclasses import dataclass

from incentives.models import LedgerEntry
from moderation.models import Verdict


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something changed; `causation_id` is the same for all that followed from one thing."""

    kind: LedgerEntry.Cause
    # The verdict, withdrawal event, match or person.
    id: str
    causation_id: str
    # Fit for the history of an award.
    reason: str


def by_verdict(verdict: Verdict) -> Cause:
    """Return a verdict as the cause of what it gives and takes."""
    reason = f"{verdict.get_source_display()}: {verdict.get_outcome_display()}"
    return Cause(LedgerEntry.Cause.VERDICT, verdict.pk, verdict.pk, reason)


def by_withdrawal(event_id: str) -> Cause:
    """Return the withdrawal of a post, named by its event, as a cause."""
    return Cause(LedgerEntry.Cause.WITHDRAWAL, event_id, event_id, "The post was withdrawn.")


def by_staff(user_id: int, causation_id: str, reason: str) -> Cause:
    """Return somebody of the staff as a cause."""
    return Cause(LedgerEntry.Cause.STAFF, str(user_id), causation_id, reason)
