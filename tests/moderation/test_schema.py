"""The schema is valid, tells of every call, and matches what is sent."""

from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from moderation.extensions import post_sections

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
    assert {"202", "400", "401", "403", "408", "409", "411", "413", "415", "422", "429", "503"} == set(sending["responses"])
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
