"""The schema is valid, tells of every call, and matches what is sent."""

from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from moderation.extensions import post_sections


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
    assert {"202", "400", "401", "403", "409", "413", "422"} == set(sending["responses"])
    assert set(sending["responses"]["202"]["headers"]) == {"Location", "Idempotency-Replayed"}
    assert "application/problem+json" in sending["responses"]["400"]["content"]
    assert {"apiKey": []} in sending["security"]
    assert schema["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_the_sections_of_other_apps_are_part_of_a_post(schema: dict[str, Any]) -> None:
    assert post_sections, "the project has one"
    for section in post_sections:
        assert section.name in schema["components"]["schemas"]["Post"]["properties"]


def test_the_pages_are_served_without_a_key(client: Client) -> None:
    assert client.get("/api/schema").status_code == 200
    assert b"swagger" in client.get("/api/docs").content.lower()
