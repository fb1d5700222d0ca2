"""One id from the request to the webhook, in the lines of every process on the way."""

import json
import urllib.parse
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
import urllib3

from mask_social.demo.pictures import PHOTOS
from tests.flow.conftest import Scene, eventually

pytestmark = pytest.mark.flow
PROCESSES = ("web", "analysis", "default", "webhooks")
CAPTION = "a caption that nobody should find in a log"


def post(scene: Scene, author: str, request_id: str) -> str:
    """Send a masked photo under an id of our own; return the post's."""
    photo = PHOTOS / "surgical.jpg"
    answer = urllib3.request(
        "POST",
        f"{scene.stack.url}/api/v1/posts",
        fields={"author_id": author, "caption": CAPTION, "photos": (photo.name, photo.read_bytes())},
        headers={"Authorization": key_of(scene), "X-Request-Id": request_id, "Idempotency-Key": request_id},
    )
    assert answer.status == 202, answer.data
    assert answer.headers["X-Request-Id"] == request_id
    found: str = answer.json()["id"]
    return found


def key_of(scene: Scene) -> str:
    return scene.client._headers["Authorization"]


def lines(scene: Scene, process: str) -> Iterator[dict[str, Any]]:
    for line in (scene.stack.var / "log" / f"{process}.log").read_text().splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def told_of(scene: Scene, request_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return what each process logged about a request."""
    return {name: [row for row in lines(scene, name) if row.get("request_id") == request_id] for name in PROCESSES}


def arrived(scene: Scene, request_id: str, post_id: str) -> bool:
    attempts = [row for row in told_of(scene, request_id)["webhooks"] if row.get("post_id") == post_id]
    return "post.analyzed" in {row["event_type"] for row in attempts}


def test_one_id_is_in_every_log_also_when_the_message_is_lost(scene: Scene, author: str) -> None:
    ids = {"kept": f"{author}.kept", "lost": f"{author}.lost"}
    scene.gate.touch()
    posts: dict[str, str] = {"kept": post(scene, author, ids["kept"])}
    eventually(scene.gate.with_suffix(".reached").exists)
    posts["lost"] = post(scene, author, ids["lost"])
    with redis.Redis.from_url(scene.stack.environment["REDIS_URL"]) as broker:
        eventually(lambda: broker.llen("analysis"))  # the control: there was something to lose
        broker.flushall()
    scene.gate.unlink()

    for name, post_id in posts.items():
        scene.finished_post(post_id)
        events = {event["id"] for event in scene.client.events()}
        assert scene.feed.wait_for(events, seconds=30) == set()
        eventually(partial(arrived, scene, ids[name], post_id))
        told = told_of(scene, ids[name])
        assert [(row["path"], row["status"]) for row in told["web"]] == [("/api/v1/posts", 202)]
        assert {row["platform"] for row in told["web"]} == {"local"}
        assert [row["task"] for row in told["analysis"] if row["logger"] == "mask_social.task"] == [
            "moderation.tasks.analyze_photo"
        ]
        verdicts = [row for row in told["analysis"] if row.get("verdict_id")]
        assert [(row["outcome"], row["platform"]) for row in verdicts] == [("masked", "local")]
        assert {row["post_id"] for row in told["default"] if "verdict_id" in row} == {post_id}
        attempts = [row for row in told["webhooks"] if "delivery_id" in row]
        assert {"post.analyzed", "donation.matched"} <= {row["event_type"] for row in attempts}
        assert {row["outcome"] for row in attempts} == {"delivered"}
        for row in (row for rows in told.values() for row in rows):
            assert {"time", "level", "logger", "message"} <= row.keys()


def test_no_log_holds_a_key_a_secret_or_a_caption(scene: Scene, author: str) -> None:
    post_id = post(scene, author, f"{author}.secret")
    scene.finished_post(post_id)
    bad = urllib3.request(
        "GET", f"{scene.stack.url}/api/v1/posts/{post_id}?key=in-the-query", headers={"Authorization": "Bearer msk_bad"}
    )
    assert bad.status == 401
    secrets = scene.shell(
        "import json\nfrom incentives.models import SigningKey\n"
        "print(json.dumps(list(SigningKey.objects.values_list('secret', flat=True))))"
    )
    names = scene.shell(
        "import json\nfrom moderation.models import Photo\n"
        f"print(json.dumps(list(Photo.objects.filter(post={post_id!r}).values_list('file', flat=True))))"
    )
    database = urllib.parse.urlsplit(scene.stack.environment["DATABASE_URL"]).password
    hidden = [key_of(scene), key_of(scene).removeprefix("Bearer "), CAPTION, "msk_bad", "in-the-query", scene.password]
    hidden += [*secrets, *names, *([database] if database else [])]
    assert len(hidden) > 8
    logs = {path.name: path.read_text() for path in (scene.stack.var / "log").glob("*.log")}
    assert post_id in logs["web.log"] + logs["analysis.log"]  # the control: these are the logs
    for name, text in logs.items():
        assert [word for word in hidden if word in text] == [], name


def test_the_web_tells_of_all_processes(scene: Scene, author: str) -> None:
    scene.finished_post(post(scene, author, f"{author}.counted"))

    def told() -> str:
        return urllib3.request("GET", f"{scene.stack.url}/metrics").data.decode()

    eventually(lambda: 'mask_social_webhook_attempts_total{outcome="delivered"}' in told())
    text = told()
    for line in (
        'mask_social_verdicts_total{outcome="masked",source="model"}',
        'mask_social_tasks_total{outcome="success",task="moderation.tasks.analyze_photo"}',
        'mask_social_post_latency_seconds_count{until="verdict"}',
        'mask_social_post_latency_seconds_count{until="rewards"}',
        'mask_social_post_latency_seconds_count{until="webhook"}',
        'mask_social_http_requests_total{method="POST",route="posts",status="202"}',
        *(f'mask_social_process_starts_total{{process="{name}"}}' for name in (*PROCESSES, "beat")),
    ):
        assert line in text, line
