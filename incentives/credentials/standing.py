"""Whether an award counts at this moment, and how to say it."""

from dataclasses import dataclass
from datetime import datetime

from incentives.models import BadgeAward


@dataclass(frozen=True, slots=True)
class Standing:
    """A status in words; `tone` is what the page colours it by."""

    tone: str
    word: str
    since: datetime | None
    meaning: str


def of(award: BadgeAward, now: datetime) -> Standing:
    """Say how an award stands; its last day counts even before the task that lets awards expire has come by."""
    match BadgeAward.Status(award.status):
        case BadgeAward.Status.REVOKED:
            return Standing("revoked", "Revoked", award.changed_at, "It was taken back and must not be relied on.")
        case BadgeAward.Status.SUSPENDED:
            return Standing(
                "suspended", "Suspended", award.changed_at, "It is being looked into; until then it does not count."
            )
        case BadgeAward.Status.ACTIVE if award.expires_at is None or now < award.expires_at:
            return Standing("valid", "Valid", None, "It was awarded, and it stands.")
        case BadgeAward.Status.ACTIVE | BadgeAward.Status.EXPIRED:
            return Standing(
                "expired", "Expired", award.expires_at or award.changed_at, "It was awarded, and its time is over."
            )
