"""A request that is sent twice happens once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from mask_social.errors import ApiError
from moderation import idempotency
from moderation.models import IdempotencyKey, Photo, Platform, Post
from tests import cast
from tests.moderation.calls import Caller, photo, problem


@pytest.mark.django_db
def test_a_repeated_request_gets_the_first_answer(caller: Caller) -> None:
    first = caller.send(photo(), idempotency_key="k1")
    second = caller.send(photo(), idempotency_key="k1")

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert first["Location"] == second["Location"] == f"/api/v1/posts/{first.json()['id']}"
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert Post.objects.count() == 1


@pytest.mark.django_db
def test_without_a_key_each_request_makes_a_post(caller: Caller) -> None:
    assert caller.send(photo()).json()["id"] != caller.send(photo()).json()["id"]


@pytest.mark.django_db
@pytest.mark.parametrize("difference", ["caption", "photo"])
def test_a_key_is_not_taken_for_another_request(caller: Caller, difference: str) -> None:
    caller.send(photo(), idempotency_key="k1")

    if difference == "caption":
        response = caller.send(photo(), caption="other", idempotency_key="k1")
    else:
        response = caller.send(photo(cast.make_jpeg(65, 48)), idempotency_key="k1")

    assert problem(response) == (422, "idempotency_mismatch", ["/headers/Idempotency-Key"])
    assert Post.objects.count() == 1


@pytest.mark.django_db
def test_another_platform_may_use_the_same_key(caller: Caller) -> None:
    other = Caller(caller.client, cast.make_key(cast.make_platform()))

    assert caller.send(photo(), idempotency_key="k").status_code == 202
    assert other.send(photo(), caption="mine", idempotency_key="k").status_code == 202


@pytest.mark.django_db
@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "tab\t", "ümlaut"])
def test_a_malformed_key_is_refused(caller: Caller, key: str) -> None:
    expected = (400, "invalid_idempotency_key", ["/headers/Idempotency-Key"])
    assert problem(caller.send(photo(), idempotency_key=key)) == expected


@pytest.mark.django_db
def test_a_refused_request_frees_its_key(caller: Caller) -> None:
    assert caller.send(photo(b"no image"), idempotency_key="k1").status_code == 400
    assert not IdempotencyKey.objects.exists()

    assert caller.send(photo(), idempotency_key="k1").status_code == 202


@pytest.mark.django_db
def test_a_request_that_failed_for_our_fault_frees_its_key(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("moderation.posts._insert", lambda *args: 1 / 0)
        assert caller.send(photo(), idempotency_key="k1").status_code == 500

    assert caller.send(photo(), idempotency_key="k1").status_code == 202


def lock_of(platform: Platform, key: str, fingerprint: str = "f" * 64) -> idempotency.Lock:
    lock = idempotency.begin(platform, key, fingerprint)
    assert isinstance(lock, idempotency.Lock)
    return lock


@pytest.mark.django_db
def test_while_the_first_runs_the_second_is_told_to_wait(platform: Platform) -> None:
    lock_of(platform, "k1")

    with pytest.raises(ApiError) as refusal:
        idempotency.begin(platform, "k1", "f" * 64)

    assert (refusal.value.status, refusal.value.code) == (409, "idempotency_in_flight")
    assert refusal.value.headers == {"Retry-After": "1"}


@pytest.mark.django_db
def test_the_lock_of_a_crashed_request_runs_out_and_its_ghost_cannot_finish(platform: Platform) -> None:
    crashed = lock_of(platform, "k1")
    late = timezone.now() - timedelta(seconds=1)
    IdempotencyKey.objects.update(locked_until=late)
    ghost = idempotency.Lock(crashed.row_id, late)

    heir = lock_of(platform, "k1")

    with pytest.raises(ApiError):
        idempotency.complete(ghost, 202, {"id": "ghost"})
    idempotency.release(ghost)
    idempotency.complete(heir, 202, {"id": "heir"})
    assert idempotency.begin(platform, "k1", "f" * 64) == idempotency.Replay(202, {"id": "heir"})


@pytest.mark.django_db
def test_keys_are_forgotten_after_a_day(platform: Platform) -> None:
    lock_of(platform, "old")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    lock_of(platform, "young")

    assert idempotency.forget_old() == 1
    assert IdempotencyKey.objects.get().key == "young"


def race(key: str, *, with_idempotency_key: bool, runners: int = 8) -> Counter[int]:
    """Send the same post from many threads at once and count the answers."""
    barrier = threading.Barrier(runners)

    def run(_: int) -> int:
        caller = Caller(Client(), key)
        barrier.wait()
        try:
            response = caller.send(photo(), idempotency_key="same" if with_idempotency_key else None)
            return int(response.status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(runners) as pool:
        return Counter(pool.map(run, range(runners)))


@pytest.mark.django_db(transaction=True)
def test_the_control_without_a_key_a_race_makes_many_posts() -> None:
    assert race(cast.make_key(cast.make_platform()), with_idempotency_key=False) == {202: 8}
    assert Post.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_a_race_of_the_same_request_makes_one_post(media: Path) -> None:
    answers = race(cast.make_key(cast.make_platform()), with_idempotency_key=True)

    assert set(answers) <= {202, 409}
    assert answers[202] >= 1
    assert Post.objects.count() == 1
    assert len([path for path in media.rglob("*") if path.is_file()]) == Photo.objects.count() == 1
