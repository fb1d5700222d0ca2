"""How the calls look in the schema: examples, headers and errors."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from mask_social.errors import CONTENT_TYPE, Problem, ProblemSerializer

POST_ID = "post_01jd3q8z7x2v5k9m4n6p8r0s1t"

EXAMPLE_APPEAL = {
    "id": "apl_01jd3qb6t0e3g5j7m9p1r3t5v7",
    "status": "open",
    "statement": "I do wear one: it has the colour of my skin.",
    "verdict_id": "ver_01jd3q900a1b2c3d4e5f6g7h8j",
    "answer": None,
    "new_verdict_id": None,
    "created_at": "2026-11-21T09:10:00Z",
    "decided_at": None,
}

EXAMPLE_POST = {
    "id": POST_ID,
    "author_id": "u-1042",
    "caption": "Back at work",
    "region": "DE",
    "status": "analyzed",
    "created_at": "2026-11-21T08:30:00.120Z",
    "completed_at": "2026-11-21T08:30:00.310Z",
    "stages": [
        {"name": "upload", "ms": 41.3},
        {"name": "queue", "ms": 12.8},
        {"name": "decode", "ms": 9.4},
        {"name": "detect", "ms": 22.1},
        {"name": "classify", "ms": 6.7},
        {"name": "decide", "ms": 3.2},
    ],
    "photos": [
        {
            "id": "pho_01jd3q8z7y4c6e8g0j2k4m6n8p",
            "position": 0,
            "width": 1280,
            "height": 853,
            "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "status": "done",
            "failure": None,
            "timings": {"decode_ms": 9.4, "detect_ms": 22.1, "classify_ms": 6.7},
            "faces": [
                {
                    "xyxy": [412.0, 180.5, 566.2, 391.0],
                    "score": 0.998,
                    "label": "mask",
                    "probabilities": {"mask": 0.981, "no_mask": 0.006, "incorrect": 0.009, "occluded": 0.004},
                }
            ],
        }
    ],
    "verdict": {
        "id": "ver_01jd3q900a1b2c3d4e5f6g7h8j",
        "outcome": "masked",
        "source": "model",
        "policy_version": 1,
        "created_at": "2026-11-21T08:30:00.310Z",
        "models": {
            "detector": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "classifier": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
        },
    },
    "appeal": None,
}

PENDING_POST = EXAMPLE_POST | {
    "status": "pending",
    "completed_at": None,
    "verdict": None,
    "stages": [{"name": "upload", "ms": 41.3}, {"name": "queue", "ms": None}],
    "photos": [],
}

EXAMPLE_KEY = {
    "name": "web",
    "prefix": "msk_q7Wn0dKx",
    "scopes": ["posts:write", "posts:read"],
    "created_at": "2026-11-01T08:00:00Z",
    "last_used_at": "2026-11-21T08:30:00Z",
    "expires_at": None,
    "successor": None,
    "limits": {"calls_per_minute": 6000, "posts_per_author_and_hour": 60},
}
EXAMPLE_ROTATED_KEY = {
    "api_key": "msk_…",
    "key": EXAMPLE_KEY | {"prefix": "msk_Hc2bT9vL", "created_at": "2026-11-21T08:31:00Z", "last_used_at": None},
    "old_key_expires_at": "2026-11-22T08:31:00Z",
}

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="1 to 255 visible ASCII characters. A repeated request gets the first one's answer for a day.",
)
POST_PATH_ID = OpenApiParameter("post_id", OpenApiTypes.STR, OpenApiParameter.PATH)
LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.STR, OpenApiParameter.HEADER, response=[202], description="where the post is read"
)
REPLAYED = OpenApiParameter(
    "Idempotency-Replayed",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[201, 202],
    description="`true` when it had been made before",
)
RETRY_AFTER = OpenApiParameter(
    "Retry-After", OpenApiTypes.INT, OpenApiParameter.HEADER, response=[409], description="seconds"
)
_LIMIT_HEADERS = {
    "RateLimit-Policy": {
        "description": "The limits that the call counted towards: how many (`q`) within how many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"key";q=6000;w=60, "author";q=60;w=3600',
    },
    "RateLimit": {
        "description": "How many are left of each (`r`), and in how many seconds (`t`) there are all again, or one.",
        "schema": {"type": "string"},
        "example": '"key";r=5998;t=1, "author";r=0;t=60',
    },
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}},
}
_LATER = {str(HTTPStatus.TOO_MANY_REQUESTS.value), str(HTTPStatus.SERVICE_UNAVAILABLE.value)}

COMMON = {
    HTTPStatus.UNAUTHORIZED: ("missing_api_key", "invalid_api_key", "revoked_api_key", "expired_api_key"),
    HTTPStatus.FORBIDDEN: ("insufficient_scope", "inactive_platform"),
    HTTPStatus.TOO_MANY_REQUESTS: ("rate_limited",),
}
# What the server answers before a call has its say.
_OF_EVERY_CALL = {HTTPStatus.SERVICE_UNAVAILABLE: "database_unavailable"}
_OF_EVERY_BODY = {
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.LENGTH_REQUIRED: "length_required",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}


def errors(codes: dict[HTTPStatus, Sequence[str]]) -> dict[tuple[int, str], OpenApiResponse]:
    """Describe the problems a call can answer with, besides those of every call."""
    return {
        (status.value, CONTENT_TYPE): OpenApiResponse(
            ProblemSerializer,
            description=", ".join(f"`{code}`" for code in names),
            examples=[_example(status, names[0])],
        )
        for status, names in sorted((codes | COMMON).items())
    }


def _example(status: HTTPStatus, code: str) -> OpenApiExample:
    value: dict[str, Any] = Problem(status, code, "What is wrong, in a sentence.").body()
    return OpenApiExample(code, value=value, response_only=True, status_codes=[str(status.value)])


def describe_limits(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add what the server answers, and the headers of the limits, to every call with a key; a drf-spectacular hook."""
    result["components"]["headers"] = _LIMIT_HEADERS
    operations = [operation for path in result["paths"].values() for operation in path.values()]
    for operation in operations:
        if str(HTTPStatus.TOO_MANY_REQUESTS.value) in operation["responses"]:
            _describe_server(operation)
            for status, response in operation["responses"].items():
                names = _LIMIT_HEADERS if status in _LATER else _LIMIT_HEADERS.keys() - {"Retry-After"}
                found = response.setdefault("headers", {})
                found |= {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(names)}
    return result


def _describe_server(operation: dict[str, Any]) -> None:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, code in (_OF_EVERY_CALL | (_OF_EVERY_BODY if "requestBody" in operation else {})).items():
        answer = {"content": {CONTENT_TYPE: problem}, "description": f"`{code}`"}
        operation["responses"].setdefault(str(status.value), answer)
    operation["responses"] = dict(sorted(operation["responses"].items()))
