"""Which address was asked for, as it may be told: what opens something is left out of it."""

import re

from django.http import HttpRequest

# Parts of an address that open something.
_SECRET_PARTS = ("token", "uidb64")
# The API's own address of a photo holds its id, which opens nothing.
_PHOTO = re.compile(r"(?<!/api/v1)/photos/[^\s/?#\"'\\<>]+")
_SHOWN_CHARACTERS = 200


def shown(request: HttpRequest) -> str:
    """Return the path without what opens something, and without the query: what that holds is the asker's."""
    path, match = request.path, request.resolver_match
    for name in _SECRET_PARTS:
        if match is not None and (value := match.kwargs.get(name)):
            path = path.replace(str(value), "…")
    return without_tokens(path)[:_SHOWN_CHARACTERS]


def without_tokens(text: str) -> str:
    """Shorten the addresses of photos in a text, also of one that no route was looked up for."""
    return _PHOTO.sub("/photos/…", text)
