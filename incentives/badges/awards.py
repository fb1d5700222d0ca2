"""Who holds a badge: given and taken back as posts count and cease to, and run out where a rule says so.

A badge is judged by the terms it was given under as well as by those of today: a rule that becomes stricter takes
nothing from its holders until staff start a backfill, which judges by today's alone. What staff did by hand is left as
it is.
"""

from datetime import datetime, timedelta
from enum import Enum

from django.db import transaction
from django.db.models import Q

from incentives.badges import steps
from incentives.badges.rules import CountedOn, Evidence, Terms, measure
from incentives.badges.steps import Step
from incentives.causes import Cause
from incentives.models import BadgeAward, BadgeRule, CountedPost, Event
from moderation.models import Author, Post, Verdict

HELD = (BadgeAward.Status.ACTIVE, BadgeAward.Status.SUSPENDED)
# So many authors are held at once while their badges run out.
EXPIRY_BATCH = 100


class Measured(Enum):
    """What came of measuring an author by a rule."""

    GAINED = "gained"
    LOST = "lost"
    AS_BEFORE = "as before"


def counted_history(author: Author) -> list[CountedOn]:
    """Return the posts that count for an author, the oldest first."""
    rows = CountedPost.objects.filter(author=author).order_by("created_at", "post_id")
    return [CountedOn(*row) for row in rows.values_list("post_id", "created_at", "day", "region", "verdict_id")]


def reconcile(
    author: Author, post: Post, verdict: Verdict, now: datetime, *, cause: Cause, withheld: bool = False
) -> None:
    """Award what the author has earned and revoke what no longer stands; under the author's lock.

    `post` and its `verdict` are what changed: they tip the scale, either way. Where badges are `withheld` from the
    author, none is given, but what falls is still taken back.
    """
    history = counted_history(author)
    counts = any(post.pk == counted.id for counted in history)
    awards = {award.rule_id: award for award in BadgeAward.objects.filter(author=author).select_related("verdict")}
    # A rule that is switched off awards no more, but what it gave is still taken back when its ground goes.
    for rule in BadgeRule.objects.filter(Q(is_active=True) | Q(code__in=awards)):
        award = awards.get(rule.code, BadgeAward(rule=rule, status=BadgeAward.Status.REVOKED))
        award.author, award.rule = author, rule
        expire_if_due(award, now)
        if award.by_staff:
            continue
        if award.status not in HELD:
            evidence = measure(rule, history, since=award.counts_since)
            if evidence.is_enough and rule.is_active and not withheld:
                tipped = (post.pk, verdict.pk) if counts else (evidence.post_ids[-1], evidence.verdict_id)
                _give(award, evidence, tipped, now, cause)
            continue
        ground = _ground_of(award, history)
        if not ground.is_enough:
            steps.take(award, Step(Event.Type.BADGE_REVOKED, cause.reason, cause.causation_id, post.pk), now)
        elif not counts and _rests_on(award, post):
            _rest_on(award, ground, now, cause)


def judge_anew(award: BadgeAward, now: datetime, *, cause: Cause, withheld: bool) -> Measured:
    """Give or take back one badge by what its rule asks for today; under the author's lock."""
    expire_if_due(award, now)
    if award.by_staff:
        return Measured.AS_BEFORE
    evidence = measure(award.rule, counted_history(award.author), since=award.counts_since)
    held = award.status in HELD
    if held and not evidence.is_enough:
        steps.take(award, Step(Event.Type.BADGE_REVOKED, cause.reason, cause.causation_id), now)
        return Measured.LOST
    if evidence.is_enough and not held and award.rule.is_active and not withheld:
        _give(award, evidence, (evidence.post_ids[-1], evidence.verdict_id), now, cause)
        return Measured.GAINED
    if held and terms_of(award) != evidence.terms:
        _rest_on(award, evidence, now, cause)
    return Measured.AS_BEFORE


def expire_due(now: datetime) -> int:
    """Let badges run out whose time is over, some authors at a time; return how many did.

    An author whom another transaction holds is passed over: that one, or the next call, sees to it.
    """
    due = BadgeAward.objects.filter(status=BadgeAward.Status.ACTIVE, expires_at__lte=now)
    with transaction.atomic():
        # The author first, as everywhere; an award alone would be locked the other way round than by a verdict.
        holders = Author.objects.select_for_update(no_key=True, skip_locked=True)
        authors = list(holders.filter(pk__in=due.order_by("expires_at").values("author")[:EXPIRY_BATCH]))
        awards = due.filter(author__in=authors).select_related("author", "rule").order_by("expires_at", "pk")
        return sum(expire_if_due(award, now) for award in awards)


def expire_if_due(award: BadgeAward, now: datetime) -> bool:
    """Let a badge run out when its time is over; under the author's lock. From then on posts may earn it again."""
    if award.status != BadgeAward.Status.ACTIVE or award.expires_at is None or award.expires_at > now:
        return False
    reason = f"It was valid until {award.expires_at:%Y-%m-%d %H:%M} UTC."
    steps.take(award, Step(Event.Type.BADGE_EXPIRED, reason), now, counts_since=award.expires_at, by_staff=False)
    return True


def valid_until(rule: BadgeRule, now: datetime) -> datetime | None:
    """Return when a badge given now runs out; None when it does not."""
    return None if rule.valid_days is None else now + timedelta(days=rule.valid_days)


def terms_of(award: BadgeAward) -> Terms:
    """Return the terms an award was given under; one from before they were kept goes by those of today."""
    kept = award.evidence.get("terms")
    return Terms.read(kept) if kept else Terms.of(award.rule)


def _give(award: BadgeAward, evidence: Evidence, tipped: tuple[str, str | None], now: datetime, cause: Cause) -> None:
    """Give a badge, or give it again; `tipped` names the post, and its verdict where there still is one."""
    post_id, verdict_id = tipped
    steps.take(
        award,
        Step(Event.Type.BADGE_AWARDED, cause.reason, cause.causation_id, post_id),
        now,
        verdict_id=verdict_id,
        evidence=evidence.written(),
        awarded_at=now,
        expires_at=valid_until(award.rule, now),
    )


def _ground_of(award: BadgeAward, history: list[CountedOn]) -> Evidence:
    """Return what a badge stands on: the terms it was given under or, where these fail, those of today."""
    given_under = measure(terms_of(award), history, since=award.counts_since)
    if given_under.is_enough or given_under.terms == Terms.of(award.rule):
        return given_under
    return measure(award.rule, history, since=award.counts_since)


def _rests_on(award: BadgeAward, post: Post) -> bool:
    tipped_by = award.verdict.post_id if award.verdict else None
    return tipped_by == post.pk or post.pk in award.evidence["post_ids"]


def _rest_on(award: BadgeAward, evidence: Evidence, now: datetime, cause: Cause) -> None:
    """Let a badge that stands rest on the posts that are left, or on the terms of today."""
    BadgeAward.objects.filter(pk=award.pk).update(verdict=evidence.verdict_id, evidence=evidence.written())
    steps.note(award, f"It still stands, on other ground: {cause.reason}", cause.causation_id, now)
