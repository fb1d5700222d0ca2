"""Taking a post in, and taking it back."""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from mask_social import clock
from moderation import analysis, signals
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
    stored: list[tuple[str, str]] = []
    try:
        for photo in new.photos:
            stored.append(_store(photo))
        with transaction.atomic():
            post = _insert(new, stored, terms)
            then(post)
    except BaseException:
        for _, name in stored:
            default_storage.delete(name)
        raise
    return post


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


def _store(photo: PreparedPhoto) -> tuple[str, str]:
    photo_id = new_photo_id()
    # Not by its id, which others know: whoever guesses at files must guess 256 random bits.
    name = f"photos/{clock.now():%Y/%m/%d}/{secrets.token_urlsafe(32)}.jpg"
    return photo_id, default_storage.save(name, ContentFile(photo.content))


def _author(new: NewPost) -> Author:
    told = {"time_zone": new.author_time_zone, "registered_at": new.author_registered_at}
    told = {name: value for name, value in told.items() if value is not None}
    author, _ = Author.objects.get_or_create(platform=new.platform, external_id=new.author_id, defaults=told)
    changed = [name for name, value in told.items() if getattr(author, name) != value]
    for name in changed:
        setattr(author, name, told[name])
    author.save(update_fields=changed)  # no query where nothing changed
    return author


def _insert(new: NewPost, stored: Sequence[tuple[str, str]], terms: analysis.Terms) -> Post:
    author = _author(new)
    post = Post.objects.create(
        id=new_post_id(),
        platform=new.platform,
        author=author,
        caption=new.caption,
        region=new.region,
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
        )
        for position, (photo, (photo_id, name)) in enumerate(zip(new.photos, stored, strict=True))
    )
    analysis.request(photos, terms)
    return post
