"""API keys: shown once, expiring, replaced by a successor, and told apart only as documented."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from mask_social import clock
from mask_social.errors import ApiError
from moderation import api_keys
from moderation.models import ApiKey, AuditEntry, Platform
from tests import cast
from tests.incentives.builders import at_once
from tests.moderation.calls import Caller, problem

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
KEY = re.compile(r"msk_[A-Za-z0-9_-]{43}")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def rotate(caller: Caller, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {caller.key}"}
    return caller.client.post("/api/v1/api-keys/current/rotate", body, content_type="application/json", headers=headers)


def with_key(plaintext: str) -> Caller:
    return Caller(Client(), plaintext)


def page(client: Client, name: str, *args: object, **query: str) -> str:
    return client.get(reverse(f"admin:moderation_{name}", args=args), query).content.decode()


def test_a_key_knows_itself_and_nothing_else(platform: Platform) -> None:
    cast.make_key(platform)
    caller = with_key(cast.make_key(platform, ["feed:rank"]))
    ApiKey.objects.filter(prefix=caller.key[:12]).update(calls_per_minute=77)

    known = caller.get("api-keys/current").json()

    assert known.pop("created_at") <= known.pop("last_used_at")
    assert known == {
        "name": "test",
        "prefix": caller.key[:12],
        "scopes": ["feed:rank"],
        "expires_at": None,
        "successor": None,
        "limits": {"calls_per_minute": 77, "posts_per_author_and_hour": 60},
    }


def test_a_key_expires_to_the_moment(caller: Caller, platform: Platform) -> None:
    ApiKey.objects.update(expires_at=clock.now() + timedelta(minutes=1))
    assert caller.get("posts").status_code == 200

    ApiKey.objects.update(expires_at=clock.now())

    assert problem(caller.get("posts")) == (401, "expired_api_key", [])
    assert problem(rotate(caller)) == (401, "expired_api_key", [])


def test_a_revoked_key_that_has_expired_too_stays_revoked(caller: Caller) -> None:
    api_keys.revoke(ApiKey.objects.get())
    ApiKey.objects.update(expires_at=clock.now() - DAY)
    assert problem(caller.get("posts")) == (401, "revoked_api_key", [])


def test_unknown_and_malformed_keys_are_answered_alike_and_those_we_knew_as_documented(platform: Platform) -> None:
    revoked, expired, good = (cast.make_key(platform) for _ in range(3))
    api_keys.revoke(ApiKey.objects.get(prefix=revoked[:12]))
    ApiKey.objects.filter(prefix=expired[:12]).update(expires_at=clock.now())
    answers = {
        name: with_key(key).get("posts")
        for name, key in {
            "unknown": "msk_" + "a" * 43,
            "off by one": good[:-1] + ("A" if good[-1] != "A" else "B"),
            "malformed": "msk_short",
            "another scheme's": "sk_live_" + "a" * 39,
            "revoked": revoked,
            "expired": expired,
        }.items()
    }
    alike = {answers[name].content for name in ("unknown", "off by one", "malformed", "another scheme's")}
    assert len(alike) == 1
    assert {name: problem(answer)[:2] for name, answer in answers.items()} == {
        "unknown": (401, "invalid_api_key"),
        "off by one": (401, "invalid_api_key"),
        "malformed": (401, "invalid_api_key"),
        "another scheme's": (401, "invalid_api_key"),
        "revoked": (401, "revoked_api_key"),
        "expired": (401, "expired_api_key"),
    }
    for answer in answers.values():
        assert set(answer.headers) == set(answers["unknown"].headers)


def test_a_row_that_the_database_found_by_mistake_opens_nothing(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison of digests is not left to the database alone."""
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: False)
    assert problem(caller.get("posts")) == (401, "invalid_api_key", [])


def test_a_key_is_replaced_by_one_with_the_same_rights_and_goes_on_for_the_overlap(platform: Platform) -> None:
    caller = with_key(cast.make_key(platform, ["posts:read", "feed:rank"]))
    ApiKey.objects.update(calls_per_minute=50, name="web")

    answer = rotate(caller, overlap_hours=2)

    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    new, old = ApiKey.objects.get(prefix=body["api_key"][:12]), ApiKey.objects.get(prefix=caller.key[:12])
    assert (new.name, new.scopes, new.calls_per_minute, new.expires_at) == (old.name, old.scopes, 50, None)
    assert old.successor == new
    assert old.expires_at is not None
    assert timedelta(hours=1.9) < old.expires_at - clock.now() <= timedelta(hours=2)
    assert body["key"]["prefix"] == new.prefix
    assert with_key(body["api_key"]).get("posts").status_code == 200
    assert caller.get("posts").status_code == 200
    assert caller.get("api-keys/current").json()["successor"] == new.prefix


