"""Taking a post in, and taking it back."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, connection, transaction

from mask_social import clock, correlation
from moderation import analysis, files, signals
from moderation.models import Author, Photo, Platform, Post, new_photo_id, new_post_id
from moderation.uploads import PreparedPhoto

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewPost:
    """A post as it was asked for; nothing in it is to be doubted any more."""

    platform: Platform
    author_id: str
    caption: str
    region: str
    received_at: datetime
    photos: Sequence[PreparedPhoto]
    # What the platform knows of the author; None: it did not say, and what is known stays.
    author_time_zone: str | None = None
    author_registered_at: datetime | None = None


def create_post(new: NewPost, terms: analysis.Terms, *, then: Callable[[Post], None] = lambda post: None) -> Post:
    """Store a post and ask for its photos to be looked at; `then` belongs to the same transaction.

    The files are written first and removed when the rows cannot be: a row never names a file that is not there.
    """
    post_id, stored, commits = new_post_id(), list[tuple[str, str]](), False
    try:
        for photo in new.photos:
            stored.append((new_photo_id(), files.store(photo.content)))
        with transaction.atomic():
            post = _insert(post_id, new, stored, terms)
            then(post)
            commits = True
    except BaseException as error:
        if not commits:
            files.discard(name for _, name in stored)
        elif isinstance(error, Exception) and _stands(post_id):
            logger.warning("%s stands, though its commit seemed to fail; the sweep sends its photos.", post_id)
            return Post.objects.get(pk=post_id)
        # Else it may still come to stand: a server that lost us can be committing. The sweep of files will know.
        raise
    return post


def _stands(post_id: str) -> bool:
    """Say whether a post is known to be committed."""
    try:
        connection.close()  # what is left of it may be in the transaction yet
        return Post.objects.filter(pk=post_id).exists()
    except DatabaseError:
        return False


def withdraw(post: Post) -> bool:
    """Take a post back for its platform; False when it already was."""
    with transaction.atomic():
        standing = Post.objects.filter(pk=post.pk).exclude(status=Post.Status.WITHDRAWN)
        # The time of the verdict is kept where there was one.
        now = clock.now()
        taken = {"status": Post.Status.WITHDRAWN, "withdrawn_at": now}
        changed = standing.filter(status=Post.Status.PENDING).update(completed_at=now, **taken)
        changed = changed or standing.update(**taken)
        if changed:
            signals.post_withdrawn.send(Post, post_id=post.pk)
    return bool(changed)


def _author(new: NewPost) -> Author:
    told = {"time_zone": new.author_time_zone, "registered_at": new.author_registered_at}
    told = {name: value for name, value in told.items() if value is not None}
    author, _ = Author.objects.get_or_create(platform=new.platform, external_id=new.author_id, defaults=told)
    changed = [name for name, value in told.items() if getattr(author, name) != value]
    for name in changed:
        setattr(author, name, told[name])
    author.save(update_fields=changed)  # no query where nothing changed
    return author


def _insert(post_id: str, new: NewPost, stored: Sequence[tuple[str, str]], terms: analysis.Terms) -> Post:
    author = _author(new)
    post = Post.objects.create(
        id=post_id,
        platform=new.platform,
        author=author,
        caption=new.caption,
        region=new.region,
        request_id=correlation.current(),
        received_at=new.received_at,
    )
    photos = Photo.objects.bulk_create(
        Photo(
            id=photo_id,
            post=post,
            position=position,
            file=name,
            digest=photo.digest,
            width=photo.width,
            height=photo.height,
            size=len(photo.content),
            original_format=photo.original_format,
            source_url=photo.source_url,
            pdq=photo.fingerprint.bits if photo.fingerprint else None,
            pdq_quality=photo.fingerprint.quality if photo.fingerprint else None,
        )
        for position, (photo, (photo_id, name)) in enumerate(zip(new.photos, stored, strict=True))
    )
    analysis.request(photos, terms)
    return post
