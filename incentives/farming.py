"""Which masked posts count: no near-duplicates, none too soon, none over the day's limit, none of too young an account.

A post is judged once, when it is first found masked, in a transaction before that of its rewards: near-duplicates are
looked for one post of a platform at a time, and only for as long as that takes. Later verdicts do not ask again, so
that what an author holds follows from the last verdicts and these rulings alone.

Photos are compared within a platform: what one platform's people post is no business of another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Q

from incentives.models import Claim, CountedPost, EarningRules, Fingerprint, Flag
from moderation import similarity
from moderation.models import Author, Photo, Platform, Post, Verdict
from moderation.selectors import current_policy
from moderation.time_zones import day_in

Ruling = Claim.Ruling
# So many refused near-duplicates of an author in a day are worth a look.
DUPLICATES_TO_FLAG = 3
_LOCK_CLASS = 0x6D61736B  # "mask": keeps our advisory locks apart from others' in the same database


@dataclass(frozen=True, slots=True)
class Finding:
    """How a post was judged; for a near-duplicate, which photo is like which, and in how many bits they differ."""

    ruling: Claim.Ruling
    photo_id: str | None = None
    earlier_id: str | None = None
    distance: int | None = None


def judge(author: Author, post: Post, now: datetime) -> Claim:
    """Return whether the post may count, judging it if nobody has; under the locks of author and post."""
    known = Claim.objects.filter(post=post).first()
    if known is not None:
        return known
    rules = rules_for(post.platform)
    finding = _by_account(author, post, rules) or _by_pace(author, post, rules)
    if finding is None:
        photos = _telling(post)
        finding = _by_photos(post, photos) if rules.judges_duplicates else None
        if finding is None:
            _register(post, photos, now)
    finding = finding or Finding(Ruling.COUNTS)
    claim = Claim.objects.create(
        post=post,
        ruling=finding.ruling,
        photo_id=finding.photo_id,
        earlier_id=finding.earlier_id,
        distance=finding.distance,
        decided_at=now,
    )
    _flag(author, post, claim, rules)
    return claim


def rules_for(platform: Platform) -> EarningRules:
    """Return the platform's own rules, or else everybody's."""
    mine = EarningRules.objects.filter(Q(platform=platform) | Q(platform=None))
    return mine.order_by(F("platform").asc(nulls_last=True)).first() or EarningRules()


def count(author: Author, post: Post, verdict: Verdict | None) -> None:
    """Let the post count by a verdict, or no longer."""
    if verdict is None:
        CountedPost.objects.filter(post=post).delete()
        return
    counted = CountedPost(
        post=post,
        verdict=verdict,
        author=author,
        day=day_in(post.created_at, author.time_zone),
        region=post.region,
        created_at=post.created_at,
    )
    # The day stays the one it was counted on, should the author move to another time zone.
    CountedPost.objects.bulk_create([counted], update_conflicts=True, unique_fields=["post"], update_fields=["verdict"])


def release(post: Post) -> None:
    """Forget a post that gave back all it earned: the same photo may be posted again."""
    Fingerprint.objects.filter(post=post).delete()
    Claim.objects.filter(post=post, ruling=Ruling.COUNTS).delete()


def _by_account(author: Author, post: Post, rules: EarningRules) -> Finding | None:
    if author.registered_at is None:
        return None
    old_enough = author.registered_at + timedelta(days=rules.min_account_age_days)
    return Finding(Ruling.ACCOUNT_TOO_YOUNG) if post.created_at < old_enough else None


def _by_pace(author: Author, post: Post, rules: EarningRules) -> Finding | None:
    """Compare with the author's other posts that were let through, however late their verdicts came."""
    counting = Claim.objects.filter(post__author=author, ruling=Ruling.COUNTS).exclude(post=post)
    pause = timedelta(seconds=rules.cooldown_seconds)
    if pause:
        near = counting.filter(
            post__created_at__gt=post.created_at - pause, post__created_at__lt=post.created_at + pause
        )
        if near.exists():
            return Finding(Ruling.COOLDOWN)
    if rules.posts_per_day is not None:
        day = day_in(post.created_at, author.time_zone)
        around = counting.filter(
            post__created_at__gt=post.created_at - timedelta(days=2),
            post__created_at__lt=post.created_at + timedelta(days=2),
        )
        made = around.values_list("post__created_at", flat=True)
        if sum(day_in(when, author.time_zone) == day for when in made) >= rules.posts_per_day:
            return Finding(Ruling.DAILY_LIMIT)
    return None