@pytest.mark.parametrize(
    ("body", "hours"), [({}, 24), ({"overlap_hours": 0}, 0), ({"overlap_hours": 168}, 168)], ids=str
)
def test_the_overlap_is_a_day_or_what_is_asked_for(caller: Caller, body: dict[str, int], hours: int) -> None:
    began = clock.now()
    assert rotate(caller, **body).status_code == 201
    ends = ApiKey.objects.get(prefix=caller.key[:12]).expires_at
    assert ends is not None
    assert timedelta() <= ends - began - timedelta(hours=hours) < timedelta(minutes=1)
    assert caller.get("posts").status_code == (200 if hours else 401)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"overlap_hours": -1}, "min_value", "/overlap_hours"),
        ({"overlap_hours": 169}, "max_value", "/overlap_hours"),
        ({"overlap_hours": "soon"}, "invalid", "/overlap_hours"),
        ({"scopes": ["posts:write"]}, "unknown_field", "/scopes"),
    ],
)
def test_a_rotation_that_is_amiss_changes_nothing(caller: Caller, body: Any, code: str, pointer: str) -> None:
    assert problem(rotate(caller, **body)) == (400, code, [pointer])
    assert ApiKey.objects.get().successor is None


def test_a_key_is_replaced_once(caller: Caller) -> None:
    assert rotate(caller).status_code == 201
    assert problem(rotate(caller)) == (409, "already_rotated", [])
    assert ApiKey.objects.count() == 2


def test_of_one_line_two_keys_work_at_most(caller: Caller) -> None:
    second = with_key(rotate(caller, overlap_hours=168).json()["api_key"])
    third = with_key(rotate(second, overlap_hours=168).json()["api_key"])
    assert [one.get("posts").status_code for one in (caller, second, third)] == [401, 200, 200]


def test_no_key_prolongs_its_own_life(caller: Caller) -> None:
    ends = clock.now() + timedelta(hours=5)
    ApiKey.objects.update(expires_at=ends)
    new = ApiKey.objects.get(prefix=rotate(caller, overlap_hours=168).json()["api_key"][:12])
    assert new.expires_at == ends
    assert ApiKey.objects.get(prefix=caller.key[:12]).expires_at == ends


@pytest.mark.django_db(transaction=True)
def test_of_rotations_at_once_one_is_made_and_the_others_leave_nothing() -> None:
    platform = cast.make_platform()
    cast.make_key(platform)
    old = ApiKey.objects.get()

    def replace(_: int) -> str:
        try:
            return api_keys.rotate(old, overlap=DAY).plaintext
        except ApiError as error:
            return error.code

    outcomes = at_once(replace, range(8), threads=8)

    assert outcomes.count("already_rotated") == 7
    assert ApiKey.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_rotations_that_look_before_they_write_make_several_keys() -> None:
    """The control: what the claim by one UPDATE prevents."""
    platform = cast.make_platform()
    cast.make_key(platform)
    old = ApiKey.objects.get()

    def replace(_: int) -> bool:
        if ApiKey.objects.get(pk=old.pk).successor_id is not None:
            return False
        new = api_keys.issue_key(platform, name="new", scopes=["posts:read"]).api_key
        ApiKey.objects.filter(pk=old.pk).update(successor=new, expires_at=clock.now())
        return True

    assert sum(at_once(replace, range(8), threads=8)) > 1


def test_revoking_a_line_revokes_what_a_thief_made_of_a_key(caller: Caller) -> None:
    stolen = with_key(rotate(caller).json()["api_key"])
    again = with_key(rotate(stolen).json()["api_key"])
    assert api_keys.revoke_line(ApiKey.objects.get(prefix=caller.key[:12])) == 3
    assert [problem(one.get("posts"))[1] for one in (caller, stolen, again)] == ["revoked_api_key"] * 3


