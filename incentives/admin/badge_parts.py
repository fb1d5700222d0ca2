"""What the pages of badges show. Values only; templates draw."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.contrib.admin.utils import quote
from django.db.models import Count
from django.db.models.functions import TruncDate
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from incentives import artwork
from incentives.models import BadgeAward, BadgeChange, BadgeRule, CountedPost
from moderation.admin_parts import label
from moderation.models import Photo, Post
from moderation.staff import photo_url

STYLES = {"all": ["moderation/panel.css", "incentives/badges.css"]}
GROWTH_DAYS = 30
_BAR_HEIGHT = 24


@dataclass(frozen=True, slots=True)
class EvidencePost:
    """A post that an award names; `state` says what became of it since."""

    id: str
    url: str
    created_at: datetime | None
    thumbnail: str
    state: str


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One step of an award's story."""

    change: BadgeChange
    status: SafeString


@dataclass(frozen=True, slots=True)
class AwardPanel:
    """All that the page of an award shows beside its own fields."""

    artwork: str
    posts: Sequence[EvidencePost]
    unnamed: int
    history: Sequence[HistoryLine]
    public_page: str


def badge_name(rule: BadgeRule, *, side: int = 40) -> SafeString:
    """Return a badge's picture with its title."""
    return format_html(
        '<span class="bd-name"><img src="{}" alt="" width="{}" height="{}" loading="lazy">{}</span>',
        reverse("badge-rule-image", args=[rule.code]),
        side,
        side,
        rule.title,
    )


def level_of(rule: BadgeRule) -> str:
    """Say which level of which badge a rule is."""
    return f"{rule.series or 'on its own'}, level {rule.level} ({artwork.metal_of(rule.level).name})"


def growth_of(codes: Collection[str], now: datetime) -> Mapping[str, Sequence[int]]:
    """Return how many awards were given on each of the last days, today the last, for all rules in one query."""
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=GROWTH_DAYS - 1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    # Every status, named: the index has it between the rule and the day.
    given = BadgeAward.objects.filter(rule__in=codes, status__in=BadgeAward.Status.values, awarded_at__gte=since)
    days = given.order_by().annotate(day=TruncDate("awarded_at", tzinfo=UTC)).values_list("rule", "day")
    growth = {code: [0] * GROWTH_DAYS for code in codes}
    for code, day, count in days.annotate(count=Count("*")):
        if day <= last:
            growth[code][(day - first).days] = count
    return growth


def sparkline(growth: Sequence[int]) -> SafeString:
    """Draw the growth of a badge."""
    most = max(growth, default=0)
    bars = [
        {"x": 4 * day, "y": _BAR_HEIGHT - height, "height": height}
        for day, count in enumerate(growth)
        if (height := round(_BAR_HEIGHT * count / most, 1) if count else 0)
    ]
    context = {"bars": bars, "total": sum(growth), "most": most, "days": GROWTH_DAYS, "height": _BAR_HEIGHT}
    return render_to_string("incentives/badge_growth.html", context)


def award_panel(award: BadgeAward) -> AwardPanel:
    """Return all that the page of an award shows."""
    posts = _evidence_posts(award.evidence["post_ids"])
    changes = award.changes.select_related("actor").order_by("pk")
    return AwardPanel(
        artwork=artwork.render(award.rule),
        posts=posts,
        unnamed=max(0, min(award.evidence["measured"], award.evidence["threshold"]) - len(posts)),
        history=[HistoryLine(change, label(change.status, change.get_status_display())) for change in changes],
        public_page=reverse("badge-page", args=[award.public_id]),
    )


def _evidence_posts(ids: Sequence[str]) -> list[EvidencePost]:
    posts = {post.pk: post for post in Post.objects.filter(pk__in=ids)}
    counting = set(CountedPost.objects.filter(pk__in=ids).values_list("pk", flat=True))
    thumbnails = {
        post_id: photo_url(photo_id, thumbnail=True)
        for post_id, photo_id in Photo.objects.filter(post__in=ids, position=0).values_list("post_id", "pk")
    }
    return [
        EvidencePost(
            id=post_id,
            url=reverse("admin:moderation_post_change", args=[quote(post_id)]),
            created_at=posts[post_id].created_at if post_id in posts else None,
            thumbnail=thumbnails.get(post_id, ""),
            state="erased" if post_id not in posts else "" if post_id in counting else "counts no more",
        )
        for post_id in ids
    ]
