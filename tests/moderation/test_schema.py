"""The schema is valid, tells of every call, and matches what is sent."""

from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from incentives.ranking_api import CandidateSerializer
from incentives.serializers import RotationRequestSerializer
from moderation.extensions import post_sections
from moderation.keys_api import KeyRotationSerializer
from moderation.serializers import NewPostSerializer, StrictSerializer

LIMITS = {"RateLimit-Policy", "RateLimit"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    document: dict[str, Any] = yaml.safe_load(out.getvalue())
    return document


def test_the_schema_is_valid_and_without_warnings(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")


def test_every_call_of_posts_is_described(schema: dict[str, Any]) -> None:
    assert {
        (path, method) for path, item in schema["paths"].items() for method in item if path.startswith("/api/v1/posts")
    } == {
        ("/api/v1/posts", "get"),
        ("/api/v1/posts", "post"),
        ("/api/v1/posts/{post_id}", "get"),
        ("/api/v1/posts/{post_id}", "delete"),
        ("/api/v1/posts/{post_id}/appeals", "get"),
        ("/api/v1/posts/{post_id}/appeals", "post"),
    }
    sending = schema["paths"]["/api/v1/posts"]["post"]
    assert set(sending["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"202", "400", "401", "403", "408", "409", "411", "413", "415", "422", "429", "503"} == set(
        sending["responses"]
    )
    assert set(sending["responses"]["202"]["headers"]) == {"Location", "Idempotency-Replayed", *LIMITS}
    assert "application/problem+json" in sending["responses"]["400"]["content"]
    assert {"apiKey": []} in sending["security"]
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_every_call_with_a_key_tells_of_its_limits_and_what_a_refusal_looks_like(schema: dict[str, Any]) -> None:
    calls = {
        f"{method} {path}": operation["responses"]
        for path, item in schema["paths"].items()
        for method, operation in item.items()
        if "401" in operation["responses"]
    }
    assert len(calls) > 15
    for name, responses in calls.items():
        assert "application/problem+json" in responses["429"]["content"], name
        assert "`rate_limited`" in responses["429"]["description"], name
        for status, response in responses.items():
            expected = LIMITS | ({"Retry-After"} if status in {"429", "503"} else set())
            assert expected <= set(response["headers"]), (name, status)
    assert LIMITS | {"Retry-After"} == set(schema["components"]["headers"])


def test_every_request_says_that_it_holds_nothing_else(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    requests = {name: component for name, component in components.items() if name.endswith("Request")}
    assert len(requests) > 8
    assert {name for name, component in requests.items() if component.get("additionalProperties") is not False} == set()


def test_what_goes_together_is_said(schema: dict[str, Any]) -> None:
    body = schema["paths"]["/api/v1/webhook-endpoints/{endpoint_id}/replay"]["post"]["requestBody"]
    assert body["required"] is True
    assert len(schema["components"]["schemas"]["ReplayRequestRequest"]["oneOf"]) == 2
    assert schema["components"]["schemas"]["NewPostRequest"]["required"] == ["author_id", "photo_urls"]


def test_every_cursor_is_of_its_own_call(schema: dict[str, Any]) -> None:
    formats = {
        operation["operationId"]: parameter["schema"]["format"]
        for item in schema["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "after"
    }
    assert len(formats) > 5
    assert formats == {call: f"cursor-of-{call}" for call in formats}


def test_every_link_leads_to_a_call_and_fills_its_parameters(schema: dict[str, Any]) -> None:
    calls = {operation["operationId"]: operation for item in schema["paths"].values() for operation in item.values()}
    links = [
        link
        for operation in calls.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(links) > 10
    for link in links:
        assert set(link["parameters"]) <= {one["name"] for one in calls[link["operationId"]]["parameters"]}, link


def test_what_the_server_answers_before_a_call_has_its_say_is_described(schema: dict[str, Any]) -> None:
    for item in schema["paths"].values():
        for operation in item.values():
            expected = {"408", "411", "413", "415", "503"} if "requestBody" in operation else {"503"}
            assert expected <= set(operation["responses"]), operation["operationId"]


@pytest.mark.parametrize(
    ("serializer", "wrong", "rest"),
    [
        (NewPostSerializer, {"author_id": 1042}, {}),
        (NewPostSerializer, {"caption": True}, {"author_id": "u-1042"}),
        (RotationRequestSerializer, {"expire_old_now": 0}, {}),
        (RotationRequestSerializer, {"expire_old_now": "true"}, {}),
        (KeyRotationSerializer, {"overlap_hours": "24"}, {}),
        (CandidateSerializer, {"post_id": 7}, {"base_score": 1}),
    ],
)
def test_a_value_of_another_type_is_refused(
    serializer: type[StrictSerializer], wrong: dict[str, Any], rest: dict[str, Any]
) -> None:
    asked = serializer(data=wrong | rest)

    assert not asked.is_valid()
    assert asked.errors.keys() == wrong.keys()


def test_the_sections_of_other_apps_are_part_of_a_post(schema: dict[str, Any]) -> None:
    assert post_sections, "the project has one"
    for section in post_sections:
        assert section.name in schema["components"]["schemas"]["Post"]["properties"]


def test_the_pages_are_served_without_a_key(client: Client) -> None:
    assert client.get("/api/schema").status_code == 200
    assert b"swagger" in client.get("/api/docs").content.lower()


def test_the_document_is_made_once_and_served_as_yaml_or_json(
    client: Client, schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_yaml, as_json = client.get("/api/schema"), client.get("/api/schema", headers={"Accept": "application/json"})
    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", None)

    again = client.get("/api/schema")

    assert again.content == as_yaml.content
    assert again["Content-Type"].startswith("application/vnd.oai.openapi")
    assert as_json.json()["paths"] == yaml.safe_load(as_yaml.content)["paths"] == schema["paths"]
