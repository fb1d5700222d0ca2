"""Where a higher layer adds a section to a post and to its page in the admin, without being imported from below."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
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


@dataclass(frozen=True, slots=True)
class StaffSection:
    """A part of a post's page in the admin that another app owns."""

    title: str
    template: str
    # What the template shows this member of staff; None leaves the part out, as where a permission is missing.
    context: Callable[[Post, HttpRequest], Mapping[str, object] | None]


post_sections: list[PostSection] = []
staff_sections: list[StaffSection] = []


def register(section: PostSection) -> None:
    """Add a section; called once, from an app's ready()."""
    post_sections.append(section)


def register_for_staff(section: StaffSection) -> None:
    """Add a part to every post's page in the admin; called once, from an app's ready()."""
    staff_sections.append(section)
