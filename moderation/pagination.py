"""Lists that page by cursor: ``?after=`` and ``?limit=`` in, ``{"data": […], "next": cursor | null}`` out."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from mask_social.errors import ApiError

T = TypeVar("T")
M = TypeVar("M", bound=Model)

DEFAULT_LIMIT = 50
MAX_LIMIT = 100

PARAMETERS = [
    OpenApiParameter("after", OpenApiTypes.STR, description="the `next` of the page before"),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="rows on a page",
    ),
]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page is asked for; `after` is the decoded cursor, None for the first page."""

    after: tuple[str | int, ...] | None
    limit: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and the cursor to the next; a page is given out by `body`."""

    data: Sequence[T]
    next: str | None

    def body(self, serialize: Callable[[Sequence[T]], Any]) -> dict[str, Any]:
        """Return the page as it is sent."""
        return {"data": serialize(self.data), "next": self.next}


def read_query(request: Request, *, parts: Sequence[type[str] | type[int]] = (str,)) -> PageQuery:
    """Read ``after`` and ``limit``; `parts` are the types of the cursor's values."""
    raw_limit = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (raw_limit.isascii() and raw_limit.isdigit() and 1 <= int(raw_limit[:9]) <= MAX_LIMIT):
        raise ApiError(
            HTTPStatus.BAD_REQUEST, "invalid_limit", f"limit must be from 1 to {MAX_LIMIT}.", pointer="/limit"
        )
    after = request.query_params.get("after")
    return PageQuery(None if after is None else decode(after, parts), int(raw_limit))


def paginate(rows: QuerySet[M], query: PageQuery) -> Page[M]:
    """Return a page of rows, the youngest first; their ids must sort by time."""
    if query.after is not None:
        rows = rows.filter(pk__lt=query.after[0])
    return page_of(list(rows.order_by("-pk")[: query.limit + 1]), query, lambda row: (row.pk,))


def page_of(rows: Sequence[T], query: PageQuery, cursor: Callable[[T], Sequence[str | int]]) -> Page[T]:
    """Make a page of up to limit + 1 rows, of which the last only tells that there are more."""
    data = rows[: query.limit]
    return Page(data, encode(cursor(data[-1])) if len(rows) > query.limit else None)


def encode(values: Sequence[str | int]) -> str:
    """Return the cursor that stands for some values; opaque to callers."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def decode(cursor: str, parts: Sequence[type[str] | type[int]]) -> tuple[str | int, ...]:
    """Return the values of a cursor, or refuse it."""
    try:
        values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(value) for value in values] != list(parts) or not _fits(values):
        raise ApiError(HTTPStatus.BAD_REQUEST, "invalid_cursor", "This is no cursor of ours.", pointer="/after")
    return tuple(values)


def _fits(values: Sequence[str | int]) -> bool:
    # PostgreSQL takes neither NUL in text nor integers beyond 64 bits.
    return all(
        value.isascii() and value.isprintable() if isinstance(value, str) else abs(value) < 2**63 for value in values
    )


def page_serializer(item: type[serializers.BaseSerializer[Any]], name: str) -> type[serializers.Serializer[Any]]:
    """Make the serializer that describes a page of items in the schema."""
    fields = {"data": item(many=True), "next": serializers.CharField(allow_null=True)}
    return type(f"{name}PageSerializer", (serializers.Serializer,), fields)
