"""A platform's side of the API: just what the demonstration calls."""

import json
import uuid
from pathlib import Path
from typing import Any

import urllib3
from joserfc import jwt
from joserfc.jwk import KeySet

WAIT_SECONDS = 25  # of one long poll; the server allows 30


class ApiError(Exception):
    """An answer other than the expected one; its text is the problem document."""

    def __init__(self, status: int, problem: Any) -> None:
        is_problem = isinstance(problem, dict) and {"code", "detail"} <= problem.keys()
        super().__init__(
            f"{problem['code']}: {problem['detail']}" if is_problem else f"{status}: {json.dumps(problem)}"
        )
        self.status = status
        self.problem = problem


class Client:
    """Talk to mask_social at `url` with an API key; safe to share between threads."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}
        self._pool = urllib3.PoolManager(
            maxsize=16, retries=False, timeout=urllib3.Timeout(connect=5, read=WAIT_SECONDS + 35)
        )

    def create_post(self, photo: Path, *, author_id: str, caption: str) -> dict[str, Any]:
        """Send one photo as a post; a repeated call makes another post."""
        return self._call(
            "POST",
            "/api/v1/posts",
            fields={
                "author_id": author_id,
                "caption": caption,
                "photos": (photo.name, photo.read_bytes()),
            },
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )

    def wait_for_post(self, post_id: str) -> dict[str, Any]:
        """Ask for a post once, for as long as the server lets us wait."""
        return self._call("GET", f"/api/v1/posts/{post_id}?wait={WAIT_SECONDS}")

    def author(self, author_id: str) -> dict[str, Any]:
        """Return an author's standing."""
        return self._call("GET", f"/api/v1/authors/{author_id}")

    def campaigns(self) -> list[dict[str, Any]]:
        """Return the first page of campaigns."""
        page: list[dict[str, Any]] = self._call("GET", "/api/v1/campaigns")["data"]
        return page

    def events(self) -> list[dict[str, Any]]:
        """Return every event so far, page by page."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self._call("GET", f"/api/v1/events?limit=100{after}")
            found += page["data"]
            if not page["data"] or not page["next"]:
                return found
            after = f"&after={page['next']}"

    def rank(self, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the candidates in the order they should be shown."""
        ranking: list[dict[str, Any]] = self._call("POST", "/api/v1/feed/rank", json_body={"candidates": candidates})[
            "ranking"
        ]
        return ranking

    def withdraw(self, post_id: str) -> None:
        """Take a post back."""
        response = self._pool.request("DELETE", f"{self._url}/api/v1/posts/{post_id}", headers=self._headers)
        if response.status >= 300:
            raise ApiError(response.status, response.json())

    def absolute(self, address: str) -> str:
        """Return an address of the service's in full."""
        return f"{self._url}{address}" if address.startswith("/") else address

    def public(self, address: str) -> urllib3.BaseHTTPResponse:
        """Return what anybody gets at an address, without a key."""
        response = self._pool.request("GET", self.absolute(address))
        if response.status != 200:
            raise ApiError(response.status, response.data.decode(errors="replace")[:200])
        return response

    def algorithm_of(self, address: str) -> str:
        """Return the algorithm that signed a credential, once its signature was checked with the public keys."""
        keys = KeySet.import_key_set(self.public("/.well-known/jwks.json").json())
        token = jwt.decode(self.public(address).data.decode(), keys)
        return str(token.header["alg"])

    def create_webhook_endpoint(self, url: str) -> dict[str, Any]:
        """Ask to be told of every event at `url`."""
        return self._call("POST", "/api/v1/webhook-endpoints", json_body={"url": url})

    def _call(
        self,
        method: str,
        path: str,
        *,
        fields: dict[str, Any] | None = None,
        json_body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {"headers": self._headers | (headers or {})}
        if fields is not None:
            arguments["fields"] = fields
        if json_body is not None:
            arguments["json"] = json_body
        response = self._pool.request(method, self._url + path, **arguments)
        body = response.json()
        if response.status >= 300:
            raise ApiError(response.status, body)
        answer: dict[str, Any] = body
        return answer