def test_a_key_issued_in_the_admin_is_in_its_answer_and_nowhere_else(staff: Client, platform: Platform) -> None:
    asked = {"platform": platform.pk, "name": "web", "scopes": ["posts:read"], "calls_per_minute": 120}
    soon = clock.now() + DAY

    answer = staff.post(
        reverse("admin:moderation_apikey_add"),
        {**asked, "expires_at_0": f"{soon:%Y-%m-%d}", "expires_at_1": f"{soon:%H:%M:%S}"},
    )

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    [plaintext] = set(KEY.findall(answer.content.decode()))
    kept = ApiKey.objects.get()
    assert (kept.calls_per_minute, kept.prefix) == (120, plaintext[:12])
    assert kept.expires_at is not None
    assert abs(kept.expires_at - soon) < timedelta(seconds=2)
    assert with_key(plaintext).get("posts").status_code == 200
    elsewhere = [str(answer.cookies), str(dict(staff.session)), page(staff, "apikey_changelist")]
    elsewhere += [page(staff, "apikey_change", kept.pk), *map(str, LogEntry.objects.values_list())]
    elsewhere += map(str, AuditEntry.objects.values_list())
    assert not any(plaintext[13:] in text for text in elsewhere)


def test_a_key_is_replaced_in_the_admin_with_a_longer_life(staff: Client, caller: Caller) -> None:
    old = ApiKey.objects.get()
    ApiKey.objects.update(expires_at=clock.now() + DAY)
    url = reverse("admin:moderation_apikey_rotate_key", args=[old.pk])
    assert url in page(staff, "apikey_change", old.pk)
    assert staff.get(url).status_code == 200
    later = clock.now() + 90 * DAY

    answer = staff.post(
        url, {"overlap_hours": 1, "expires_at_0": f"{later:%Y-%m-%d}", "expires_at_1": f"{later:%H:%M:%S}"}
    )

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    [plaintext] = set(KEY.findall(answer.content.decode()))
    assert with_key(plaintext).get("posts").status_code == caller.get("posts").status_code == 200
    new = ApiKey.objects.get(prefix=plaintext[:12])
    assert new.expires_at is not None
    assert new.expires_at > clock.now() + 89 * DAY
    assert plaintext[13:] not in str(answer.cookies) + str(dict(staff.session))
    assert "messages" not in answer.cookies
    assert url not in page(staff, "apikey_change", old.pk)
    assert "taken the place" in staff.post(url, {"overlap_hours": 1}).content.decode()
    assert ApiKey.objects.count() == 2


def test_who_may_only_look_at_keys_can_replace_none(client: Client, caller: Caller) -> None:
    from django.contrib.auth.models import Permission

    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(user)
    old = ApiKey.objects.get()
    url = reverse("admin:moderation_apikey_rotate_key", args=[old.pk])
    assert url not in page(client, "apikey_change", old.pk)
    assert client.post(url, {"overlap_hours": 1}).status_code == 403
    assert ApiKey.objects.count() == 1


def test_the_list_tells_which_keys_will_soon_expire(staff: Client, platform: Platform) -> None:
    for name, ends in (("soon", 5 * DAY), ("late", 60 * DAY), ("over", -DAY), ("today", timedelta(hours=3))):
        api_keys.issue_key(platform, name=f"key-{name}", scopes=["posts:read"], expires_at=clock.now() + ends)
    listed = page(staff, "apikey_changelist")
    assert "expires in 4 days" in listed
    assert "expires within a day" in listed
    for state, names in (("soon", {"soon", "today"}), ("expired", {"over"}), ("live", {"soon", "late", "today"})):
        shown = page(staff, "apikey_changelist", state=state)
        assert set(re.findall(r">key-(\w+)<", shown)) == names


def test_an_expiry_in_the_past_is_refused(staff: Client, platform: Platform) -> None:
    asked = {"platform": platform.pk, "name": "web", "scopes": ["posts:read"]}
    answer = staff.post(
        reverse("admin:moderation_apikey_add"), {**asked, "expires_at_0": "2020-01-01", "expires_at_1": "00:00"}
    )
    assert "cannot have expired" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_line_is_revoked_by_an_action(staff: Client, caller: Caller) -> None:
    heir = with_key(rotate(caller).json()["api_key"])
    chosen = {"action": "revoke_lines", "_selected_action": [ApiKey.objects.get(prefix=caller.key[:12]).pk]}
    staff.post(reverse("admin:moderation_apikey_changelist"), chosen)
    assert problem(heir.get("posts"))[1] == "revoked_api_key"
