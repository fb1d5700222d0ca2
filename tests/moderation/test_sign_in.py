"""The door of the staff: how often it may be tried, and the second thing that it asks for."""

import base64
import re
import statistics
import time
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from mask_social import clock
from moderation.models import AuditEntry, RecoveryCode, SecondFactor, SignInTally
from moderation.sign_in import second_factor, throttle
from moderation.sign_in.throttle import LockedError
from tests import cast
from tests.incentives.builders import at_once

pytestmark = pytest.mark.django_db
PASSWORD = "a long and lonely road"
HERE, ELSEWHERE = "203.0.113.9", "198.51.100.77"


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def tried(name: str = "ada", password: str = "", address: str = HERE, client: Client | None = None) -> HttpResponse:
    client = client or Client(REMOTE_ADDR=address)
    return client.post(reverse("admin:login"), {"username": name, "password": password or "wrong"})  # type: ignore[return-value]


def later(monkeypatch: pytest.MonkeyPatch, wait: timedelta) -> None:
    ahead = clock.now() + wait
    monkeypatch.setattr(clock, "now", lambda: ahead)


def test_five_failures_lock_an_account_and_say_for_how_long(ada: User) -> None:
    assert [tried().status_code for _ in range(5)] == [200] * 5

    answer = tried(password=PASSWORD)

    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 60
    assert "opens again in a minute" in answer.content.decode()
    assert tried(password=PASSWORD, address=ELSEWHERE).status_code == 429
    assert AuditEntry.objects.filter(action="sign_in_failed", object_name="ada").count() == 5
    assert AuditEntry.objects.filter(action="sign_in_locked").count() == 1


