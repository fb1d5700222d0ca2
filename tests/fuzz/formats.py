"""What schemathesis cannot read from the schema; it loads this module by SCHEMATHESIS_HOOKS.

No check is made weaker here: text of a format (a cursor, a time zone) is drawn from what has that format, and bodies
that break a rule between two values, which OpenAPI has no words for, are not passed off as right.
"""

import base64
import json
import os
import re
import uuid
import zoneinfo
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.api import AUTHORS

MOST_PHOTOS = 10
# A reader may wait for half a minute; a thousand that do would tell nothing more.
LONGEST_WAIT = 0.1
# The photo of the examples stands on a domain that is reserved for examples, where nothing is.
_EXAMPLE_HOST = "https://cdn.example.org/"
_KEY = re.compile(r"[!-~]{1,255}")
_FIRST, _LAST = datetime(1990, 1, 1), datetime(2026, 1, 1)
_SEGMENTS = st.text("abcXYZ019_-@:~äß文", min_size=1, max_size=12)
_CURSORS: dict[str, list[int | str]] = {
    "list_appeals": ["apl_01"],
    "list_badges": [5],
    "list_boosts": ["post_01"],
    "list_campaigns": ["cmp_01"],
    "list_events": [2**40, 1],
    "list_posts": ["post_zz"],
    "list_webhook_endpoints": ["we_zz"],
    "replay_webhooks": [5],
}


def _cursor(values: list[int | str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _photo(shade: int) -> str:
    # A bitmap of 32 by 32 has no byte above 127, so it is the text that JSON Schema takes a file for. Of bytes
    # schemathesis cannot tell whether they are valid once it has touched their form, and calls them wrong.
    out = BytesIO()
    Image.new("RGB", (32, 32), (shade, 90, 60)).save(out, "BMP", dpi=(72, 72))
    return out.getvalue().decode("ascii")


def photo_url() -> str:
    """Return where a photo is served for this run."""
    return os.environ.get("FUZZ_PHOTO_URL", "")


_FORMATS: dict[str, st.SearchStrategy[Any]] = {
    **{f"cursor-of-{call}": st.just(_cursor(values)) for call, values in _CURSORS.items()},
    "time-zone": st.sampled_from(sorted(zoneinfo.available_timezones() - {"localtime"})),
    "past-date-time": st.datetimes(_FIRST, _LAST).map(lambda when: when.replace(tzinfo=UTC).isoformat()),
    "author-id": st.sampled_from(AUTHORS) | st.lists(_SEGMENTS, min_size=1, max_size=3).map("/".join),
    "webhook-url": _SEGMENTS.map(lambda text: f"http://127.0.0.1:9/{text.encode().hex()}"),
    "photo-url": st.just(photo_url()),
    "binary": st.integers(0, 127).map(_photo),
}
for _name, _strategy in _FORMATS.items():
    schemathesis.openapi.format(_name, _strategy)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out posts of too many photos in all, and candidates that come twice: JSON Schema knows neither rule.

    And, of forms, what is no text: there true and "true" are the same bytes.
    """
    body = case.body
    if not isinstance(body, dict):
        return True
    if case.media_type == "multipart/form-data" and any(
        isinstance(value, bool | int | float) for value in body.values()
    ):
        return False
    photos = [one for name in ("photos", "photo_urls") if isinstance(body.get(name), list) for one in body[name]]
    candidates = body.get("candidates")
    rows = [row for row in candidates if isinstance(row, dict)] if isinstance(candidates, list) else []
    ids = [str(row.get("post_id")).strip() for row in rows]
    return len(photos) <= MOST_PHOTOS and len(ids) == len(set(ids))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Make each call one of its own: a key used anew for another request is rightly refused, and waits are long."""
    if case.meta is not None and getattr(case.meta.phase.data, "parameter", None) == "Authorization":
        return  # it is about a call without a key; one that is edited would get one
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and _KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = (uuid.uuid4().hex * 8)[: max(len(key), 16)]
    wait = (case.query or {}).get("wait")
    if isinstance(wait, int | float) and not isinstance(wait, bool) and LONGEST_WAIT < wait <= 30:
        case.query["wait"] = LONGEST_WAIT
    body = case.body if isinstance(case.body, dict) else {}
    if isinstance(urls := body.get("photo_urls"), list):
        body["photo_urls"] = [
            photo_url() if isinstance(url, str) and url.startswith(_EXAMPLE_HOST) else url for url in urls
        ]
    hours = body.get("overlap_hours")
    if isinstance(hours, int | float) and not isinstance(hours, bool) and hours == 0:
        body["overlap_hours"] = 1  # else the key that makes all these calls ends with this one


@schemathesis.hook
def before_add_examples(context: Any, examples: list[Any]) -> None:
    """Leave the same out of what it makes of the schema's examples."""
    examples[:] = [case for case in examples if filter_case(context, case)]
