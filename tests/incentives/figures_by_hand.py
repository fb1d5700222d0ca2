"""What the daily figures should be, counted one post after the other."""

from collections import Counter
from datetime import UTC, date

from incentives.models import BadgeAward, Boost, CountedPost, DailyFigures, Match
from moderation.models import Appeal, Face, Post

NUMBERS = (
    *("posts", "faces", "masked", "unmasked", "incorrect", "partly_masked", "no_face", "uncertain", "failed"),
    *("withdrawn", "counted", "badges", "boosts", "matches", "appeals"),
)
Sums = dict[tuple[str, date, str], dict[str, int]]


def kept() -> Sums:
    """Return the figures as they are kept."""
    rows = DailyFigures.objects.values("platform_id", "day", "region", *NUMBERS)
    return {(row["platform_id"], row["day"], row["region"]): {name: row[name] for name in NUMBERS} for row in rows}


def counted_by_hand() -> Sums:
    """Return what they should be."""
    found: dict[tuple[str, date, str], Counter[str]] = {}
    for post in Post.objects.all():
        key = (post.platform_id, post.created_at.astimezone(UTC).date(), post.region)
        numbers = found.setdefault(key, Counter())
        is_out = post.status in (Post.Status.FAILED, Post.Status.WITHDRAWN)
        numbers.update(["posts", post.status if is_out else post.outcome])
        numbers["faces"] += Face.objects.filter(analysis__photo__post=post).count()
        numbers["counted"] += CountedPost.objects.filter(post=post).count()
        numbers["badges"] += BadgeAward.objects.filter(verdict__post=post).exclude(status="revoked").count()
        numbers["boosts"] += Boost.objects.filter(post=post, revoked_at=None).count()
        numbers["matches"] += Match.objects.filter(post=post, status__in=["reserved", "settled"]).count()
        numbers["appeals"] += Appeal.objects.filter(post=post).count()
    return {key: {name: numbers[name] for name in NUMBERS} for key, numbers in found.items()}
