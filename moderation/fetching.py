"""Photos that are named by URL: fetched from public addresses, all of a request within one deadline."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from mask_social import guarded_http
from mask_social.errors import ApiError
from moderation.uploads import Upload

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 5.0
_MAX_REDIRECTS = 3
_HEADERS = {"User-Agent": "mask_social/1 (+photo fetcher)", "Accept": "image/jpeg,image/png,image/webp,image/*;q=0.5"}
_CODES: dict[type[guarded_http.GuardedHttpError], str] = {
    guarded_http.InvalidUrl: "url_invalid",
    guarded_http.ForbiddenAddress: "url_not_public",
    guarded_http.ForbiddenPort: "url_port_not_allowed",
    guarded_http.TooLarge: "url_too_large",
    guarded_http.TooSlow: "url_too_slow",
    guarded_http.TooManyRedirects: "url_too_many_redirects",
    guarded_http.Unreachable: "url_unreachable",
}


@dataclass(frozen=True, slots=True)
class FetchTerms:
    """How far fetching goes; `deadline` is in seconds, for all URLs together."""

    deadline: float
    max_bytes: int
    allow_private: bool
    ports: Collection[int] = guarded_http.ALLOWED_PORTS


def fetch_all(urls: Sequence[str], terms: FetchTerms) -> list[Upload]:
    """Return what stands at the URLs, or refuse the first that does not give a photo's bytes."""
    ends = time.monotonic() + terms.deadline
    return [_fetch(url, f"/photo_urls/{index}", ends, terms) for index, url in enumerate(urls)]


def _fetch(url: str, pointer: str, ends: float, terms: FetchTerms) -> Upload:
    try:
        response = guarded_http.request(
            "GET",
            url,
            headers=_HEADERS,
            allow_private=terms.allow_private,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            deadline=ends - time.monotonic(),
            max_bytes=terms.max_bytes,
            max_redirects=_MAX_REDIRECTS,
            ports=terms.ports,
        )
    except guarded_http.GuardedHttpError as error:
        code = _CODES[type(error)]
        if isinstance(error, guarded_http.ForbiddenAddress) and error.redirected:
            code = "url_redirect_not_public"
        raise ApiError(HTTPStatus.BAD_REQUEST, code, str(error), pointer=pointer) from error
    if response.status != HTTPStatus.OK:
        detail = f"The address answered {response.status}."
        raise ApiError(HTTPStatus.BAD_REQUEST, "url_bad_status", detail, pointer=pointer)
    content_type = response.headers.get("content-type", "")
    return Upload.of(pointer, response.body, content_type=content_type, url=url)
