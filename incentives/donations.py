"""Donations: a sponsor's money, promised to masked posts and never more than there is.

Locks. A caller holds the author's row, then the post's. A campaign's row comes after them, and no transaction waits for
one while it holds another. Platforms ask campaigns in different orders, their own first, so that takes care: each is
asked without a lock at first, which rules out most. One that would give is locked inside a savepoint and asked again;
where it no longer would, rolling back to the savepoint lets its row go before the next is asked. The row of the one
that gives is held until the transaction commits, and whoever else wants its money waits for that: call late.

Settling takes its posts' rows without waiting, then one campaign's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from incentives import events, ledger, offers
from incentives.causes import Cause
from incentives.ledger import Booking, Kind
from incentives.models import Campaign, Event, LedgerEntry, Match, PendingChange, RewardApplication
from incentives.offers import STANDING
from incentives.proof import audit
from moderation.models import Appeal, Post, Verdict
from moderation.time_zones import day_in

__all__ = ["STANDING", "Decision", "audit", "decline", "reconcile", "settle_due", "standing_match"]

logger = logging.getLogger(__name__)

SETTLE_BATCH = 100

Reason = RewardApplication.Reason
_TOLD = {
    Match.Status.RESERVED: Event.Type.DONATION_MATCHED,
    Match.Status.SETTLED: Event.Type.DONATION_SETTLED,
    Match.Status.VOIDED: Event.Type.DONATION_VOIDED,
    Match.Status.REFUNDED: Event.Type.DONATION_REFUNDED,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a post's money: the match that stands, or why there is none."""

    reason: RewardApplication.Reason
    match: Match | None


class _Refused(Exception):  # noqa: N818 - an answer on its way out of a savepoint, no error
    def __init__(self, reason: RewardApplication.Reason) -> None:
        self.reason = reason


def reconcile(post: Post, earned_by: Verdict | None, now: datetime, cause: Cause) -> Decision:
    """Match the post when its verdict earns it, or take the match back; under the locks of author and post.

    What is reserved is voided. What is settled is refunded, unless the post was only withdrawn: it stood for as long as
    it could be appealed against, and the masks were given.
    """
    match = standing_match(post)
    if earned_by is not None:
        return Decision(Reason.MATCHED, match) if match else _reserve(post, earned_by, now, cause)
    withdrawn = cause.kind == LedgerEntry.Cause.WITHDRAWAL
    if match is None or (match.status == Match.Status.SETTLED and withdrawn):
        none = Reason.WITHDRAWN if withdrawn else Reason.NOT_MASKED
        return Decision(Reason.MATCHED if match else none, match)
    _take_back(match, post, now, cause)
    return Decision(Reason.WITHDRAWN if withdrawn else Reason.NOT_MASKED, None)


def standing_match(post: Post) -> Match | None:
    """Return the match that the post has and that was not given back."""
    return Match.objects.filter(post=post, status__in=STANDING).select_related("campaign__sponsor").first()


def decline(post: Post, verdict: Verdict, reason: RewardApplication.Reason, cause: Cause) -> None:
    """Tell that a masked post is given nothing, and why."""
    data = {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "verdict_id": verdict.pk,
        "reason": reason.value,
        "text": reason.label,
    }
    events.record(Event.Type.DONATION_DECLINED, post, data, causation_id=cause.causation_id)


def settle_due(now: datetime, *, batch: int = SETTLE_BATCH) -> int:
    """Settle the reserved matches whose time has come; return how many this call settled."""
    campaigns = _due(now).order_by("campaign").values_list("campaign", flat=True).distinct()
    total = 0
    for campaign_id in list(campaigns):
        try:
            while settled := _settle_batch(campaign_id, now, batch):
                total += settled
        except Exception:  # books that are broken must not keep the others' money from being settled
            logger.exception("The matches of %s could not be settled.", campaign_id)
    return total


def _reserve(post: Post, verdict: Verdict, now: datetime, cause: Cause) -> Decision:
    refusals: list[RewardApplication.Reason] = []
    for campaign in offers.asked(post, now):
        try:
            match = _promise(campaign, post, verdict, now, cause)
        except _Refused as refused:
            refusals.append(refused.reason)
        else:
            return Decision(Reason.MATCHED, match)
    reason = offers.most_telling(refusals)
    decline(post, verdict, reason, cause)
    return Decision(reason, None)


