"""What Prometheus is told: by whom it may be asked, that it is well formed, true of all processes, and bounded."""

import json
import math
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY, Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from incentives import events
from incentives import observed as incentives_observed
from incentives.models import Campaign, Delivery, Event, LedgerProof, PendingChange
from mask_social import __version__, canary, clock, ids
from mask_social.observability import exposition, metrics, state, work
from moderation import observed as moderation_observed
from moderation.models import Analysis
from tests import cast
from tests.incentives import builders

BASE = Path(__file__).resolve().parents[2]
UNITS = ("_seconds", "_bytes", "_minor_units", "_info", "_total")
Ask = Callable[..., dict[str, Metric]]


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see what another has read."""
    monkeypatch.setattr(exposition, "_state", state.StateCollector())


@pytest.fixture
def ask(client: Client) -> Ask:
    """Scrape, and read what came as Prometheus would."""

    def scrape(**headers: str) -> dict[str, Metric]:
        answer = client.get("/metrics", headers=headers)
        assert answer.status_code == 200, answer.content
        return parse(answer.content.decode())

    return scrape


def parse(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the one sample with this name and these labels."""
    for family in families.values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"{name} {labels} is not told")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic right"}, 401),
        ({"authorization": "Bearer right"}, 200),
        ({"authorization": "bearer right", "x-forwarded-for": "8.8.8.8"}, 200),
    ],
)
def test_it_wants_the_token_where_one_is_set(
    client: Client, settings: Settings, sent: dict[str, str], status: int
) -> None:
    settings.METRICS_TOKEN = "right"
    answer = client.get("/metrics", headers=sent)
    assert answer.status_code == status
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    assert (b"mask_social_" in answer.content) == (status == 200)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "status"),
    [
        *((near, 200) for near in ("127.0.0.1", "::1", "10.1.2.3", "::ffff:192.168.0.9", "fd00::1")),
        *((far, 403) for far in ("8.8.8.8", "2001:4860::1", "::ffff:8.8.8.8", "")),
    ],
)
def test_without_a_token_only_neighbours_are_answered(client: Client, address: str, status: int) -> None:
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == status


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "forwarded", "via"])
def test_what_comes_through_a_proxy_is_no_neighbour(client: Client, header: str) -> None:
    assert client.get("/metrics", headers={header: "10.0.0.1"}).status_code == 403


@pytest.mark.django_db
def test_it_answers_by_any_name_and_changes_nothing(client: Client) -> None:
    assert client.get("/metrics", headers={"host": "172.18.0.7:8000"}).status_code == 200
    assert client.get("/healthz", headers={"host": "172.18.0.7:8000"}).status_code == 400
    assert client.post("/metrics").status_code == 405


@pytest.mark.django_db
def test_names_units_and_help_are_as_prometheus_asks(ask: Ask) -> None:
    families = ask()
    assert len(families) > 25
    for name, family in families.items():
        assert re.fullmatch(r"mask_social_[a-z0-9_]+", name), name
        assert family.documentation.strip().endswith((".", "1.")) or "; " in family.documentation, name
        assert family.type != "unknown", name
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels), sample
            assert ("_total" in sample.name) == (family.type == "counter"), sample
        if family.type == "histogram" or re.search(r"_(latency|duration|age|timestamp|memory|budget)(_|$)", name):
            assert name.endswith(UNITS), name


@pytest.mark.django_db
def test_a_label_never_holds_what_grows_with_use(ask: Ask, client: Client) -> None:
    """Two hundred odd addresses and methods add no line but one each."""

    def labels() -> set[tuple[str, ...]]:
        return {
            tuple(sample.labels[name] for name in ("route", "method", "status"))
            for sample in ask()["mask_social_http_requests"].samples
            if sample.name.endswith("_total")
        }

    client.get("/nowhere")
    client.generic("BREW", "/nowhere")
    before = labels()
    for number in range(100):
        client.get(f"/nowhere/{number}")
        client.get(f"/api/v1/posts/post_{number}")
        client.generic(f"BREW{number}", "/nowhere")
    assert {route for route, _, _ in labels() - before} <= {"post", "unmatched"}
    assert len(labels() - before) <= 2


