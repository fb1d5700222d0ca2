"""Posts that count, straight into the database, and what the badges make of them."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from incentives import badges, causes
from incentives.models import BadgeAward, CountedPost
from moderation.models import Author, Post
from moderation.time_zones import day_in
from tests.cast import make_post, make_verdict


def make_counted(author: Author, when: datetime | None = None, *, region: str = "") -> Post:
    """Make a masked post that counts, and tell nobody."""
    post = make_post(author, outcome="masked", photos=(), created_at=when or timezone.now())
    CountedPost.objects.create(
        post=post,
        verdict=post.verdicts.get(),
        author=author,
        day=day_in(post.created_at, author.time_zone),
        region=region,
        created_at=post.created_at,
    )
    return post


def count(author: Author, when: datetime | None = None, *, region: str = "", withheld: bool = False) -> Post:
    """Make a masked post that counts, and have the author's badges reconciled."""
    post = make_counted(author, when, region=region)
    reconcile(post, withheld=withheld)
    return post


def discount(post: Post, *, withheld: bool = False) -> None:
    """Overturn a post that counts, and have the author's badges reconciled."""
    make_verdict(post, "unmasked")
    CountedPost.objects.filter(post=post).delete()
    reconcile(post, withheld=withheld)


def reconcile(post: Post, *, now: datetime | None = None, withheld: bool = False) -> None:
    """Do what the application of the post's last verdict does to badges."""
    verdict = post.verdicts.order_by("-sequence")[0]
    with transaction.atomic():
        author = Author.objects.select_for_update(no_key=True).get(pk=post.author_id)
        badges.reconcile(
            author, post, verdict, now or timezone.now(), cause=causes.by_verdict(verdict), withheld=withheld
        )


def held(author: Author) -> list[str]:
    """Return the codes of the badges that an author holds."""
    active = BadgeAward.objects.filter(author=author, status=BadgeAward.Status.ACTIVE)
    return sorted(active.values_list("rule_id", flat=True))
