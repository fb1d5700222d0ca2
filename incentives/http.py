"""The guarded POST: the one way out of the webhooks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mask_social import guarded_http

# An answer is read to be shown to whoever looks into a failed delivery, not to be used.
MAX_ANSWER_BYTES = 64 * 1024


class DeliveryError(Exception):
    """Nothing was answered; `permanent` says that another try would end the same."""

    def __init__(self, message: str, *, permanent: bool) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    seconds: float,
    ports: Collection[int] = guarded_http.ALLOWED_PORTS,
) -> Answer:
    """POST to an address that was vetted, follow no redirect, and give up after `seconds` in all."""
    try:
        response = guarded_http.request(
            "POST",
            url,
            headers=dict(headers),
            body=body,
            allow_private=allow_private,
            connect_timeout=seconds / 2,
            read_timeout=seconds,
            deadline=seconds,
            max_bytes=MAX_ANSWER_BYTES,
            ports=ports,
            cut=True,  # it is the status that says whether the endpoint took it
        )
    except guarded_http.ForbiddenAddress as error:
        raise DeliveryError(str(error), permanent=True) from error
    except guarded_http.GuardedHttpError as error:
        raise DeliveryError(str(error), permanent=False) from error
    text = response.body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, text)
