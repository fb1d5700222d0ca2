"""What people do to badges by hand, each with a reason that stays in the history.

An award that somebody gave, suspended, revoked or reinstated is no longer counted anew, until it runs out or somebody
reinstates one that is earned after all. None is deleted.
"""

from django.contrib.auth.models import User
from django.db import transaction

from incentives.badges import steps
from incentives.badges.awards import counted_history, expire_if_due, valid_until
from incentives.badges.rules import measure
from incentives.badges.steps import Step
from incentives.models import BadgeAward, BadgeRule, Event
from mask_social import clock
from moderation.models import Author

_MAY_BE = {
    Event.Type.BADGE_SUSPENDED: {BadgeAward.Status.ACTIVE},
    Event.Type.BADGE_REVOKED: {BadgeAward.Status.ACTIVE, BadgeAward.Status.SUSPENDED},
    Event.Type.BADGE_REINSTATED: {BadgeAward.Status.SUSPENDED, BadgeAward.Status.REVOKED},
}


class StepError(Exception):
    """A step that cannot be taken, and the field that is to blame; None: the award as it is."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def suspend(award_id: int, user: User, reason: str) -> BadgeAward:
    """Put a badge on hold. Raises StepError."""
    with transaction.atomic():
        award = _held_for(Event.Type.BADGE_SUSPENDED, award_id)
        return _take(award, Event.Type.BADGE_SUSPENDED, user, reason)


def revoke(award_id: int, user: User, reason: str) -> BadgeAward:
    """Take a badge back for good: posts do not earn it again. Raises StepError."""
    with transaction.atomic():
        award = _held_for(Event.Type.BADGE_REVOKED, award_id)
        return _take(award, Event.Type.BADGE_REVOKED, user, reason)


def reinstate(award_id: int, user: User, reason: str) -> BadgeAward:
    """Let a badge count again; where posts earn it, they alone decide about it from then on. Raises StepError."""
    now = clock.now()
    with transaction.atomic():
        award = _held_for(Event.Type.BADGE_REINSTATED, award_id)
        if award.expires_at is not None and award.expires_at <= now:
            raise StepError("Its time has run out meanwhile. Award it by hand to give it anew.")
        evidence = measure(award.rule, counted_history(award.author), since=award.counts_since)
        if not evidence.is_enough:
            return _take(award, Event.Type.BADGE_REINSTATED, user, reason)
        fields = {"by_staff": False, "verdict_id": evidence.verdict_id, "evidence": evidence.written()}
        return _take(award, Event.Type.BADGE_REINSTATED, user, reason, **fields)


def grant(rule: BadgeRule, author: Author, user: User, reason: str) -> BadgeAward:
    """Give a badge by hand, whatever the author's posts amount to. Raises StepError."""
    now = clock.now()
    with transaction.atomic():
        author = Author.objects.select_for_update(no_key=True).get(pk=author.pk)
        award = BadgeAward.objects.filter(author=author, rule=rule).first() or BadgeAward(author=author, rule=rule)
        award.author, award.rule = author, rule
        expire_if_due(award, now)
        if not award._state.adding and award.status == BadgeAward.Status.ACTIVE:
            raise StepError("The author holds this badge already.", "rule")
        evidence = measure(rule, counted_history(author), since=award.counts_since)
        return _take(
            award,
            Event.Type.BADGE_AWARDED,
            user,
            reason,
            verdict_id=None,
            evidence=evidence.written(),
            awarded_at=now,
            expires_at=valid_until(rule, now),
        )


def _held_for(type_: Event.Type, award_id: int) -> BadgeAward:
    """Hold an award's author and return the award as it is then; refuse a step that does not follow."""
    holder = BadgeAward.objects.values("author").get(pk=award_id)
    Author.objects.select_for_update(no_key=True).get(pk=holder["author"])
    award = BadgeAward.objects.select_related("author", "rule").get(pk=award_id)
    expire_if_due(award, clock.now())
    if award.status not in _MAY_BE[type_]:
        raise StepError(f"The badge is {award.get_status_display()}.")
    return award


def _take(award: BadgeAward, type_: Event.Type, user: User, reason: str, **fields: object) -> BadgeAward:
    if not reason.strip():
        raise StepError("Say why: the history keeps it.", "reason")
    step = Step(type_, reason.strip(), actor_id=user.pk)
    steps.take(award, step, clock.now(), **({"by_staff": True} | fields))
    return award
