"""What browsers are told about every answer."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from mask_social import headers
from tests import cast

pytestmark = pytest.mark.django_db


def addresses(resolver: URLResolver | None = None, before: str = "/") -> Iterator[str]:
    """Return an address for every pattern; what it names need not exist."""
    for pattern in (resolver or get_resolver()).url_patterns:
        route = before + re.sub(r"\(.*?\)|<[^>]*>", "1", str(pattern.pattern)).strip("^$").replace("\\Z", "")
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, route)
        elif isinstance(pattern, URLPattern):
            yield route


def directives(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in policy.split(";") if part.strip())}


def test_every_address_says_what_may_be_done_with_its_answer() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(cast.make_reviewer())
    asked = sorted(set(addresses()))
    assert len(asked) > 150
    for address in [*asked, "/nowhere", "/static/mask_social/favicon.svg"]:
        answer = client.get(address)
        assert answer["X-Content-Type-Options"] == "nosniff", address
        assert answer["X-Frame-Options"] == "DENY", address
        assert answer["Referrer-Policy"] in {"same-origin", "no-referrer"}, address
        assert "camera=()" in answer["Permissions-Policy"], address
        assert answer["Cross-Origin-Resource-Policy"] in {"same-origin", "cross-origin"}, address
        assert answer["Cross-Origin-Opener-Policy"], address
        assert answer["Cache-Control"], address
        policy = directives(answer["Content-Security-Policy"])
        assert policy["default-src"] == ["'none'"], address
        assert "'unsafe-inline'" not in policy.get("script-src", []), address
        if "sandbox" not in policy:
            assert policy["frame-ancestors"] == policy["base-uri"] == ["'none'"], address


def test_only_pages_may_load_anything_and_only_the_admin_evaluates() -> None:
    client = Client()
    assert client.get("/healthz")["Content-Security-Policy"] == headers.NOTHING
    assert client.get("/api/v1/posts")["Content-Security-Policy"] == headers.NOTHING
    assert client.get("/nowhere")["Content-Security-Policy"] == headers.NOTHING
    assert directives(client.get("/api/docs")["Content-Security-Policy"])["script-src"] == ["'self'"]
    login = directives(client.get(reverse("admin:login"))["Content-Security-Policy"])
    assert login["script-src"] == ["'self'", "'unsafe-eval'"]


def test_no_page_writes_a_script_into_itself() -> None:
    client = Client()
    client.force_login(cast.make_reviewer())
    for address in ("/api/docs", reverse("admin:index"), reverse("admin:moderation_post_changelist")):
        page = client.get(address).content.decode()
        scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, re.DOTALL)
        assert scripts, address
        assert [
            script for attributes, script in scripts if script.strip() and "application/json" not in attributes
        ] == []
        assert not re.search(r"\son[a-z]+=", page), address


def test_answers_with_data_are_kept_by_nobody() -> None:
    client = Client()
    client.force_login(cast.make_reviewer())

    assert "no-store" in client.get("/api/v1/posts")["Cache-Control"]
    assert "no-store" in client.get(reverse("admin:auth_user_changelist"))["Cache-Control"]


def test_what_the_public_may_read_from_any_site_may_be_embedded_there() -> None:
    answer = Client().get("/.well-known/jwks.json")

    assert (answer["Access-Control-Allow-Origin"], answer["Cross-Origin-Resource-Policy"]) == ("*", "cross-origin")
