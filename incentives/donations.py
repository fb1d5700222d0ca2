"""Donations: a sponsor's money, promised to masked posts and never more than there is.

Locks: a caller holds the post's row, and to reserve also its author's. The campaign's row comes last, and one
transaction takes at most one, so that no two can wait for each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum

from incentives import events
from incentives.models import Campaign, Event, LedgerEntry, Match
from moderation.models import Post, Verdict

SETTLE_BATCH = 100


def running(now: datetime) -> QuerySet[Campaign]:
    """Return the campaigns that give at `now`, whatever is left of their budgets."""
    return Campaign.objects.filter(
        Q(ends_at=None) | Q(ends_at__gt=now), status=Campaign.Status.ACTIVE, starts_at__lte=now
    )


def reconcile(post: Post, earned_by: Verdict | None, now: datetime) -> None:
    """Match the post when its verdict earns it, or void the match it has; what is settled stays."""
    match = Match.objects.filter(post=post).exclude(status=Match.Status.VOIDED).select_related("campaign").first()
    if earned_by is not None and match is None:
        reserve_match(post, earned_by, now)
    elif earned_by is None and match is not None:
        void(match, post, now)


def reserve_match(post: Post, verdict: Verdict, now: datetime) -> Match | None:
    """Promise the post money of the first campaign that has any left; None where no campaign gives.

    A platform's own campaigns come before those for everybody, older ones before newer.
    """
    offers = running(now).filter(Q(platform_id=post.platform_id) | Q(platform=None))
    for campaign in offers.order_by(F("platform_id").asc(nulls_last=True), "pk"):
        amount = None if _is_capped(campaign, post, now) else _commit(campaign, now)
        if amount is None:
            continue
        match = Match.objects.create(
            campaign=campaign,
            post=post,
            author=post.author,
            verdict=verdict,
            amount_minor=amount,
            created_at=now,
            settle_at=now + timedelta(seconds=campaign.hold_seconds),
        )
        _book(match, Match.Status.RESERVED, post, now)
        return match
    return None


def void(match: Match, post: Post, now: datetime) -> bool:
    """Give a reserved match's money back to its campaign; False when it is settled or void already."""
    if not _move(match, Match.Status.VOIDED):
        return False
    Campaign.objects.filter(pk=match.campaign_id).update(committed_minor=F("committed_minor") - match.amount_minor)
    _book(match, Match.Status.VOIDED, post, now)
    return True


def settle_due(now: datetime, *, batch: int = SETTLE_BATCH) -> int:
    """Settle the reserved matches whose time has come; return how many this call settled."""
    total = 0
    while settled := _settle_batch(now, batch):
        total += settled
    return total


def _settle_batch(now: datetime, batch: int) -> int:
    # A post that was withdrawn, or has a verdict yet to be applied, may be about to lose its match: not before that.
    undecided = Verdict.objects.filter(post=OuterRef("post"), reward_application__isnull=True)
    stands = Q(post=None) | (~Q(post__status=Post.Status.WITHDRAWN) & ~Exists(undecided))
    due = stands & Q(status=Match.Status.RESERVED, settle_at__lte=now)
    with transaction.atomic():
        # Posts first, as everywhere; one that is being rewarded at this moment waits for the next round.
        chosen = list(Match.objects.filter(due).order_by("settle_at").values_list("pk", "post_id")[:batch])
        posts = Post.objects.filter(pk__in=[post_id for _, post_id in chosen if post_id]).select_related("author")
        held = {post.pk: post for post in posts.select_for_update(no_key=True, skip_locked=True, of=("self",))}
        matches = Match.objects.filter(due, Q(post__in=held) | Q(post=None), pk__in=[pk for pk, _ in chosen])
        settled = 0
        for match in matches.select_related("campaign").select_for_update(skip_locked=True, of=("self",)):
            if _move(match, Match.Status.SETTLED):
                _book(match, Match.Status.SETTLED, held.get(match.post_id or ""), now)
                settled += 1
        return settled