def _by_photos(post: Post, photos: Sequence[Photo]) -> Finding | None:
    """Find a post all of whose telling photos were posted before; one new face makes it a new post.

    A photo with too little in it to tell by counts as new: it must not be refused on a guess.
    """
    if not photos or any(photo.pdq is None or (photo.pdq_quality or 0) < similarity.MIN_QUALITY for photo in photos):
        return None
    _lock(post.platform_id)
    earlier = Fingerprint.objects.filter(platform_id=post.platform_id).exclude(post=post)
    found = Finding(Ruling.COUNTS)
    for photo in photos:
        nearest = similarity.within(earlier, bytes(photo.pdq or b"")).first()
        if nearest is None:
            return None
        if found.distance is None or nearest.distance < found.distance:  # type: ignore[attr-defined]  # annotated
            found = Finding(Ruling.NEAR_DUPLICATE, photo.pk, nearest.pk, nearest.distance)  # type: ignore[attr-defined]  # as above
    return found


def _register(post: Post, photos: Sequence[Photo], now: datetime) -> None:
    Fingerprint.objects.bulk_create(
        Fingerprint(
            photo=photo,
            platform_id=post.platform_id,
            post=post,
            pdq=bytes(photo.pdq),
            keys=similarity.keys_of(bytes(photo.pdq)),
            registered_at=now,
        )
        for photo in photos
        if photo.pdq is not None and (photo.pdq_quality or 0) >= similarity.MIN_QUALITY
    )


def _telling(post: Post) -> list[Photo]:
    """Return the photos that a post is told by: those with a face that counts, or all where only people saw one.

    Something that hardly looks like a face has no say in the verdict; nor may it make an old photo a new post.
    """
    photos = post.photos.order_by("position")
    least = current_policy(post.platform).min_face_score
    return list(photos.filter(analysis__faces__score__gte=least).distinct()) or list(photos)


def _lock(platform_id: str) -> None:
    """Let one post of the platform at a time look for earlier ones and become one, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_CLASS, platform_id])


def _flag(author: Author, post: Post, claim: Claim, rules: EarningRules) -> None:
    """Tell staff of a pace that no person keeps, and of somebody who posts the same again and again."""
    since = post.created_at - timedelta(seconds=rules.velocity_seconds)
    lately = Post.objects.filter(author=author, created_at__gt=since, created_at__lte=post.created_at).count()
    if lately >= rules.velocity_posts:
        _raise(author, Flag.Kind.VELOCITY, post, lately, claim.decided_at)
    if claim.ruling == Ruling.NEAR_DUPLICATE:
        a_day_ago = claim.decided_at - timedelta(days=1)
        refused = Claim.objects.filter(
            post__author=author, ruling=Ruling.NEAR_DUPLICATE, decided_at__gt=a_day_ago
        ).count()
        if refused >= DUPLICATES_TO_FLAG:
            _raise(author, Flag.Kind.DUPLICATES, post, refused, claim.decided_at)


def _raise(author: Author, kind: Flag.Kind, post: Post, number: int, now: datetime) -> None:
    # What staff decided about the day stays decided; the count goes on.
    Flag.objects.update_or_create(
        author=author,
        kind=kind,
        day=day_in(now, author.time_zone),
        defaults={"count": number, "post": post},
        create_defaults={"count": number, "post": post, "created_at": now},
    )
