"""The platform's side of the API, and all that a request could leave behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from moderation.models import Author, IdempotencyKey, Photo, Platform, Post
from tests import cast

CREATED = (Platform, Author, Post, Photo, IdempotencyKey)


@dataclass(frozen=True, slots=True)
class Caller:
    """The platform's side of the API."""

    client: Client
    key: str

    def get(self, path: str, **query: str) -> Any:
        return self.client.get(f"/api/v1/{path}", query, headers=self._headers())

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1/{path}", headers=self._headers())

    def send(self, *photos: SimpleUploadedFile, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Send a post as a form."""
        form = {"author_id": "ann", **fields}
        form = {name: value for name, value in form.items() if value is not None}
        if photos:
            form["photos"] = list(photos)
        return self.client.post("/api/v1/posts", form, headers=self._headers(idempotency_key))

    def send_json(self, body: Any, *, idempotency_key: str | None = None) -> Any:
        """Send a post as JSON."""
        headers = self._headers(idempotency_key)
        return self.client.post("/api/v1/posts", body, content_type="application/json", headers=headers)

    def _headers(self, idempotency_key: str | None = None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.key}"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return headers


@dataclass(frozen=True, slots=True)
class World:
    """All that a request could have left behind."""

    rows: dict[str, int]
    files: frozenset[str]


def world(*folders: Path) -> World:
    rows = {model.__name__: model._default_manager.count() for model in CREATED}
    return World(rows, frozenset(str(path) for folder in folders for path in folder.rglob("*")))


def photo(
    content: bytes | None = None, name: str = "photo.jpg", content_type: str = "image/jpeg"
) -> SimpleUploadedFile:
    """Return a file of a form."""
    return SimpleUploadedFile(name, cast.make_jpeg() if content is None else content, content_type)


def problem(response: Any) -> tuple[int, str, list[str]]:
    """Return status, code and pointers of a refusal."""
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["code"], [error["pointer"] for error in body.get("errors", [])]