def _is_capped(campaign: Campaign, post: Post, now: datetime) -> bool:
    """Say whether the author has had the day's share; exact, for the caller holds the author's row."""
    if campaign.cap_per_author_per_day is None:
        return False
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = Match.objects.filter(campaign=campaign, author=post.author, created_at__gte=midnight)
    return today.exclude(status=Match.Status.VOIDED).count() >= campaign.cap_per_author_per_day


def _commit(campaign: Campaign, now: datetime) -> int | None:
    """Take one amount out of what is left, and return it; None when it no longer is left.

    The compare and the set are one statement, which also holds the row: the amount read after it is the one it took,
    whatever staff made of it since the campaign was chosen.
    """
    affordable = running(now).filter(pk=campaign.pk, committed_minor__lte=F("budget_minor") - F("amount_minor"))
    if not affordable.update(committed_minor=F("committed_minor") + F("amount_minor")):
        return None
    return Campaign.objects.values_list("amount_minor", flat=True).get(pk=campaign.pk)


def _move(match: Match, status: Match.Status) -> bool:
    moved = Match.objects.filter(pk=match.pk, status=Match.Status.RESERVED).update(status=status)
    match.status = status if moved else match.status
    return moved == 1


_TOLD = {
    Match.Status.RESERVED: Event.Type.DONATION_MATCHED,
    Match.Status.SETTLED: Event.Type.DONATION_SETTLED,
    Match.Status.VOIDED: Event.Type.DONATION_VOIDED,
}


def _book(match: Match, step: Match.Status, post: Post | None, now: datetime) -> None:
    """Write a step into the books and, unless its author was erased, tell the platform."""
    LedgerEntry.objects.create(match=match, kind=step, amount_minor=match.amount_minor, created_at=now)
    if post is not None:
        events.record(_TOLD[step], post, _told(match, post))


def _told(match: Match, post: Post) -> Mapping[str, Any]:
    campaign = match.campaign
    return {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "match_id": match.pk,
        "campaign": {"id": campaign.pk, "name": campaign.name, "sponsor": campaign.sponsor},
        "amount_minor": match.amount_minor,
        "currency": campaign.currency,
    }


@dataclass(frozen=True, slots=True)
class Audit:
    """What the ledger says of a campaign, and where it and the other rows disagree."""

    reserved_minor: int
    settled_minor: int
    voided_minor: int
    problems: tuple[str, ...]

    @property
    def committed_minor(self) -> int:
        """What is promised or paid."""
        return self.reserved_minor + self.settled_minor


def audit(campaign: Campaign) -> Audit:
    """Add up a campaign's ledger from its first entry, and compare with the campaign and its matches."""
    campaign = Campaign.objects.get(pk=campaign.pk)
    entries = LedgerEntry.objects.filter(match__campaign=campaign)
    sums = dict(entries.order_by().values_list("kind").annotate(total=Sum("amount_minor")))
    promised, settled, voided = (sums.get(kind, 0) for kind in ("reserved", "settled", "voided"))
    books = Audit(promised - settled - voided, settled, voided, ())
    problems = []
    if books.committed_minor != campaign.committed_minor:
        problems.append(f"the campaign says {campaign.committed_minor}, its ledger {books.committed_minor}")
    if books.committed_minor > campaign.budget_minor:
        problems.append(f"{books.committed_minor} promised of a budget of {campaign.budget_minor}")
    steps: dict[str, dict[str, int]] = {}
    for match_id, kind, amount in entries.order_by("pk").values_list("match_id", "kind", "amount_minor"):
        steps.setdefault(match_id, {})[kind] = amount
    for match in campaign.matches.order_by("pk"):
        expected = {str(Match.Status.RESERVED), str(match.status)}
        found = steps.get(match.pk, {})
        if found.keys() != expected:
            problems.append(f"{match.pk} is {match.status}, its ledger has {', '.join(found) or 'nothing'}")
        if set(found.values()) - {match.amount_minor}:
            problems.append(f"{match.pk} is over {match.amount_minor}, its ledger over {sorted(found.values())}")
    return Audit(books.reserved_minor, books.settled_minor, books.voided_minor, tuple(problems))