@pytest.mark.django_db
def test_queues_tell_how_much_waits_and_for_how_long(ask: Ask) -> None:
    now = clock.now()
    post = cast.make_post()
    Analysis.objects.filter(photo__post=post).update(queued_at=now - timedelta(seconds=90))
    type(post).objects.filter(pk=post.pk).update(created_at=now - timedelta(seconds=100))
    judged = cast.make_post(outcome="masked")
    PendingChange.objects.create(post=judged, causation_id="x", created_at=now - timedelta(seconds=40))
    endpoint = builders.make_endpoint(judged.platform)
    paused = builders.make_endpoint(judged.platform, paused_until=now + timedelta(minutes=5))
    disabled = builders.make_endpoint(judged.platform, status="disabled")
    make_deliveries(endpoint, due_at=now - timedelta(seconds=20), count=2)
    make_deliveries(endpoint, due_at=now + timedelta(hours=3), count=4)  # waits for its next try
    make_deliveries(paused, due_at=now - timedelta(hours=1), count=8)
    make_deliveries(disabled, due_at=now - timedelta(hours=1), count=16, status=Delivery.Status.HELD)

    families = ask()
    told: dict[str, Any] = {
        name: (
            value(families, "mask_social_queue_depth", queue=name),
            value(families, "mask_social_queue_oldest_age_seconds", queue=name),
        )
        for name in ("analysis", "rewards", "webhooks")
    }
    assert told == {
        "analysis": (1, pytest.approx(90, abs=5)),
        "rewards": (1, pytest.approx(40, abs=5)),
        "webhooks": (2, pytest.approx(20, abs=5)),
    }
    assert value(families, "mask_social_post_oldest_undecided_age_seconds") == pytest.approx(100, abs=5)
    assert value(families, "mask_social_webhook_deliveries_held") == 16
    endpoints = {s.labels["state"]: s.value for s in families["mask_social_webhook_endpoints"].samples}
    assert endpoints == {"active": 2, "failing": 0, "paused": 1, "disabled": 1, "disabled_as_failing": 0}


def make_deliveries(endpoint: Any, *, due_at: Any, count: int, status: str = Delivery.Status.PENDING) -> None:
    for _ in range(count):
        with transaction.atomic():
            event = events.record(Event.Type.ENDPOINT_TEST, endpoint, {})
        Delivery.objects.filter(event=event).exclude(endpoint=endpoint).delete()
        Delivery.objects.update_or_create(event=event, endpoint=endpoint, defaults={"due_at": due_at, "status": status})


@pytest.mark.django_db
def test_it_tells_which_models_spoke_last(ask: Ask) -> None:
    cast.make_post(outcome="masked")
    models = ask()["mask_social_model_info"].samples
    assert {(s.labels["part"], s.labels["digest"]) for s in models} == {
        ("detector", cast.DETECTOR),
        ("classifier", cast.CLASSIFIER),
    }


@pytest.mark.django_db
def test_it_tells_of_the_campaigns_with_the_least_left_and_of_no_more(ask: Ask) -> None:
    Campaign.objects.update(status=Campaign.Status.PAUSED)
    for number in range(incentives_observed.SHOWN_CAMPAIGNS + 5):
        campaign = builders.make_campaign(name=f"campaign {number}")
        type(campaign).objects.filter(pk=campaign.pk).update(committed_minor=number * 100)
    families = ask()
    shown = families["mask_social_campaign_promised_minor_units"].samples
    assert len(shown) == incentives_observed.SHOWN_CAMPAIGNS
    assert min(sample.value for sample in shown) == 500
    assert {sample.labels["currency"] for sample in shown} == {"EUR"}
    assert value(families, "mask_social_campaigns", status="active") == incentives_observed.SHOWN_CAMPAIGNS + 5


