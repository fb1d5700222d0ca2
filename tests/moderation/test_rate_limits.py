"""How much a caller may ask: each key, each author, each address without a good key."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.test import Client
from pytest_django.fixtures import Settings

from mask_social import rate_limits
from mask_social.rate_limits import Circuit, Counters, Limit
from moderation.models import ApiKey, IdempotencyKey, Platform, Post
from tests import cast
from tests.moderation.calls import Caller, photo, problem

HOURLY = Limit("test", 20, 3600)
_names = iter(range(10**9))


@pytest.fixture
def who() -> str:
    """Somebody whom no other test counts."""
    return f"{time.time_ns()}-{next(_names)}"


@pytest.fixture
def without_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have no server where Redis should be."""
    rate_limits._script.cache_clear()
    monkeypatch.setattr(rate_limits, "_circuit", Circuit())
    monkeypatch.setattr(django_settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    yield
    rate_limits._script.cache_clear()


def at_once(work: Callable[[], Any], times: int, threads: int = 16) -> list[Any]:
    ready = threading.Barrier(threads)

    def run(count: int) -> list[Any]:
        ready.wait(30)
        return [work() for _ in range(count)]

    with ThreadPoolExecutor(threads) as pool:
        return [done for lane in pool.map(run, [times // threads] * threads) for done in lane]


def fields(header: str) -> dict[str, dict[str, int]]:
    """Read a list of structured fields (RFC 9651), as far as we write them."""
    found = {}
    for item in header.split(", "):
        name, *parameters = item.split(";")
        assert name[0] == name[-1] == '"'
        found[name[1:-1]] = {key: int(value) for key, value in (part.split("=") for part in parameters)}
    return found


@pytest.mark.parametrize("take", [rate_limits.take, Counters().take], ids=["in Redis", "in this process"])
def test_exactly_as_many_pass_as_may_however_many_come_at_once(take: Any, who: str) -> None:
    found = at_once(lambda: take(HOURLY, who), 320)

    allowed = [one for one in found if one.is_allowed]
    assert len(allowed) == 20
    assert sorted(one.remaining for one in allowed) == list(range(20))
    assert {one.remaining for one in found if not one.is_allowed} == {0}


def test_a_count_that_is_read_before_it_is_written_lets_too_many_pass(who: str) -> None:
    """The control: what the test above would see of a limiter that is not atomic."""
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:

        def take() -> bool:
            count = int(client.get(who) or 0)
            time.sleep(0)
            if count >= 20:
                return False
            client.set(who, count + 1, ex=60)
            return True

        assert sum(at_once(take, 320)) > 20


@pytest.mark.parametrize("take", [rate_limits.take, Counters().take], ids=["in Redis", "in this process"])
def test_what_was_taken_comes_back_evenly(take: Any, who: str) -> None:
    limit = Limit("test", 10, 1)
    assert [take(limit, who).is_allowed for _ in range(11)].count(True) >= 10
    while take(limit, who).is_allowed:
        pass
    refused = take(limit, who)
    assert (refused.is_allowed, refused.remaining, refused.wait_seconds) == (False, 0, 1)

    time.sleep(0.35)

    back = [take(limit, who).is_allowed for _ in range(6)]
    assert 3 <= back.count(True) <= 5
    assert back == sorted(back, reverse=True)


@pytest.mark.parametrize("take", [rate_limits.take, Counters().take], ids=["in Redis", "in this process"])
def test_what_is_given_back_can_be_taken_again_and_never_more(take: Any, who: str) -> None:
    for _ in range(3):
        take(HOURLY, who, -1)
    assert take(HOURLY, who).remaining == 19
    assert take(HOURLY, who).remaining == 18
    assert take(HOURLY, who, -1).remaining == 19
    assert take(HOURLY, who).remaining == 18


def test_a_count_ends_by_itself(who: str) -> None:
    rate_limits.take(Limit("brief", 60, 60), who)
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        keys = list(client.scan_iter("mask_social:rate:*"))
        assert keys
        assert all(0 < client.pttl(key) <= 3_600_000 for key in keys)


def test_counters_in_memory_are_bounded() -> None:
    counters = Counters(most=100)
    for number in range(1000):
        counters.take(HOURLY, str(number))
    assert len(counters) == 100
    assert counters.take(HOURLY, "999").remaining == 18


@pytest.mark.usefixtures("without_redis")
def test_without_redis_each_process_counts_and_only_one_call_in_a_while_tries_it(
    who: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        allowed = sum(rate_limits.take(HOURLY, who).is_allowed for _ in range(500))
        took = time.monotonic() - began

    assert (allowed, took < 2) == (20, True)
    assert [record.name for record in caplog.records] == ["mask_social.rate_limits"]


def test_a_redis_that_does_not_answer_holds_up_one_call_for_half_a_second(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rate_limits._script.cache_clear()
        monkeypatch.setattr(rate_limits, "_circuit", Circuit())
        monkeypatch.setattr(django_settings, "REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        rate_limits.take(HOURLY, who)
        first = time.monotonic() - began
        assert all(rate_limits.take(HOURLY, who).is_allowed for _ in range(10))
        rest = time.monotonic() - began - first
    rate_limits._script.cache_clear()
    assert 0.4 < first < 3
    assert rest < 0.2


def test_counting_goes_back_to_redis_when_it_is_back(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    circuit = Circuit()
    monkeypatch.setattr(rate_limits, "_circuit", circuit)
    monkeypatch.setattr(rate_limits, "_PAUSE_SECONDS", 0.3)
    circuit.has_failed(redis.ConnectionError("gone"))
    assert rate_limits.take(HOURLY, who).remaining == 19  # in this process
    time.sleep(0.35)
    assert [circuit.may_ask(), circuit.may_ask()] == [True, False]
    time.sleep(0.35)

    assert rate_limits.take(HOURLY, who).remaining == 19  # in Redis, where nobody had counted
    assert rate_limits.take(HOURLY, who).remaining == 18
    assert circuit.may_ask()


@pytest.mark.django_db
def test_every_answer_tells_how_the_key_stands(caller: Caller, settings: Settings) -> None:
    settings.RATE_KEY = 100
    answers = [
        caller.get("posts"),
        caller.get("posts/post_x"),
        caller.get("posts", limit="many"),
        caller.delete("api-keys/current"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 400, 405]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"key";q=100;w=60'}
    left = [fields(answer["RateLimit"])["key"] for answer in answers]
    assert [one["r"] for one in left] == sorted((one["r"] for one in left), reverse=True)
    assert 95 <= left[0]["r"] <= 99
    assert all(1 <= one["t"] <= 4 for one in left)


@pytest.mark.django_db
def test_a_key_that_calls_too_often_is_refused_and_told_when_to_come_again(caller: Caller, platform: Platform) -> None:
    ApiKey.objects.filter(platform=platform).update(calls_per_minute=3)

    answers = [caller.get("posts") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert problem(refused) == (429, "rate_limited", [])
    assert refused.json()["violated-policies"] == ["key"]
    assert refused.json()["type"].endswith("#quota-exceeded")
    assert 1 <= int(refused["Retry-After"]) <= 20
    assert fields(refused["RateLimit"])["key"] == {"r": 0, "t": int(refused["Retry-After"])}
    other = Caller(Client(), cast.make_key(platform))
    assert other.get("posts").status_code == 200


@pytest.mark.django_db
def test_a_call_that_lacks_the_scope_counts_too(platform: Platform) -> None:
    caller = Caller(Client(), cast.make_key(platform, ["feed:rank"]))
    ApiKey.objects.filter(platform=platform).update(calls_per_minute=2)
    assert [caller.get("posts").status_code for _ in range(3)] == [403, 403, 429]


@pytest.mark.django_db
def test_an_author_posts_so_often_and_other_authors_are_none_the_worse(caller: Caller, settings: Settings) -> None:
    settings.RATE_AUTHOR = 2
    answers = [caller.send(photo(), author_id="ann") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[-1].json()["violated-policies"] == ["author"]
    assert int(answers[-1]["Retry-After"]) > 1700
    assert set(fields(answers[0]["RateLimit-Policy"])) == {"key", "author"}
    assert fields(answers[1]["RateLimit"])["author"]["r"] == 0
    assert caller.send(photo(), author_id="ben").status_code == 202
    elsewhere = Caller(Client(), cast.make_key(cast.make_platform()))
    assert elsewhere.send(photo(), author_id="ann").status_code == 202
    assert Post.objects.count() == 4


@pytest.mark.django_db
def test_a_replay_is_a_call_and_no_post_of_the_author(caller: Caller, settings: Settings) -> None:
    settings.RATE_AUTHOR = 1
    settings.RATE_KEY = 1000
    first = caller.send(photo(), idempotency_key="once")
    replays = [caller.send(photo(), idempotency_key="once") for _ in range(3)]
    assert [answer.status_code for answer in (first, *replays)] == [202] * 4
    assert {answer["Idempotency-Replayed"] for answer in replays} == {"true"}
    assert [set(fields(answer["RateLimit"])) for answer in (first, replays[0])] == [{"key", "author"}, {"key"}]
    assert fields(replays[-1]["RateLimit"])["key"]["r"] < fields(first["RateLimit"])["key"]["r"]


@pytest.mark.django_db
def test_a_post_that_is_refused_is_none_of_the_authors_and_frees_its_key(caller: Caller, settings: Settings) -> None:
    settings.RATE_AUTHOR = 1
    for _ in range(3):
        assert problem(caller.send(photo(b"text"), idempotency_key="k"))[1] == "not_an_image"
    assert caller.send(photo(), idempotency_key="k").status_code == 202
    assert caller.send(photo(), idempotency_key="l").status_code == 429
    assert not IdempotencyKey.objects.filter(key="l").exists()


@pytest.mark.django_db
def test_an_address_without_a_good_key_is_soon_refused_and_good_keys_there_are_not(
    caller: Caller, settings: Settings
) -> None:
    settings.RATE_ADDRESS = 3
    settings.TRUSTED_PROXIES = 1
    here = {"X-Forwarded-For": "198.51.100.7"}
    tries = [{}, {"Authorization": "Bearer msk_" + "a" * 43}, {"Authorization": "Basic x"}, {}]

    answers = [caller.client.get("/api/v1/posts", headers=here | header) for header in tries]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert problem(answers[-1]) == (429, "rate_limited", [])
    assert answers[-1].json()["violated-policies"] == ["address"]
    assert fields(answers[0]["RateLimit-Policy"]) == {"address": {"q": 3, "w": 60}}
    good = here | {"Authorization": f"Bearer {caller.key}"}
    assert caller.client.get("/api/v1/posts", headers=good).status_code == 200
    elsewhere = {"X-Forwarded-For": "198.51.100.8"}
    assert caller.client.get("/api/v1/posts", headers=elsewhere).status_code == 401


@pytest.mark.django_db
@pytest.mark.parametrize(("proxies", "expected"), [(0, 429), (1, 429), (2, 401)])
def test_an_address_that_is_merely_claimed_frees_nobody(
    client: Client, settings: Settings, proxies: int, expected: int
) -> None:
    """Whoever asks writes the first entries; only those of our own proxies, the last, are believed."""
    settings.RATE_ADDRESS = 2
    settings.TRUSTED_PROXIES = proxies
    peer = f"203.0.113.{proxies}"
    statuses = [
        client.get(
            "/api/v1/posts", headers={"X-Forwarded-For": f"10.0.0.{number}, {peer}"}, REMOTE_ADDR=peer
        ).status_code
        for number in range(3)
    ]
    assert statuses == [401, 401, expected]


@pytest.mark.django_db
def test_one_ipv6_network_is_one_caller(client: Client, settings: Settings) -> None:
    settings.RATE_ADDRESS = 2
    statuses = [
        client.get("/api/v1/posts", REMOTE_ADDR=address).status_code
        for address in ("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3", "2001:db8:1:3::1")
    ]
    assert statuses == [401, 401, 429, 401]


@pytest.mark.django_db
def test_the_schema_which_takes_long_to_make_is_limited_too(client: Client, settings: Settings) -> None:
    settings.RATE_ADDRESS = 1
    statuses = [client.get("/api/schema", REMOTE_ADDR="203.0.113.99").status_code for _ in range(2)]
    assert statuses == [200, 429]


@pytest.mark.django_db
@pytest.mark.usefixtures("without_redis")
def test_without_redis_a_call_is_answered_all_the_same(caller: Caller) -> None:
    assert caller.get("posts").status_code == 200
    assert "RateLimit" in caller.get("posts")


@pytest.mark.django_db
def test_counting_costs_little(who: str) -> None:
    limit = Limit("cost", 10**6, 60)
    rate_limits.take(limit, who)
    began = time.perf_counter()
    for _ in range(500):
        rate_limits.take(limit, who)
    each = (time.perf_counter() - began) / 500
    assert each < 0.005, f"{each * 1000:.2f} ms"
