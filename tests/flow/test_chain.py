"""Photo to webhook through PostgreSQL, Redis, Celery and ONNX Runtime, in processes of their own."""

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image, ImageOps

from mask_social.demo.pictures import PHOTOS
from tests.flow.analyzers import DEADLY_SIZE
from tests.flow.conftest import Scene, eventually

pytestmark = pytest.mark.flow
MASKED = PHOTOS / "surgical.jpg"
EARNED = ["badge.awarded", "boost.started", "donation.matched", "post.analyzed"]


def events_of(scene: Scene, post_id: str) -> list[dict[str, Any]]:
    return [event for event in scene.client.events() if event["data"].get("post_id") == post_id]


def test_a_masked_photo_ends_in_verified_webhooks(scene: Scene, author: str) -> None:
    post = scene.client.create_post(MASKED, author_id=author, caption="Safe")
    post = scene.finished_post(post["id"])

    assert post["status"] == "analyzed"
    assert post["verdict"]["outcome"] == "masked"
    assert [face["label"] for face in post["photos"][0]["faces"]] == ["mask"]
    assert [badge["rule"] for badge in post["rewards"]["badges"]] == ["first-mask"]
    assert post["rewards"]["boost"]["factor"] > 1
    assert post["rewards"]["match"]["status"] == "reserved"
    assert [stage["name"] for stage in post["stages"]] == [
        "upload",
        "queue",
        "decode",
        "detect",
        "classify",
        "decide",
        "reward",
    ]
    events = events_of(scene, post["id"])
    assert sorted(event["type"] for event in events) == EARNED
    assert scene.feed.wait_for([event["id"] for event in events], seconds=30) == set()
    assert scene.feed.refused == 0

    standing = scene.client.author(author)
    assert (standing["masked_posts"], [badge["rule"] for badge in standing["badges"]]) == (1, ["first-mask"])
    bare = scene.client.create_post(PHOTOS / "portrait.jpg", author_id=author, caption="")
    bare = scene.finished_post(bare["id"])
    ranking = scene.client.rank(
        [{"post_id": bare["id"], "base_score": 1.1}, {"post_id": post["id"], "base_score": 1.0}]
    )
    assert [row["post_id"] for row in ranking] == [post["id"], bare["id"]]


def test_an_unmasked_photo_earns_nothing_and_is_told_all_the_same(scene: Scene, author: str) -> None:
    post = scene.client.create_post(PHOTOS / "portrait.jpg", author_id=author, caption="")
    post = scene.finished_post(post["id"])

    assert post["verdict"]["outcome"] == "unmasked"
    assert (post["rewards"]["badges"], post["rewards"]["boost"], post["rewards"]["match"]) == ([], None, None)
    assert [event["type"] for event in events_of(scene, post["id"])] == ["post.analyzed"]


def test_killing_the_worker_in_the_middle_changes_nothing_in_the_end(scene: Scene, author: str) -> None:
    scene.gate.touch()
    post = scene.client.create_post(MASKED, author_id=author, caption="")
    eventually(scene.gate.with_suffix(".reached").exists)

    scene.stack.kill("analysis", signal.SIGKILL)
    scene.gate.unlink()
    scene.stack.restart("analysis")
    post = scene.finished_post(post["id"])

    assert post["verdict"]["outcome"] == "masked"
    assert sorted(event["type"] for event in events_of(scene, post["id"])) == EARNED
    counts = scene.shell(
        "import json; from moderation.models import *; from incentives.models import BadgeAward, Match\n"
        f"p = {post['id']!r}\n"
        "print(json.dumps([Verdict.objects.filter(post=p).count(), BadgeAward.objects.filter(verdict__post=p).count(),"
        " Match.objects.filter(post=p).count(), Analysis.objects.get(photo__post=p).attempts]))"
    )
    assert counts == [1, 1, 1, 2]


def test_a_flushed_broker_loses_nothing(scene: Scene, author: str) -> None:
    scene.gate.touch()
    held = scene.client.create_post(MASKED, author_id=author, caption="in the worker's hands")
    eventually(scene.gate.with_suffix(".reached").exists)
    queued = scene.client.create_post(MASKED, author_id=author, caption="a message in Redis alone")

    with redis.Redis.from_url(scene.stack.environment["REDIS_URL"]) as broker:
        eventually(lambda: broker.llen("analysis"))  # the control: there was something to lose
        broker.flushall()
        assert broker.llen("analysis") == 0
    scene.gate.unlink()

    for post in (held, queued):
        assert scene.finished_post(post["id"])["verdict"]["outcome"] == "masked"
        types = [event["type"] for event in events_of(scene, post["id"])]
        assert types.count("post.analyzed") == types.count("donation.matched") == 1