@pytest.mark.django_db
def test_it_tells_of_books_that_do_not_agree_until_they_do(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = builders.make_campaign()
    sums = dict.fromkeys(("entries", "budget_minor", "reserved_minor", "settled_minor"), 0)
    sums |= dict.fromkeys(("voided_minor", "refunded_minor"), 0)
    LedgerProof.objects.create(campaign=campaign, problems=["a cent is missing"], **sums)
    assert value(ask(), "mask_social_ledger_disproved_campaigns") == 1
    LedgerProof.objects.create(campaign=campaign, **sums)
    monkeypatch.setattr(exposition, "_state", state.StateCollector())
    families = ask()
    assert value(families, "mask_social_ledger_disproved_campaigns") == 0
    assert value(families, "mask_social_ledger_proof_timestamp_seconds") == pytest.approx(time.time(), abs=60)


@pytest.mark.django_db
def test_a_part_that_cannot_be_read_leaves_the_rest_standing(ask: Ask, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    readers = [state.Reader("broken", lambda: broken()), *state._readers]

    def broken() -> state.Reading:
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM moderation_post")
        raise AssertionError("unreachable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "_readers", readers)
        families = ask()
    up = {sample.labels["part"]: sample.value for sample in families["mask_social_state_up"].samples}
    assert up == {"broken": 0, "moderation": 1, "incentives": 1, "broker": 0}
    assert value(families, "mask_social_queue_depth", queue="analysis") == 0


@pytest.mark.django_db
def test_a_query_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> state.Reading:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        return state.Reading()

    monkeypatch.setattr(state, "_readers", [state.Reader("slow", slow)])
    monkeypatch.setattr(state, "_STATEMENT_MILLISECONDS", 200)
    began = time.monotonic()
    families = {family.name: family for family in state.StateCollector().collect()}
    assert time.monotonic() - began < 5
    assert {s.labels["part"]: s.value for s in families["mask_social_state_up"].samples} == {"slow": 0, "broker": 1}


@pytest.mark.django_db
def test_scrapes_in_quick_succession_ask_the_database_once(ask: Ask) -> None:
    ask()
    with CaptureQueriesContext(connection) as queries:
        ask()
    assert len(queries) == 0


def test_a_worker_never_heard_of_is_silent_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "ages", lambda: {"analysis": 3.0})
    silence = next(m for m in state._broker().others if m.name == "mask_social_canary_age_seconds")
    assert {s.labels["of"]: s.value for s in silence.samples} == {
        "analysis": 3.0,
        "default": math.inf,
        "webhooks": math.inf,
        "beat": math.inf,
    }


def test_the_age_of_a_post_is_in_its_id() -> None:
    assert time.time() - ids.made_at(ids.new_id("post")) == pytest.approx(0, abs=1)


def test_numbers_of_others_that_load_prometheus_client_are_not_mixed_in() -> None:
    ours = {name for family in metrics.OWN.collect() for name in [family.name]}
    assert ours.isdisjoint({family.name for family in REGISTRY.collect()})


COUNTING = """
import os, sys, time
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from mask_social.observability import metrics
role, times = sys.argv[2], int(sys.argv[3])
if role == "forks":
    for _ in range(2):
        if os.fork() == 0:
            role = "child"
            break
metrics.begin(role)
for _ in range(times):
    metrics.PHOTOS.inc()
    metrics.TASKS.labels("a.task", "success").inc()
os.write(1, b"counted\\n")
sys.stdin.read()
"""
READING = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from prometheus_client import generate_latest
from mask_social.observability import metrics
print(generate_latest(metrics.registry()).decode())
"""


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Callable[[str, int], subprocess.Popen[str]]]:
    """Start processes that count into one folder."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, times: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, str(tmp_path), role, str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BASE,
        )
        started.append(process)
        assert process.stdout is not None
        for _ in range(3 if role == "forks" else 1):
            assert process.stdout.readline() == "counted\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(folder: Path) -> dict[str, Metric]:
    done = subprocess.run(
        [sys.executable, "-c", READING, str(folder)], check=True, capture_output=True, text=True, cwd=BASE
    )
    return parse(done.stdout)


def test_all_processes_of_a_machine_are_added_up_and_the_dead_stay_counted(
    tmp_path: Path, counting: Callable[[str, int], subprocess.Popen[str]]
) -> None:
    first, second = counting("web", 3), counting("analysis", 4)
    counting("forks", 5)
    families = read(tmp_path)
    assert value(families, "mask_social_photos_analyzed_total") == 3 + 4 + 3 * 5
    assert value(families, "mask_social_process_starts_total", process="child") == 2
    assert len(families["mask_social_process_resident_memory_bytes"].samples) == 5
    files = set(tmp_path.glob("counter_*.db"))

    for process in (first, second):
        process.kill()
        process.wait()
    families = read(tmp_path)
    assert value(families, "mask_social_photos_analyzed_total") == 22
    living = families["mask_social_process_resident_memory_bytes"].samples
    assert {sample.labels["process"] for sample in living} == {"forks", "child"}

    counting("web", 10)  # takes the number of a dead one, and goes on from there
    assert value(read(tmp_path), "mask_social_photos_analyzed_total") == 32
    assert len(set(tmp_path.glob("counter_*.db")) - files) <= 1  # the reader's


def test_a_worker_shows_its_numbers_at_a_port_of_its_own() -> None:
    server = exposition.serve(0, "right")
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        answer = urllib3.request("GET", f"{url}/metrics", headers={"Authorization": "Bearer right"})
        assert "mask_social_tasks" in parse(answer.data.decode())
        assert urllib3.request("GET", f"{url}/metrics").status == 401
        assert urllib3.request("GET", url).status == 404
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.django_db(transaction=True)
def test_state_is_read_by_indexes_however_many_rows_there_are() -> None:
    """No table that grows with posts is read from end to end; docs/operations.md has the times over a million."""
    with connection.cursor() as cursor:
        for read_part in (moderation_observed.read, incentives_observed.read):
            with CaptureQueriesContext(connection) as queries:
                read_part()
            for query in queries.captured_queries:
                cursor.execute("SET enable_seqscan = off")
                cursor.execute(f"EXPLAIN (FORMAT JSON) {query['sql']}")
                plan = json.dumps(cursor.fetchone()[0])
                cursor.execute("RESET enable_seqscan")
                for table in ("moderation_post", "moderation_analysis", "moderation_verdict", "incentives_delivery"):
                    assert not re.search(rf'"Node Type": "Seq Scan"[^}}]*"Relation Name": "{table}"', plan), plan


def test_a_port_that_is_taken_does_not_keep_a_worker_from_working(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def taken(port: int, token: str) -> None:
        raise OSError("Address already in use")

    class Pool:
        pass

    Pool.__module__ = "celery.concurrency.prefork"
    queues = type("Queues", (), {"consume_from": {"analysis": None, "canary.analysis@host": None}})
    worker = type("Worker", (), {"pool_cls": Pool})()
    worker.app = type("App", (), {"amqp": type("Amqp", (), {"queues": queues})})
    settings.WORKER_METRICS_PORT = 9100
    monkeypatch.setattr(exposition, "serve", taken)
    monkeypatch.setattr(work, "_role", "")
    work.begin_worker(instance=worker)
    assert "cannot be shown at port 9100" in caplog.text
    assert work._role == "analysis"  # for its children, and without the canary's queue, which names a host


def test_the_version_that_is_told_is_the_packages() -> None:
    package = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]
    assert __version__ == package["version"]
    assert f"MASK_SOCIAL_VERSION:-{__version__}" in (BASE / "docker-compose.yml").read_text()
