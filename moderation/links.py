"""Links to photos: signed, dead after minutes, and at once when the post is withdrawn or erased."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.core import signing

from mask_social import clock
from moderation.models import Photo, Post

_SALT = "moderation.links"


class LinkError(Exception):
    """The link leads nowhere; `expired` says that it once did not."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Link:
    """What a link leads to, and until when."""

    photo_id: str
    is_thumbnail: bool
    expires_at: datetime


def new_link(photo: Photo, *, thumbnail: bool, lifetime: timedelta) -> Link:
    """Return a link to a photo that dies after `lifetime`, in whole seconds."""
    return Link(photo.pk, thumbnail, (clock.now() + lifetime).replace(microsecond=0))


def token_of(link: Link) -> str:
    """Return a link as it stands in an address."""
    payload = [link.photo_id, int(link.is_thumbnail), int(link.expires_at.timestamp())]
    return signing.Signer(salt=_SALT).sign_object(payload, compress=True)


def read(token: str) -> Link:
    """Return what an address leads to. Raises LinkError."""
    try:
        photo_id, thumbnail, until = signing.Signer(salt=_SALT).unsign_object(token)
    except signing.BadSignature:
        raise LinkError("There is no such photo.") from None
    link = Link(photo_id, bool(thumbnail), datetime.fromtimestamp(until, UTC))
    if clock.now() >= link.expires_at:
        raise LinkError("The link has expired; ask for another.", expired=True)
    return link


def photo_of(link: Link) -> Photo:
    """Return the photo a link leads to. Raises LinkError where its post is withdrawn or erased."""
    photo = Photo.objects.filter(pk=link.photo_id).exclude(post__status=Post.Status.WITHDRAWN).first()
    if photo is None:
        raise LinkError("There is no such photo.")
    return photo
