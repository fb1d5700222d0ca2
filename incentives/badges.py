"""Badges: what an author's masked posts add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Q

from incentives import events
from incentives.models import BadgeAward, BadgeRule, Event
from moderation.models import Author, Post, Verdict
from moderation.selectors import latest_verdict, masked_posts

# Evidence names this many posts: enough to check by eye, and a row stays a row.
EVIDENCE_POSTS = 20


@dataclass(frozen=True, slots=True)
class MaskedPost:
    """A masked post as the rules see it."""

    id: str
    created_at: datetime

    @property
    def day(self) -> date:
        """The UTC day it was posted on."""
        return self.created_at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why an award stands: what was measured, against what, and the posts that reach it."""

    measured: int
    threshold: int
    post_ids: list[str]


def measure(rule: BadgeRule, posts: Iterable[MaskedPost]) -> Evidence:
    """Return what `posts`, oldest first, amount to under a rule."""
    match BadgeRule.Kind(rule.kind):
        case BadgeRule.Kind.MASKED_POSTS:
            counted = list(posts)
        case BadgeRule.Kind.DISTINCT_DAYS:
            firsts: dict[date, MaskedPost] = {}
            for post in posts:
                firsts.setdefault(post.day, post)
            counted = list(firsts.values())
    named = counted[: rule.threshold][-EVIDENCE_POSTS:]
    return Evidence(len(counted), rule.threshold, [post.id for post in named])


def masked_history(author: Author) -> list[MaskedPost]:
    """Return the posts that count for an author, oldest first."""
    rows = masked_posts(author).order_by("created_at", "id").values_list("id", "created_at")
    return [MaskedPost(post_id, created_at) for post_id, created_at in rows]


def reconcile(author: Author, post: Post, verdict: Verdict, now: datetime) -> None:
    """Award what the author has earned and revoke what no longer stands; under the author's lock.

    `post` and its `verdict` are what changed: they tip the scale, either way. A badge that staff suspended stays so
    until it is no longer earned.
    """
    history = masked_history(author)
    awards = {award.rule_id: award for award in BadgeAward.objects.filter(author=author).select_related("verdict")}
    # A rule that is switched off awards no more, but what it gave is still taken back when its ground goes.
    for rule in BadgeRule.objects.filter(Q(is_active=True) | Q(code__in=awards)):
        award = awards.get(rule.code)
        evidence = measure(rule, history)
        earned = evidence.measured >= rule.threshold
        held = award is not None and award.status != BadgeAward.Status.REVOKED
        if earned and not held and rule.is_active:
            _award(author, rule, verdict, evidence, now)
            events.record(Event.Type.BADGE_AWARDED, author, _told(rule, author, post))
        elif award is not None and held and not earned:
            award.status, award.changed_at = BadgeAward.Status.REVOKED, now
            award.save(update_fields=["status", "changed_at"])
            events.record(Event.Type.BADGE_REVOKED, author, _told(rule, author, post))
        elif award is not None and held and all(post.pk != counted.id for counted in history):
            _rest_on(award, evidence, without=post)


def _award(author: Author, rule: BadgeRule, verdict: Verdict, evidence: Evidence, now: datetime) -> None:
    BadgeAward.objects.update_or_create(
        author=author,
        rule=rule,
        defaults={
            "status": BadgeAward.Status.ACTIVE,
            "verdict": verdict,
            "evidence": asdict(evidence),
            "awarded_at": now,
            "changed_at": now,
        },
    )


def _rest_on(award: BadgeAward, evidence: Evidence, *, without: Post) -> None:
    """Let a badge that still stands rest on the posts that are left."""
    if award.verdict.post_id != without.pk and without.pk not in award.evidence["post_ids"]:
        return
    ground = latest_verdict(Post.objects.get(pk=evidence.post_ids[-1]))
    if ground is None:
        raise AssertionError("A masked post has a verdict.")
    award.verdict, award.evidence = ground, asdict(evidence)
    award.save(update_fields=["verdict", "evidence"])


def _told(rule: BadgeRule, author: Author, post: Post) -> Mapping[str, Any]:
    return {
        "author_id": author.external_id,
        "badge": {"code": rule.code, "title": rule.title},
        "post_id": post.pk,
    }
