"""Who may call: keys, scopes and other platforms' posts."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from moderation import api_keys
from moderation.models import ApiKey, Platform
from tests import cast
from tests.moderation.calls import Caller, photo, problem

pytestmark = pytest.mark.django_db


def test_a_key_is_kept_as_a_digest_alone(platform: Platform) -> None:
    api_key, plaintext = api_keys.issue_key(platform, name="k", scopes=["posts:read"])

    assert len(plaintext) == 47
    assert plaintext.startswith("msk_")
    row = ApiKey.objects.filter(pk=api_key.pk).values().get()
    assert plaintext not in str(row)
    assert plaintext[16:] not in str(row)
    assert row["prefix"] == plaintext[:12]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Basic YTpi", "missing_api_key"),
        ("Bearer", "invalid_api_key"),
        ("Bearer ", "invalid_api_key"),
        ("Bearer nonsense", "invalid_api_key"),
        ("Bearer msk_" + "a" * 43, "invalid_api_key"),
        ("Bearer msk_" + "a" * 42 + "é", "invalid_api_key"),
        ("Bearer msk_" + "a" * 5000, "invalid_api_key"),
    ],
)
@pytest.mark.usefixtures("nothing_changes")
def test_without_a_key_of_ours_nobody_comes_in(client: Client, header: str | None, code: str) -> None:
    headers = {} if header is None else {"Authorization": header}

    for response in (
        client.get("/api/v1/posts", headers=headers),
        client.get("/api/v1/posts/post_x", headers=headers),
        client.post("/api/v1/posts", {"author_id": "ann", "photos": photo()}, headers=headers),
    ):
        assert problem(response) == (401, code, [])
        assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_revoked_key_is_refused_and_stays_revoked(caller: Caller, platform: Platform) -> None:
    api_key = ApiKey.objects.get(platform=platform)
    assert caller.get("posts").status_code == 200

    assert api_keys.revoke(api_key)
    assert not api_keys.revoke(api_key)

    assert problem(caller.get("posts")) == (401, "revoked_api_key", [])


def test_a_platform_that_was_switched_off_is_refused(caller: Caller, platform: Platform) -> None:
    Platform.objects.filter(pk=platform.pk).update(is_active=False)

    assert problem(caller.get("posts")) == (403, "inactive_platform", [])


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("posts:read", {"list", "get"}),
        ("posts:write", {"send", "withdraw"}),
        ("feed:rank", set()),
    ],
)
def test_a_key_does_what_its_scopes_say_and_no_more(platform: Platform, scope: str, allowed: set[str]) -> None:
    post = cast.make_post(cast.make_author(platform))
    caller = Caller(Client(), cast.make_key(platform, [scope]))
    calls = {
        "list": caller.get("posts"),
        "get": caller.get(f"posts/{post.pk}"),
        "send": caller.send(photo()),
        "withdraw": caller.delete(f"posts/{post.pk}"),
    }

    assert {name for name, response in calls.items() if response.status_code < 300} == allowed
    for name in calls.keys() - allowed:
        assert problem(calls[name]) == (403, "insufficient_scope", [])
        assert "insufficient_scope" in calls[name]["WWW-Authenticate"]


def test_the_last_use_is_noted_once_a_minute(caller: Caller, platform: Platform) -> None:
    caller.get("posts")
    first = ApiKey.objects.get(platform=platform).last_used_at
    assert first is not None

    caller.get("posts")
    assert ApiKey.objects.get(platform=platform).last_used_at == first

    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    caller.get("posts")
    later = ApiKey.objects.get(platform=platform).last_used_at
    assert later is not None
    assert later > first


def test_another_platforms_post_is_none_to_this_one(caller: Caller) -> None:
    post = cast.make_post(outcome="masked")

    assert problem(caller.get(f"posts/{post.pk}")) == (404, "not_found", [])
    assert problem(caller.delete(f"posts/{post.pk}")) == (404, "not_found", [])
    assert caller.get("posts").json() == {"data": [], "next": None}
    post.refresh_from_db()
    assert post.status == "analyzed"


def test_issuing_refuses_scopes_that_do_not_exist(platform: Platform) -> None:
    with pytest.raises(ValueError, match="unknown scopes"):
        api_keys.issue_key(platform, name="k", scopes=["posts:burn"])
    with pytest.raises(ValueError, match="needs a scope"):
        api_keys.issue_key(platform, name="k", scopes=[])
