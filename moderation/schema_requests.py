"""What the schema says of requests beyond what serializers tell: fields that go together, forms of text, no others."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings

_COMPONENTS = "#/components/schemas/"
# PostgreSQL has no NUL, and text that is trimmed must leave something.
_TEXT = {"pattern": r"^[^\u0000]*$"}
_SOME_TEXT = {"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}
_PHOTOS = {"maxItems": settings.MAX_PHOTOS}
# Text that no schema can tell apart has a format of its own: whoever writes or tests a client knows what to put there.
_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "author_id": {"format": "author-id"},
    "author_time_zone": {"format": "time-zone"},
    "author_registered_at": {"format": "past-date-time"},
    "caption": _TEXT,
    "event_id": _SOME_TEXT,
    "photos": _PHOTOS,
    "photo_urls": _PHOTOS,
    "post_id": _SOME_TEXT,
    "statement": _SOME_TEXT,
    "url": {"format": "webhook-url"},
    "NewPostRequest.photo_urls": _PHOTOS | {"minItems": 1},
    # A ranking is asked about authors of whom we need never have heard.
    "CandidateRequest.author_id": _SOME_TEXT,
}
_ITEMS: Mapping[str, Mapping[str, Any]] = {"photo_urls": {"format": "photo-url"}}
_PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "bucket": {"pattern": "^[0-9a-f]{0,2}$"},
    "external_id": {"format": "author-id"},
    "Idempotency-Key": {"pattern": "^[!-~]{1,255}$"},
}
# Of a pattern that must not match, drf-spectacular tells the pattern alone.
_INVERTED = frozenset({"NewPostRequest.author_id", "NewPostFormRequest.author_id"})
# A cursor leads on in the list that gave it, and in no other.
_CURSOR = "after"
_TOGETHER: Mapping[str, Mapping[str, Any]] = {
    "NewPostRequest": {"required": ["author_id", "photo_urls"]},
    # An empty list is nothing in a form.
    "NewPostFormRequest": {
        "anyOf": [{"required": [name], "properties": {name: {"minItems": 1}}} for name in ("photos", "photo_urls")]
    },
    "ReplayRequestRequest": {
        "oneOf": [
            {"required": ["event_id"], "maxProperties": 1},
            {"required": ["since"], "properties": {"event_id": False}},
        ],
    },
}


def describe_requests(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Say what requests may hold, and that they hold nothing else; a hook of drf-spectacular."""
    components = result["components"]["schemas"]
    operations = [operation for path in result["paths"].values() for operation in path.values()]
    for operation in operations:
        for parameter in operation.get("parameters", ()):
            parameter["schema"] |= _PARAMETERS.get(parameter["name"], {})
            if parameter["name"] == _CURSOR:
                parameter["schema"] |= {"format": f"cursor-of-{operation['operationId']}", "minLength": 1}
    for body in [operation["requestBody"] for operation in operations if "requestBody" in operation]:
        for name in sorted({name for content in body["content"].values() for name in _named(content, components)}):
            _close(name, components[name])
            if name in _TOGETHER:
                body["required"] = True
    return result


def _named(schema: Any, components: Mapping[str, Any]) -> Iterator[str]:
    """Yield the objects that a schema names, and those that these name."""
    match schema:
        case {"$ref": str(reference)}:
            name = reference.removeprefix(_COMPONENTS)
            if components[name].get("type") == "object":
                yield name
            yield from _named(components[name], components)
        case dict():
            for inner in schema.values():
                yield from _named(inner, components)
        case list():
            for inner in schema:
                yield from _named(inner, components)


def _close(name: str, component: dict[str, Any]) -> None:
    component["additionalProperties"] = False
    component |= _TOGETHER.get(name, {})
    for field, schema in component["properties"].items():
        schema |= _PROPERTIES.get(f"{name}.{field}", _PROPERTIES.get(field, {}))
        if field in _ITEMS:
            schema["items"] |= _ITEMS[field]
        if field == _CURSOR:
            schema["format"] = "cursor-of-replay_webhooks"
        if f"{name}.{field}" in _INVERTED:
            schema.pop("pattern", None)