def test_each_further_failure_doubles_the_wait_up_to_an_hour(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    for _ in range(5):
        tried()
    for _ in range(8):
        seconds = int(tried()["Retry-After"])
        waits.append(seconds)
        later(monkeypatch, timedelta(seconds=seconds))
        throttle.begin("ada", "")

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_the_door_opens_by_time_and_success_forgets_the_failures(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        tried()
    later(monkeypatch, timedelta(seconds=61))

    assert tried(password=PASSWORD).status_code == 302
    assert [tried(address=ELSEWHERE).status_code for _ in range(5)] == [200] * 5


def test_failures_of_a_day_ago_do_not_count(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        tried()
    later(monkeypatch, timedelta(days=1, minutes=1))

    assert [tried().status_code for _ in range(4)] == [200] * 4
    throttle.forget_old()
    assert SignInTally.objects.exists()
    later(monkeypatch, timedelta(days=1, minutes=1))
    throttle.forget_old()
    assert not SignInTally.objects.exists()


def test_an_address_that_tries_many_names_is_locked(ada: User) -> None:
    answers = [tried(f"name-{number}").status_code for number in range(22)]

    assert answers == [200] * 20 + [429] * 2
    assert tried(password=PASSWORD).status_code == 429
    assert tried(password=PASSWORD, address=ELSEWHERE).status_code == 302


def test_an_attacker_with_an_account_of_his_own_does_not_clear_his_address(ada: User) -> None:
    User.objects.create_superuser("mallory", password=PASSWORD)
    for number in range(19):
        tried(f"name-{number}")
    assert tried("mallory", PASSWORD).status_code == 302

    assert [tried(f"other-{number}").status_code for number in range(2)] == [200, 429]


def test_whoever_locks_an_account_does_not_lock_out_its_owner_where_she_usually_is(ada: User) -> None:
    assert tried(password=PASSWORD).status_code == 302
    for _ in range(6):
        tried(address=ELSEWHERE)
    assert tried(password=PASSWORD, address=ELSEWHERE).status_code == 429

    assert tried(password=PASSWORD, address=HERE).status_code == 302


def test_an_account_that_does_not_exist_answers_just_as_one_that_does(ada: User) -> None:
    def text(name: str) -> list[tuple[int, str]]:
        answers = [tried(name, address=f"2001:db8:{len(name)}::1") for _ in range(6)]
        return [
            (answer.status_code, re.sub(rf'value="({name}|[A-Za-z0-9]{{64}})"', "", answer.content.decode()))
            for answer in answers
        ]

    assert text("ada") == text("eve1")


def test_the_time_it_takes_does_not_tell_whether_an_account_exists(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    User.objects.create_superuser("ada", password=PASSWORD)
    monkeypatch.setattr(throttle, "ACCOUNT_TRIES", 1000)
    monkeypatch.setattr(throttle, "ADDRESS_TRIES", 1000)

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        tried(name)
        return time.perf_counter() - begun

    pairs = [(seconds("ada"), seconds("eve")) for _ in range(5)]
    known, unknown = (statistics.median(times) for times in zip(*pairs, strict=True))

    assert 0.5 < known / unknown < 2


def test_names_that_were_typed_are_not_kept(ada: User) -> None:
    tried("my-secret-password")

    assert "my-secret-password" not in "".join(SignInTally.objects.values_list("subject", flat=True))


@pytest.mark.django_db(transaction=True)
def test_many_tries_at_once_are_no_more_than_one_after_the_other() -> None:
    def begin(number: int) -> bool:
        try:
            throttle.begin("ada", f"192.0.2.{number}")
        except LockedError:
            return False
        return True

    assert sum(at_once(begin, range(32), threads=32)) == 5


@pytest.mark.django_db(transaction=True)
def test_counting_after_looking_would_let_more_through(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle.begin("ada", "")

    def careless(subject: str, now: datetime) -> int:
        tally = SignInTally.objects.get(subject=subject)
        time.sleep(0.05)
        SignInTally.objects.filter(pk=tally.pk).update(tries=tally.tries + 1)
        return tally.tries + 1

    monkeypatch.setattr(throttle, "_count", careless)
    locked = at_once(lambda _: throttle.begin("ada", "").locks, range(16))
    assert locked.count(False) > 4


def test_an_administrator_opens_the_door_at_once(ada: User) -> None:
    for _ in range(5):
        tried()
    root = Client()
    root.force_login(cast.make_reviewer("root"))
    chosen = {"action": "unlock_selected", "_selected_action": [ada.pk]}

    clerk = Client()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    clerk.post(reverse("admin:auth_user_changelist"), chosen)
    assert tried(password=PASSWORD, address=ELSEWHERE).status_code == 429
    root.post(reverse("admin:auth_user_changelist"), chosen)
    assert tried(password=PASSWORD, address=ELSEWHERE).status_code == 302
    assert AuditEntry.objects.filter(action="unlock_selected", actor="root").exists()


# The test vectors of RFC 6238, appendix B, cut to six digits.
@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    assert second_factor.code_at(b"12345678901234567890", seconds // 30) == code


def code_of(secret: bytes, steps: int = 0) -> str:
    return second_factor.code_at(secret, second_factor.step_now() + steps)


@pytest.fixture
def secret(ada: User) -> bytes:
    """What ada's app knows; she set it up two minutes ago."""
    made = second_factor.new_secret()
    assert second_factor.set_up(ada, made, code_of(made))
    SecondFactor.objects.update(last_step=second_factor.step_now() - 4)
    return made


def with_password() -> Client:
    client = Client(REMOTE_ADDR=HERE)
    answer = tried(password=PASSWORD, client=client)
    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:login_code"))
    return client


def coded(client: Client, code: str) -> HttpResponse:
    return client.post(reverse("admin:login_code"), {"code": code})  # type: ignore[return-value]


def test_a_password_alone_opens_no_door_where_there_is_a_second_factor(ada: User, secret: bytes) -> None:
    client = with_password()
    assert client.get(reverse("admin:index")).status_code == 302
    before = client.session.session_key

    answer = coded(client, code_of(secret))

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))
    assert client.get(reverse("admin:index")).status_code == 200
    assert client.session.session_key != before, "a session that somebody planted is not the one that is signed in"


def test_a_code_opens_the_door_once(ada: User, secret: bytes) -> None:
    code = code_of(secret)
    assert coded(with_password(), code).status_code == 302

    assert "not the right code" in coded(with_password(), code).content.decode()


@pytest.mark.parametrize(("steps", "status"), [(-2, 200), (-1, 302), (0, 302), (1, 302), (2, 200)])
def test_a_clock_may_be_half_a_minute_wrong(ada: User, secret: bytes, steps: int, status: int) -> None:
    assert coded(with_password(), code_of(secret, steps)).status_code == status


@pytest.mark.django_db(transaction=True)
def test_of_many_with_the_same_code_at_once_one_comes_in() -> None:
    ada = User.objects.create_superuser("ada", password=PASSWORD)
    secret = second_factor.new_secret()
    codes = second_factor.set_up(ada, secret, code_of(secret))
    assert codes
    SecondFactor.objects.update(last_step=0)
    code = code_of(secret)

    assert sum(at_once(lambda _: second_factor.opens(ada, code), range(16))) == 1
    assert sum(at_once(lambda _: second_factor.opens(ada, codes[0]), range(16))) == 1


def test_codes_cannot_be_tried_out(ada: User, secret: bytes) -> None:
    client = with_password()
    wrong = f"{(int(code_of(secret)) + 1) % 10**6:06}"
    assert [coded(client, wrong).status_code for _ in range(6)] == [200] * 5 + [429]

    assert coded(with_password(), code_of(secret)).status_code == 429
    assert AuditEntry.objects.filter(action="code_refused", object_name="ada").count() == 5


def test_the_right_password_waits_five_minutes_for_its_code(
    ada: User, secret: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = with_password()
    later(monkeypatch, timedelta(minutes=5, seconds=1))

    assert coded(client, code_of(secret))["Location"] == reverse("admin:login")


def test_a_password_that_was_changed_meanwhile_needs_the_new_one(ada: User, secret: bytes) -> None:
    client = with_password()
    ada.set_password("another lonely road")
    ada.save()

    assert coded(client, code_of(secret))["Location"] == reverse("admin:login")


def test_somebody_sets_up_a_second_factor_renews_its_codes_and_removes_it(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, page = Client(REMOTE_ADDR=HERE), reverse("admin:second_factor")
    client.force_login(ada)
    shown = client.get(page).content.decode()
    [spelled] = re.findall(r"<code[^>]*>([A-Z2-7 ]+)</code>", shown)
    assert "<svg" in shown
    secret = base64.b32decode(spelled.replace(" ", ""))

    assert "not your password" in client.post(page, {"password": "x", "code": code_of(secret)}).content.decode()
    assert "not the right code" in client.post(page, {"password": PASSWORD, "code": "12"}).content.decode()
    assert not second_factor.is_set_up(ada)
    done = client.post(page, {"password": PASSWORD, "code": code_of(secret)}).content.decode()
    codes = re.findall(r"<li>([a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4})</li>", done)
    assert len(codes) == len(set(codes)) == RecoveryCode.objects.count() == 10

    again = client.post(page, {"password": PASSWORD, "code": code_of(secret), "asked": "codes"}).content.decode()
    assert "used before" in again
    later(monkeypatch, timedelta(seconds=60))
    renewed = client.post(page, {"password": PASSWORD, "code": code_of(secret), "asked": "codes"}).content.decode()
    assert "Your recovery codes" in renewed
    assert not second_factor.opens(ada, codes[0]), "the old ones are gone"
    later(monkeypatch, timedelta(seconds=60))
    client.post(page, {"password": PASSWORD, "code": code_of(secret), "asked": "remove"})
    assert not second_factor.is_set_up(ada)
    told = AuditEntry.objects.filter(object_name="ada", actor="ada").order_by("number").values_list("action", flat=True)
    assert [action for action in told if "factor" in action or "codes" in action] == [
        *("second_factor_set_up", "recovery_codes_renewed", "second_factor_removed"),
    ]


def test_a_recovery_code_opens_the_door_once(ada: User, secret: bytes) -> None:
    code = second_factor.new_recovery_codes(ada)[3].upper()

    assert coded(with_password(), code).status_code == 302
    assert coded(with_password(), code).status_code == 200
    assert AuditEntry.objects.get(action="recovery_code_used").details == {"left": 9}


def test_the_database_alone_tells_no_secret(ada: User, secret: bytes, settings: Settings) -> None:
    code = second_factor.new_recovery_codes(ada)[0]
    kept = SecondFactor.objects.get().secret_cipher
    assert second_factor.spelled(secret) not in kept
    assert code.replace("-", "") not in "".join(RecoveryCode.objects.values_list("digest", flat=True))

    settings.SECRET_KEY = "another"
    assert second_factor.decipher(kept) is None
    assert not second_factor.opens(ada, code_of(secret))


def test_who_must_have_a_second_factor_sees_nothing_else_before(ada: User, settings: Settings) -> None:
    settings.REQUIRE_TOTP = True
    client, page = Client(), reverse("admin:second_factor")
    client.force_login(ada)

    for name in ("index", "moderation_post_changelist", "auth_user_changelist"):
        assert client.get(reverse(f"admin:{name}")).url == page  # type: ignore[attr-defined]  # a redirect
    assert "must have a second factor" in client.get(page).content.decode()
    secret = second_factor.new_secret()
    assert second_factor.set_up(ada, secret, code_of(secret))
    assert client.get(reverse("admin:index")).status_code == 200
    assert 'value="remove"' not in client.get(page).content.decode()
    SecondFactor.objects.update(last_step=0)
    client.post(page, {"password": PASSWORD, "code": code_of(secret), "asked": "remove"})
    assert second_factor.is_set_up(ada)


def test_an_administrator_removes_the_second_factor_of_somebody_who_lost_it(ada: User, secret: bytes) -> None:
    root, clerk = Client(), Client()
    root.force_login(cast.make_reviewer("root"))
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    chosen = {"action": "remove_second_factor", "_selected_action": [ada.pk]}

    clerk.post(reverse("admin:auth_user_changelist"), chosen)
    assert second_factor.is_set_up(ada)
    root.post(reverse("admin:auth_user_changelist"), chosen)
    assert not second_factor.is_set_up(ada)
    assert AuditEntry.objects.filter(action="second_factor_removed", actor="root", object_name="ada").exists()


def test_a_session_ends_after_half_a_day_and_with_the_password(ada: User, settings: Settings) -> None:
    client = Client()
    tried(password=PASSWORD, client=client)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (12 * 3600, True, "Lax")
    assert client.get(reverse("admin:index")).status_code == 200

    ada.set_password("another lonely road")
    ada.save()
    assert client.get(reverse("admin:index")).status_code == 302


def test_a_name_with_spaces_around_it_is_no_other_account(ada: User) -> None:
    for spaces in ("", " ", "\t", "\u00a0", " " * 300):
        assert tried(name=f"{spaces}ada").status_code == 200

    assert tried(name=" ada  ", password=PASSWORD).status_code == 429


@pytest.mark.parametrize("name", ["login", "login_code", "logout"])
def test_nobody_fills_the_disk_at_the_door(name: str) -> None:
    file = SimpleUploadedFile("film.mp4", bytes(2 * 1024**2))

    answer = Client().post(reverse(f"admin:{name}"), {"file": file})

    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
