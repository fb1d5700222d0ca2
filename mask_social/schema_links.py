"""Which call leads to which, as links of the schema: whoever tests or makes a client knows where an id comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

_POST = {"post_id": "$response.body#/id"}
_ENDPOINT = {"endpoint_id": "$response.body#/id"}
# By the call that answers and its status: the calls that what it answers leads to, and their parameters.
_LINKS: Mapping[tuple[str, str], Sequence[tuple[str, Mapping[str, str]]]] = {
    ("create_post", "202"): (
        *((call, _POST) for call in ("get_post", "withdraw_post", "create_appeal", "list_appeals")),
        *((call, {"external_id": "$response.body#/author_id"}) for call in ("get_author", "list_badges")),
    ),
    ("get_post", "200"): (
        *((call, _POST) for call in ("withdraw_post", "create_appeal", "list_appeals")),
        ("get_photo_link", {"photo_id": "$response.body#/photos/0/id"}),
    ),
    ("create_webhook_endpoint", "201"): (
        *((f"{verb}_webhook_endpoint", _ENDPOINT) for verb in ("get", "change", "delete", "test")),
        *((call, _ENDPOINT) for call in ("rotate_webhook_secret", "replay_webhooks")),
    ),
    ("list_campaigns", "200"): (("get_campaign", {"campaign_id": "$response.body#/data/0/id"}),),
}


def describe_links(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add the links to the answers; a hook of drf-spectacular."""
    operations = [operation for path in result["paths"].values() for operation in path.values()]
    for operation in operations:
        for status, response in operation["responses"].items():
            if found := _LINKS.get((operation["operationId"], status)):
                response["links"] = {
                    call: {"operationId": call, "parameters": dict(parameters)} for call, parameters in found
                }
    return result