def test_a_photo_that_kills_its_worker_fails_and_blocks_nobody(scene: Scene, author: str, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.jpg"
    Image.new("RGB", DEADLY_SIZE, "teal").save(deadly)

    doomed = scene.client.create_post(deadly, author_id=author, caption="")
    fine = scene.client.create_post(MASKED, author_id=author, caption="")

    assert scene.finished_post(fine["id"])["verdict"]["outcome"] == "masked"
    doomed = scene.finished_post(doomed["id"])
    assert (doomed["status"], doomed["verdict"]) == ("failed", None)
    assert doomed["photos"][0]["failure"]["code"] == "worker_lost"
    assert [event["type"] for event in events_of(scene, doomed["id"])] == ["post.failed"]
    attempts = scene.shell(
        f"from moderation.models import Analysis\nprint(Analysis.objects.get(photo__post={doomed['id']!r}).attempts)"
    )
    assert attempts == 3


def test_two_hundred_posts_at_once_cannot_overdraw_a_budget_for_fifty(scene: Scene, author: str) -> None:
    campaign = scene.shell(
        "from django.utils import timezone; from incentives import campaigns; from incentives.models import *\n"
        "[campaigns.pause(c) for c in Campaign.objects.filter(status='active')]\n"
        "c = Campaign(name='Fifty', sponsor=Sponsor.objects.create(name='S'), cause='Masks', currency='EUR',"
        " budget_minor=50 * 70, amount_minor=70)\n"
        "campaigns.create_campaign(c, None, timezone.now()); campaigns.activate(c, timezone.now())\n"
        "import json; print(json.dumps(c.id))"
    )
    try:
        with ThreadPoolExecutor(16) as pool:
            ids = list(
                pool.map(
                    lambda number: scene.client.create_post(
                        MASKED, author_id=f"{author}-{number % 20}", caption=str(number)
                    )["id"],
                    range(200),
                )
            )
            posts = list(pool.map(scene.finished_post, ids))
    finally:
        scene.shell(
            "from incentives.models import Campaign\n"
            "Campaign.objects.filter(status='paused').update(status='active')\n"
            f"print(Campaign.objects.filter(pk={campaign!r}).update(status='ended'))"
        )

    assert Counter(post["verdict"]["outcome"] for post in posts) == {"masked": 200}
    matched = [post for post in posts if post["rewards"]["match"]]
    assert len(matched) == 50
    [row] = [row for row in scene.client.campaigns() if row["id"] == campaign]
    assert (row["committed_minor"], row["left_minor"]) == (50 * 70, 0)


def test_a_repeat_by_somebody_else_earns_nothing_and_is_told_why(scene: Scene, author: str, tmp_path: Path) -> None:
    for name in ("gps.jpg", "crowd.jpg"):  # turned over they are photos that no other test posts
        with Image.open(PHOTOS / name) as picture:
            ImageOps.mirror(picture).save(tmp_path / name)
    scene.judge_duplicates(True)
    try:
        posts = []
        for name, photo in (("first", "gps.jpg"), ("second", "gps.jpg"), ("third", "crowd.jpg")):
            post = scene.client.create_post(tmp_path / photo, author_id=f"{author}-{name}", caption="")
            posts.append(scene.finished_post(post["id"]))
    finally:
        scene.judge_duplicates(False)

    assert [post["rewards"]["donation"]["reason"] for post in posts] == ["matched", "near_duplicate", "matched"]
    assert [bool(post["rewards"]["boost"]) for post in posts] == [True, False, True]
    assert [event["type"] for event in events_of(scene, posts[1]["id"])] == ["post.analyzed", "donation.declined"]


def test_withdrawing_takes_everything_back_in_one_cause(scene: Scene, author: str) -> None:
    post = scene.client.create_post(MASKED, author_id=author, caption="")
    scene.finished_post(post["id"])

    scene.client.withdraw(post["id"])

    def taken_back() -> list[dict[str, Any]]:
        events = events_of(scene, post["id"])
        return [event for event in events if event["causation_id"] == events[-1]["causation_id"]]

    eventually(lambda: taken_back()[-1]["type"] == "boost.ended")
    types = [event["type"] for event in taken_back()]
    assert types == ["post.withdrawn", "badge.revoked", "donation.voided", "boost.ended"]
    standing = scene.client.author(author)
    assert (standing["masked_posts"], standing["badges"], standing["matched"]) == (0, [], [])
    scene.manage("prove_ledgers")
