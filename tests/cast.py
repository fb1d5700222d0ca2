"""The cast of the tests: a platform, its keys, authors and posts, straight into the database."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from io import BytesIO

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db.models.functions import Coalesce
from django.utils import timezone
from PIL import Image

from moderation import api_keys
from moderation.models import Analysis, ApiKey, Author, Face, Photo, Platform, Policy, Post, Verdict

DETECTOR = "d" * 64
CLASSIFIER = "c" * 64
ALL_SCOPES = tuple(ApiKey.Scope)
STATES = ("mask", "no_mask", "incorrect", "occluded")
_numbers = itertools.count(1)


def make_platform(slug: str | None = None, *, is_active: bool = True) -> Platform:
    """Make a platform with a name of its own."""
    make_policy()
    slug = slug or f"platform-{next(_numbers)}"
    return Platform.objects.create(slug=slug, name=slug.title(), is_active=is_active)


def make_policy() -> Policy:
    """Return the policy for everybody; a test with transactions of its own has lost the seeded one."""
    policy, _ = Policy.objects.get_or_create(platform=None, version=1)
    return policy


def make_key(platform: Platform, scopes: Sequence[str] = ALL_SCOPES) -> str:
    """Issue an API key and return it in clear."""
    return api_keys.issue_key(platform, name="test", scopes=scopes).plaintext


def make_author(platform: Platform | None = None, external_id: str | None = None) -> Author:
    """Make an author, on a platform of their own where none is given."""
    return Author.objects.create(
        platform=platform or make_platform(), external_id=external_id or f"author-{next(_numbers)}"
    )


def make_post(
    author: Author | None = None,
    *,
    outcome: str | None = None,
    photos: Sequence[Sequence[Mapping[str, float]]] = (({"mask": 1.0},),),
    created_at: datetime | None = None,
) -> Post:
    """Make a post: for each photo the probabilities of its faces; pending, or analyzed with the given outcome.

    No signal is sent: what a verdict brings about is for the test to ask for.
    """
    author = author or make_author()
    now = created_at or timezone.now()
    post = Post.objects.create(
        platform=author.platform,
        author=author,
        received_at=now,
        created_at=now,
        status=Post.Status.ANALYZED if outcome else Post.Status.PENDING,
        outcome=outcome or "",
        completed_at=now if outcome else None,
    )
    for position, faces in enumerate(photos):
        photo = make_photo(post, position)
        if outcome:
            make_analysis(photo, faces)
        else:
            Analysis.objects.create(photo=photo, requeue_at=timezone.now() + timedelta(minutes=1))
    if outcome:
        make_verdict(post, outcome)
    return post


def make_photo(post: Post, position: int = 0) -> Photo:
    """Store a small photo."""
    content = make_jpeg(color=(position * 20, 90, 120))
    photo = Photo(
        post=post,
        position=position,
        digest=hashlib.sha256(content).hexdigest(),
        width=64,
        height=48,
        size=len(content),
        original_format="JPEG",
    )
    photo.file.save(f"photos/{photo.id}.jpg", ContentFile(content), save=False)
    photo.save(force_insert=True)
    return photo


def make_analysis(photo: Photo, faces: Sequence[Mapping[str, float]]) -> Analysis:
    """Record what was seen on a photo: its faces side by side, each given by its probabilities."""
    now = timezone.now()
    analysis = Analysis.objects.create(
        photo=photo,
        status=Analysis.Status.DONE,
        attempts=1,
        started_at=now,
        finished_at=now,
        decode_ms=1.0,
        detect_ms=2.0,
        classify_ms=3.0,
        detector_digest=DETECTOR,
        classifier_digest=CLASSIFIER,
    )
    Face.objects.bulk_create(
        Face(
            analysis=analysis,
            position=number,
            x1=number * 10,
            y1=5,
            x2=number * 10 + 8,
            y2=15,
            score=0.99,
            **{state: face.get(state, 0.0) for state in STATES},
        )
        for number, face in enumerate(faces)
    )
    return analysis


def make_verdict(
    post: Post,
    outcome: str,
    *,
    source: str = Verdict.Source.MODEL,
    decided_by: User | None = None,
    reason: str = "",
) -> Verdict:
    """Record a verdict after those the post already has; one by people is by a reviewer where nobody is named."""
    if source in (Verdict.Source.REVIEWER, Verdict.Source.APPEAL):
        decided_by, reason = decided_by or make_reviewer(), reason or "Seen by eye."
    Post.objects.filter(pk=post.pk).update(outcome=outcome)
    post.outcome = outcome
    return Verdict.objects.create(
        post=post,
        sequence=post.verdicts.count() + 1,
        outcome=outcome,
        source=source,
        policy=make_policy(),
        detector_digest=DETECTOR,
        classifier_digest=CLASSIFIER,
        photo_digests=list(post.photos.values_list("digest", flat=True)),
        decided_by=decided_by,
        reason=reason,
    )


def make_reviewer(username: str = "reviewer") -> User:
    """Return the member of staff of this name, who may do everything."""
    user, _ = User.objects.get_or_create(username=username, defaults={"is_staff": True, "is_superuser": True})
    return user


def withdraw(*posts: Post) -> None:
    """Mark posts as withdrawn; no signal is sent."""
    now = timezone.now()
    gone = Post.objects.filter(pk__in=[post.pk for post in posts])
    gone.update(status=Post.Status.WITHDRAWN, withdrawn_at=now, completed_at=Coalesce("completed_at", now))


def make_jpeg(width: int = 64, height: int = 48, color: tuple[int, int, int] = (200, 120, 40)) -> bytes:
    """Return the bytes of a plain JPEG."""
    stream = BytesIO()
    Image.new("RGB", (width, height), color).save(stream, "JPEG")
    return stream.getvalue()