def _promise(campaign: Campaign, post: Post, verdict: Verdict, now: datetime, cause: Cause) -> Match:
    if reason := offers.refusal(campaign, post, now):
        raise _Refused(reason)
    with transaction.atomic():  # a savepoint: rolled back, it lets go of the campaign's row
        held = ledger.hold(campaign.pk)
        if reason := offers.refusal(held, post, now):
            raise _Refused(reason)
        match = Match.objects.create(
            campaign=held,
            post=post,
            author=post.author,
            verdict=verdict,
            amount_minor=offers.next_amount(held),
            day=day_in(now, held.time_zone),
            region=post.region,
            created_at=now,
            settle_at=now + timedelta(seconds=held.hold_seconds),
        )
        ledger.book(held, [Booking(Kind.RESERVED, match.amount_minor, cause, match)], now)
        _tell(match, post, cause)
        return match


def _take_back(match: Match, post: Post, now: datetime, cause: Cause) -> None:
    reserved = match.status == Match.Status.RESERVED
    status, kind = (Match.Status.VOIDED, Kind.VOIDED) if reserved else (Match.Status.REFUNDED, Kind.REFUNDED)
    held = ledger.hold(match.campaign_id)
    if not Match.objects.filter(pk=match.pk, status=match.status).update(status=status):
        raise RuntimeError(f"{match} was moved by somebody who does not hold its post.")
    match.status = status
    ledger.book(held, [Booking(kind, match.amount_minor, cause, match)], now)
    _tell(match, post, cause)


def _due(now: datetime) -> QuerySet[Match]:
    """Return the matches to settle; one that may be about to be lost waits until that is decided."""
    appealed = Appeal.objects.filter(post=OuterRef("post"), status=Appeal.Status.OPEN)
    undecided = PendingChange.objects.filter(post=OuterRef("post"))
    stands = Q(post=None) | (~Exists(undecided) & ~Exists(appealed))
    return Match.objects.filter(stands, status=Match.Status.RESERVED, settle_at__lte=now)


def _settle_batch(campaign_id: str, now: datetime, batch: int) -> int:
    due = _due(now).filter(campaign=campaign_id)
    with transaction.atomic():
        # Posts first, as everywhere; one that is being rewarded at this moment waits for the next round.
        chosen = list(due.order_by("settle_at").values_list("pk", "post_id")[:batch])
        posts = Post.objects.filter(pk__in=[post_id for _, post_id in chosen if post_id]).select_related("author")
        posts_held = {post.pk: post for post in posts.select_for_update(no_key=True, skip_locked=True, of=("self",))}
        matches = due.filter(Q(post__in=posts_held) | Q(post=None), pk__in=[pk for pk, _ in chosen])
        matches = matches.select_related("campaign__sponsor").select_for_update(
            no_key=True, skip_locked=True, of=("self",)
        )
        settled = list(matches.order_by("pk"))
        # Told first, booked last: so many events take longer than the campaign's row should be held.
        for match in settled:
            match.status = Match.Status.SETTLED
            if match.post_id is not None:
                _tell(match, posts_held[match.post_id], _window_over(match))
        if settled:
            _settle(campaign_id, settled, now)
        return len(settled)


def _settle(campaign_id: str, matches: Sequence[Match], now: datetime) -> None:
    held = ledger.hold(campaign_id)
    Match.objects.filter(pk__in=[match.pk for match in matches]).update(status=Match.Status.SETTLED)
    bookings = [Booking(Kind.SETTLED, match.amount_minor, _window_over(match), match) for match in matches]
    ledger.book(held, bookings, now)


def _window_over(match: Match) -> Cause:
    return Cause(LedgerEntry.Cause.WINDOW_OVER, match.pk, match.pk, "The appeal window is over.")


def _tell(match: Match, post: Post, cause: Cause) -> None:
    type_ = _TOLD[Match.Status(match.status)]
    events.record(type_, post, _told(match, post), causation_id=cause.causation_id)


def _told(match: Match, post: Post) -> Mapping[str, Any]:
    campaign = match.campaign
    return {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "match_id": match.pk,
        "campaign": {"id": campaign.pk, "name": campaign.name, "sponsor": campaign.sponsor.name},
        "amount_minor": match.amount_minor,
        "currency": campaign.currency,
    }
