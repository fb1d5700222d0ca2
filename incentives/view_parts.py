"""What the views of this app share."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.http import Http404
from rest_framework.serializers import BaseSerializer

Codes = dict[HTTPStatus, Sequence[str]]
NOT_FOUND: Codes = {HTTPStatus.NOT_FOUND: ("not_found",)}
BAD_PAGE: Codes = {HTTPStatus.BAD_REQUEST: ("invalid_limit", "invalid_cursor")}


def many(serializer: type[BaseSerializer[Any]], rows: Sequence[object]) -> Any:
    """Return rows as they are sent."""
    return serializer(rows, many=True).data


def found(what: str, rows: Any, **key: str) -> Any:
    """Return the one row of that key, or answer that there is none."""
    row = rows.filter(**key).first()
    if row is None:
        raise Http404(f"There is no such {what}.")
    return row


def readable(name: str) -> str:
    """Return a name from a path, unless it holds what PostgreSQL cannot even look for."""
    if "\0" in name:
        raise Http404
    return name
