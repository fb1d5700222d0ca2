"""Readiness, as a load balancer and an operator see it."""

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from mask_social import canary, health

pytestmark = pytest.mark.django_db
QUEUES = ["analysis", "default", "webhooks"]


@pytest.fixture(autouse=True)
def silent_service(monkeypatch: pytest.MonkeyPatch) -> Iterator["redis.Redis"]:
    """Have nothing been heard of."""
    monkeypatch.setattr(canary, "_listener", canary.Listener())
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete("canary.echoes")
        yield client
        client.delete("canary.echoes")


def checks(client: Client, query: str = "") -> tuple[int, dict[str, str]]:
    answer = client.get(f"/readyz{query}")
    return answer.status_code, answer.json()["checks"]


def test_a_service_whose_every_part_was_heard_of_is_ready(client: Client) -> None:
    for queue in QUEUES:
        canary.come_back(f"{queue}@test", 1, [queue])
    canary.leave_echo([canary.BEAT])
    assert checks(client) == (200, dict.fromkeys(["database", "broker", *QUEUES, "beat"], "ok"))


@pytest.mark.parametrize("missing", [*QUEUES, "beat"])
def test_a_part_that_is_missing_is_named(client: Client, missing: str) -> None:
    canary.leave_echo(name for name in [*QUEUES, "beat"] if name != missing)
    status, found = checks(client)
    assert status == 503
    assert {name for name, state in found.items() if state != "ok"} == {missing}
    assert found[missing] == "never heard of"


def test_posts_are_taken_in_while_workers_and_broker_are_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
    canary._client.cache_clear()
    try:
        assert checks(client, "?only=web") == (200, {"database": "ok"})
        status, found = checks(client)
        assert (status, found["broker"]) == (503, "ConnectionError")
        assert found["analysis"] == "unknown without the broker"
    finally:
        canary._client.cache_clear()


def test_tables_that_are_missing_are_no_readiness(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_is_migrated", False)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, nodes: [("some", False)])
    assert checks(client, "?only=web") == (503, {"database": "1 migrations to run"})


def test_a_probe_costs_no_message(client: Client, silent_service: "redis.Redis") -> None:
    before = {queue: silent_service.llen(queue) for queue in QUEUES}
    for _ in range(5):
        client.get("/readyz")
    assert {queue: silent_service.llen(queue) for queue in QUEUES} == before


class Time:
    """A monotonic clock to turn by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_echo_ages_whatever_redis_takes_for_now() -> None:
    time = Time()
    listener = canary.Listener(time)
    assert listener.ages({"analysis": "500.0"}, redis_now=502.0) == {"analysis": 2.0}
    time.now += 100
    for redis_now in (0.0, 502.0, 602.0, 900_000.0):
        assert listener.ages({"analysis": "500.0"}, redis_now) == {"analysis": 102.0}


def test_a_new_echo_is_no_older_than_the_last_look_whatever_redis_takes_for_now() -> None:
    time = Time()
    listener = canary.Listener(time)
    listener.ages({"analysis": "500.0"}, redis_now=500.0)
    time.now += 10
    assert listener.ages({"analysis": "400.0"}, redis_now=403.0) == {"analysis": 3.0}
    time.now += 10
    assert listener.ages({"analysis": "410.0"}, redis_now=1_000_000.0) == {"analysis": 10.0}


def test_an_echo_from_the_future_is_none_until_the_next() -> None:
    time = Time()
    listener = canary.Listener(time)
    assert listener.ages({"analysis": "900.0"}, redis_now=500.0) == {}
    time.now += 5
    assert listener.ages({"analysis": "505.0"}, redis_now=505.0) == {"analysis": 0.0}


def test_a_flushed_redis_forgets_nothing_that_a_web_process_heard() -> None:
    time = Time()
    listener = canary.Listener(time)
    listener.ages({"analysis": "500.0"}, redis_now=500.0)
    time.now += 4
    assert listener.ages({}, redis_now=504.0) == {"analysis": 4.0}
