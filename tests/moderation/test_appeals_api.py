"""Appeals over HTTP, and what the platform tells of its authors."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderation import posts, reviews
from moderation.models import Appeal, Author, Platform, Post
from tests import cast
from tests.moderation.calls import Caller, photo, problem

pytestmark = pytest.mark.django_db


def appeal(caller: Caller, post: Post | str, body: Any, idempotency_key: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {caller.key}"}
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    url = f"/api/v1/posts/{post}/appeals"
    return caller.client.post(url, json.dumps(body), content_type="application/json", headers=headers)


@pytest.fixture
def post(platform: Platform) -> Post:
    return cast.make_post(cast.make_author(platform), outcome="unmasked")


def test_an_appeal_goes_in_and_its_answer_comes_out(caller: Caller, post: Post) -> None:
    response = appeal(caller, post, {"statement": "It has the colour of my skin."})

    assert response.status_code == 201
    opened = response.json()
    assert opened | {"created_at": "", "id": ""} == {
        "id": "",
        "status": "open",
        "statement": "It has the colour of my skin.",
        "verdict_id": post.verdicts.get().pk,
        "answer": None,
        "new_verdict_id": None,
        "created_at": "",
        "decided_at": None,
    }
    assert caller.get(f"posts/{post}").json()["appeal"] == opened

    reviews.uphold(Appeal.objects.get(), "masked", cast.make_reviewer(), "You are right.")

    shown = caller.get(f"posts/{post}").json()
    assert (shown["appeal"]["status"], shown["appeal"]["answer"]) == ("upheld", "You are right.")
    assert shown["appeal"]["decided_at"] is not None
    assert shown["appeal"]["new_verdict_id"] == shown["verdict"]["id"]
    assert (shown["verdict"]["outcome"], shown["verdict"]["source"]) == ("masked", "appeal")
    assert caller.get(f"posts/{post}/appeals").json() == {"data": [shown["appeal"]], "next": None}


def test_a_post_without_an_appeal_says_so(caller: Caller, post: Post) -> None:
    assert caller.get(f"posts/{post}").json()["appeal"] is None
    assert caller.get(f"posts/{post}/appeals").json() == {"data": [], "next": None}


def test_what_cannot_be_appealed_against_is_refused(caller: Caller, post: Post) -> None:
    waiting, failed, gone = (
        cast.make_post(post.author),
        cast.make_post(post.author),
        cast.make_post(post.author, outcome="unmasked"),
    )
    Post.objects.filter(pk=failed.pk).update(status="failed", completed_at=timezone.now())
    posts.withdraw(gone)
    body = {"statement": "Look again."}
    assert appeal(caller, post, body).status_code == 201

    assert problem(appeal(caller, post, body)) == (409, "already_appealed", [])
    assert problem(appeal(caller, waiting, body)) == problem(appeal(caller, failed, body)) == (409, "no_verdict", [])
    assert problem(appeal(caller, gone, body)) == (409, "post_withdrawn", [])
    assert Appeal.objects.count() == 1


def test_anothers_post_is_none(caller: Caller) -> None:
    foreign = cast.make_post(outcome="unmasked")

    assert problem(appeal(caller, foreign, {"statement": "Mine."})) == (404, "not_found", [])
    assert problem(caller.get(f"posts/{foreign}/appeals"))[:2] == (404, "not_found")
    assert problem(appeal(caller, "post_none", {"statement": "Mine."}))[0] == 404
    assert not Appeal.objects.exists()


def test_a_key_needs_the_scope_to_write(platform: Platform, post: Post) -> None:
    reader = Caller(Client(), cast.make_key(platform, ["posts:read"]))

    assert problem(appeal(reader, post, {"statement": "Look again."}))[:2] == (403, "insufficient_scope")
    assert reader.get(f"posts/{post}/appeals").status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "required", "/statement"),
        ({"statement": ""}, "blank", "/statement"),
        ({"statement": " \n "}, "blank", "/statement"),
        ({"statement": None}, "null", "/statement"),
        ({"statement": ["a"]}, "invalid", "/statement"),
        ({"statement": "x" * 2001}, "max_length", "/statement"),
        ({"statement": "a\0b"}, "null_characters_not_allowed", "/statement"),
        ({"statement": "\ud800"}, "surrogate_characters_not_allowed", "/statement"),
        ({"statement": "a", "status": "upheld"}, "unknown_field", "/status"),
        ([], "invalid", ""),
        ("Look again.", "invalid", ""),
    ],
)
def test_a_wrong_appeal_is_refused_at_its_field(caller: Caller, post: Post, body: Any, code: str, pointer: str) -> None:
    assert problem(appeal(caller, post, body)) == (400, code, [pointer])
    assert not Appeal.objects.exists()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
bodies = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(statement=bodies, more=st.dictionaries(st.text(), bodies, max_size=2), is_whole=st.booleans())
def test_no_body_whatever_brings_the_server_down(
    caller: Caller, post: Post, statement: Any, more: dict[str, Any], is_whole: bool
) -> None:
    body = {**more, "statement": statement} if is_whole else statement

    response = appeal(caller, post, body)

    assert response.status_code in {201, 400, 409}, response.content
    if response.status_code != 201:
        problem(response)


def test_a_body_that_is_no_json_or_a_form_is_refused(caller: Caller, post: Post) -> None:
    headers = {"Authorization": f"Bearer {caller.key}"}
    url = f"/api/v1/posts/{post}/appeals"

    assert caller.client.post(url, "{", content_type="application/json", headers=headers).status_code == 400
    assert caller.client.post(url, {"statement": "a"}, headers=headers).status_code == 415


def test_an_appeal_sent_twice_under_a_key_is_answered_the_same(caller: Caller, post: Post) -> None:
    first = appeal(caller, post, {"statement": "Look again."}, "k1")
    second = appeal(caller, post, {"statement": "Look again."}, "k1")

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    assert problem(appeal(caller, post, {"statement": "Another."}, "k1"))[:2] == (422, "idempotency_mismatch")
    assert Appeal.objects.count() == 1


def test_a_refused_appeal_frees_its_key(caller: Caller, post: Post) -> None:
    waiting = cast.make_post(post.author)
    assert appeal(caller, waiting, {"statement": "Look again."}, "k1").status_code == 409

    Post.objects.filter(pk=waiting.pk).update(status="analyzed", completed_at=timezone.now())
    cast.make_verdict(waiting, "unmasked")

    assert appeal(caller, waiting, {"statement": "Look again."}, "k1").status_code == 201


def test_what_the_platform_tells_of_an_author_is_kept(caller: Caller, platform: Platform) -> None:
    def told() -> tuple[str, str | None]:
        author = Author.objects.get(platform=platform, external_id="ann")
        return author.time_zone, author.registered_at.isoformat() if author.registered_at else None

    assert caller.send(photo()).status_code == 202
    assert told() == ("UTC", None)

    facts = {"author_time_zone": "Asia/Tokyo", "author_registered_at": "2024-05-01T12:00:00+02:00"}
    assert caller.send(photo(), **facts).status_code == 202
    assert told() == ("Asia/Tokyo", "2024-05-01T10:00:00+00:00")

    assert caller.send(photo()).status_code == 202, "what is not said stays"
    assert told() == ("Asia/Tokyo", "2024-05-01T10:00:00+00:00")

    assert caller.send(photo(), author_time_zone="Europe/Berlin").status_code == 202
    assert told() == ("Europe/Berlin", "2024-05-01T10:00:00+00:00")


def test_a_new_author_starts_with_what_was_told(caller: Caller) -> None:
    assert caller.send(photo(), author_id="bob", author_time_zone="America/Lima").status_code == 202

    assert Author.objects.get(external_id="bob").time_zone == "America/Lima"


def test_an_author_is_not_written_again_for_what_is_known(caller: Caller) -> None:
    caller.send(photo(), author_time_zone="Asia/Tokyo")
    with CaptureQueriesContext(connection) as captured:
        caller.send(photo(), author_time_zone="Asia/Tokyo")

    assert not [query for query in captured if query["sql"].startswith('UPDATE "moderation_author"')]


def test_the_same_post_with_facts_is_the_same_request(caller: Caller) -> None:
    facts = {"author_time_zone": "Asia/Tokyo", "author_registered_at": "2024-05-01T12:00:00Z"}

    first = caller.send(photo(), idempotency_key="k1", **facts)
    second = caller.send(photo(), idempotency_key="k1", **facts)

    assert first.json() == second.json()
    other = facts | {"author_registered_at": "2024-05-02T12:00:00Z"}
    assert caller.send(photo(), idempotency_key="k1", **other).status_code == 422


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("author_time_zone", "Mars/Olympus", "invalid_time_zone"),
        ("author_time_zone", "europe/berlin", "invalid_time_zone"),
        ("author_time_zone", "../etc/passwd", "invalid_time_zone"),
        ("author_time_zone", "+02:00", "invalid_time_zone"),
        ("author_time_zone", "", "blank"),
        ("author_time_zone", "x" * 65, "max_length"),
        ("author_registered_at", "yesterday", "invalid"),
        ("author_registered_at", "", "invalid"),
        ("author_registered_at", "2024-13-01T00:00:00Z", "invalid"),
        ("author_registered_at", "9999-12-31T23:59:59Z", "registered_in_future"),
        ("author_registered_at", "9999-12-31T23:59:59-14:00", "overflow"),
        ("author_registered_at", "0001-01-01T00:00:00+14:00", "overflow"),
    ],
)
def test_a_wrong_fact_is_refused_at_its_field(caller: Caller, field: str, value: str, code: str) -> None:
    status, found, pointers = problem(caller.send(photo(), **{field: value}))

    assert status == 400
    assert f"/{field}" in pointers
    assert found in {code, "max_length", "validation_error"}
    assert code in caller.send(photo(), **{field: value}).content.decode()


def test_a_clock_that_is_a_minute_ahead_is_forgiven(caller: Caller) -> None:
    soon, later = (timezone.now() + timedelta(minutes=minutes) for minutes in (1, 10))

    assert caller.send(photo(), author_registered_at=soon.isoformat()).status_code == 202
    refused = caller.send(photo(), author_registered_at=later.isoformat())
    assert problem(refused) == (400, "registered_in_future", ["/author_registered_at"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(zone=bodies, registered=bodies)
def test_no_fact_whatever_brings_the_server_down(caller: Caller, zone: Any, registered: Any) -> None:
    body = {
        "author_id": "ann",
        "photo_urls": ["http://127.0.0.1/a.jpg"],
        "author_time_zone": zone,
        "author_registered_at": registered,
    }

    assert problem(caller.send_json(body))[0] == 400
