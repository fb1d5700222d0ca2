"""What is read of posts and verdicts."""

from django.db.models import F, Prefetch, Q, QuerySet

from moderation.models import Appeal, Author, Photo, Platform, Policy, Post, Verdict


def current_policy(platform: Platform) -> Policy:
    """Return the newest policy of the platform's own, or else the newest of everybody's."""
    mine = Policy.objects.filter(Q(platform=platform) | Q(platform=None))
    return mine.order_by(F("platform").asc(nulls_last=True), "-version")[:1].get()


def latest_verdict(post: Post) -> Verdict | None:
    """Return the verdict that holds, from what was prefetched where it was."""
    return max(post.verdicts.all(), key=lambda verdict: verdict.sequence, default=None)


def masked_posts(author: Author) -> QuerySet[Post]:
    """Return an author's posts that were not withdrawn and whose latest verdict is masked."""
    standing = Post.objects.filter(author=author).exclude(status=Post.Status.WITHDRAWN)
    return standing.filter(outcome=Verdict.Outcome.MASKED)


def queue() -> QuerySet[Post]:
    """Return the posts that only people can judge, those that wait longest first."""
    return Post.objects.filter(outcome=Verdict.Outcome.UNCERTAIN, status=Post.Status.ANALYZED).order_by("pk")


def open_appeals() -> QuerySet[Appeal]:
    """Return the appeals that wait for a decision."""
    return Appeal.objects.filter(status=Appeal.Status.OPEN)


def posts_with_faces(posts: QuerySet[Post]) -> QuerySet[Post]:
    """Have posts come with their platform, photos and faces, in a fixed number of queries."""
    photos = Photo.objects.select_related("analysis").prefetch_related("analysis__faces").order_by("position")
    return posts.select_related("platform").prefetch_related(Prefetch("photos", photos))


def posts_in_full() -> QuerySet[Post]:
    """Return posts with all that their representation reads, in a fixed number of queries."""
    appeals = Appeal.objects.select_related("verdict", "decided_by").order_by("-pk")
    return posts_with_faces(posts_in_brief()).prefetch_related(Prefetch("appeals", appeals))


def posts_in_brief() -> QuerySet[Post]:
    """Return posts with author and verdicts."""
    verdicts = Verdict.objects.select_related("policy", "decided_by").order_by("-sequence")
    return Post.objects.select_related("author", "platform").prefetch_related(Prefetch("verdicts", verdicts))
