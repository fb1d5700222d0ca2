"""Where a higher layer adds a section to a post, without being imported from below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework.serializers import BaseSerializer

from moderation.models import Post


@dataclass(frozen=True, slots=True)
class Stage:
    """One step on a post's way, for the list of stages."""

    name: str
    milliseconds: float | None


@dataclass(frozen=True, slots=True)
class PostSection:
    """A part of the post's representation that another app owns."""

    name: str
    serializer: type[BaseSerializer[Any]]
    read: Callable[[Post], object]
    # Whether a reader who waits for the post has seen all that will come of it as it stands; asked of no pending one.
    is_settled: Callable[[Post], bool]
    stages: Callable[[Post], Sequence[Stage]]


post_sections: list[PostSection] = []


def register(section: PostSection) -> None:
    """Add a section; called once, from an app's ready()."""
    post_sections.append(section)
