"""One step in the story of an award: its row, its history and the event, in the caller's transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from incentives import events
from incentives.models import BadgeAward, BadgeChange, Event

_STATUS_AFTER = {
    Event.Type.BADGE_AWARDED: BadgeAward.Status.ACTIVE,
    Event.Type.BADGE_SUSPENDED: BadgeAward.Status.SUSPENDED,
    Event.Type.BADGE_REVOKED: BadgeAward.Status.REVOKED,
    Event.Type.BADGE_REINSTATED: BadgeAward.Status.ACTIVE,
    Event.Type.BADGE_EXPIRED: BadgeAward.Status.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to an award and why; where nothing else set it off, its own event did."""

    type: Event.Type
    reason: str
    causation_id: str = ""
    # The post that tipped the scale, where one did.
    post_id: str | None = None
    # None: the rules.
    actor_id: int | None = None


def take(award: BadgeAward, step: Step, now: datetime, **fields: Any) -> None:
    """Write a step, and the fields that change with it; under the author's lock."""
    changes = {**fields, "status": _STATUS_AFTER[step.type], "changed_at": now}
    for name, value in changes.items():
        setattr(award, name, value)
    award.save(update_fields=None if award._state.adding else list(changes))
    event = events.record(step.type, award.author, _told(award, step), causation_id=step.causation_id)
    note(award, step.reason, event.causation_id, now, actor_id=step.actor_id)


def note(award: BadgeAward, reason: str, causation_id: str, now: datetime, *, actor_id: int | None = None) -> None:
    """Add a line to the history of an award."""
    BadgeChange.objects.create(
        award=award,
        status=award.status,
        actor_id=actor_id,
        reason=reason,
        causation_id=causation_id,
        created_at=now,
    )


def _told(award: BadgeAward, step: Step) -> Mapping[str, Any]:
    return {
        "author_id": award.author.external_id,
        "award_id": award.public_id,
        "badge": {"code": award.rule.code, "title": award.rule.title, "level": award.rule.level},
        "post_id": step.post_id,
    }
