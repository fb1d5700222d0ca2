"""What a platform reads of its posts."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from moderation import analysis, inference
from moderation.extensions import post_sections
from moderation.models import Platform, Post
from moderation.tasks import analysis_terms
from tests import cast
from tests.moderation.calls import Caller, photo, problem


@pytest.fixture(autouse=True)
def no_sections() -> Iterator[None]:
    """Look at what is ours; other apps test their own sections."""
    registered = list(post_sections)
    post_sections.clear()
    yield
    post_sections.extend(registered)


@pytest.mark.django_db
def test_a_new_post_is_told_in_full(caller: Caller) -> None:
    response = caller.send(photo(), photo(), caption="Hi", region="US-CA")

    assert response.status_code == 202
    body = response.json()
    assert response["Location"] == f"/api/v1/posts/{body['id']}"
    assert {name: body[name] for name in ("author_id", "caption", "region", "status", "completed_at", "verdict")} == {
        "author_id": "ann",
        "caption": "Hi",
        "region": "US-CA",
        "status": "pending",
        "completed_at": None,
        "verdict": None,
    }
    assert [(row["position"], row["status"], row["faces"]) for row in body["photos"]] == [
        (0, "pending", []),
        (1, "pending", []),
    ]
    assert [stage["name"] for stage in body["stages"]] == ["upload", "queue", "decode", "detect", "classify", "decide"]
    assert body["stages"][0]["ms"] > 0
    assert [stage["ms"] for stage in body["stages"][1:]] == [None] * 5
    assert caller.get(f"posts/{body['id']}").json() == body


@pytest.mark.django_db
def test_an_analyzed_post_shows_faces_verdict_and_times(caller: Caller, settings: Settings) -> None:
    settings.ANALYZER = "tests.moderation.analyzers.Foreseen"
    inference.reset()
    post_id = caller.send(photo()).json()["id"]
    for row in Post.objects.get(pk=post_id).photos.all():
        analysis.run(row.pk, analysis_terms())

    body = caller.get(f"posts/{post_id}").json()

    assert body["status"] == "analyzed"
    [shown] = body["photos"]
    assert shown["faces"] == [
        {
            "xyxy": [10.0, 8.0, 40.0, 44.0],
            "score": 1.0,
            "label": "mask",
            "probabilities": {"mask": 0.97, "no_mask": 0.01, "incorrect": 0.01, "occluded": 0.01},
        }
    ]
    assert (shown["status"], shown["failure"], shown["width"], shown["height"]) == ("done", None, 64, 48)
    assert shown["timings"] == {"decode_ms": 1.5, "detect_ms": 20.25, "classify_ms": 3.0}
    verdict = body["verdict"]
    assert (verdict["outcome"], verdict["source"], verdict["policy_version"]) == ("masked", "model", 1)
    assert verdict["models"] == {"detector": "d" * 64, "classifier": "c" * 64}
    assert all(stage["ms"] is not None for stage in body["stages"])


@pytest.mark.django_db
def test_a_failed_photo_says_why(caller: Caller, platform: Platform) -> None:
    post = cast.make_post(cast.make_author(platform))
    held = analysis.claim(post.photos.get().pk, analysis_terms())
    assert held is not None
    analysis.fail(held, analysis.Failure("truncated_image", "The photo is cut short."))

    body = caller.get(f"posts/{post.pk}").json()

    assert (body["status"], body["verdict"]) == ("failed", None)
    assert body["photos"][0]["failure"] == {"code": "truncated_image", "detail": "The photo is cut short."}


@pytest.mark.django_db
@pytest.mark.parametrize("wait", ["-1", "31", "soon", "nan", "inf", ""])
def test_a_wait_out_of_range_is_refused(caller: Caller, platform: Platform, wait: str) -> None:
    post = cast.make_post(cast.make_author(platform))

    assert problem(caller.get(f"posts/{post.pk}", wait=wait)) == (400, "invalid_wait", ["/wait"])


@pytest.mark.django_db
def test_waiting_ends_when_the_time_is_up(caller: Caller, platform: Platform) -> None:
    post = cast.make_post(cast.make_author(platform))
    started = time.monotonic()

    assert caller.get(f"posts/{post.pk}", wait="0.4").json()["status"] == "pending"

    assert 0.4 <= time.monotonic() - started < 2


@pytest.mark.django_db(transaction=True)
def test_waiting_ends_with_the_verdict(caller: Caller, platform: Platform) -> None:
    post = cast.make_post(cast.make_author(platform))

    def decide() -> None:
        Post.objects.filter(pk=post.pk).update(status="analyzed", completed_at=post.created_at)
        connection.close()

    threading.Timer(0.3, decide).start()
    started = time.monotonic()

    assert caller.get(f"posts/{post.pk}", wait="20").json()["status"] == "analyzed"

    assert time.monotonic() - started < 5


@pytest.mark.django_db
def test_a_list_pages_from_the_newest_to_the_oldest(caller: Caller, platform: Platform) -> None:
    author = cast.make_author(platform, "ann")
    ids = [cast.make_post(author, outcome="masked").pk for _ in range(5)]
    seen: list[str] = []
    query = {"limit": "2"}

    while True:
        page = caller.get("posts", **query).json()
        assert len(page["data"]) <= 2
        seen += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]

    assert seen == ids[::-1]
    assert page["data"][0]["outcome"] == "masked"


@pytest.mark.django_db
def test_a_list_is_narrowed_by_author_and_status(caller: Caller, platform: Platform) -> None:
    ann, bob = cast.make_author(platform, "ann"), cast.make_author(platform, "bob")
    mine, _ = cast.make_post(ann), cast.make_post(bob)
    done = cast.make_post(ann, outcome="unmasked")

    def ids(**query: str) -> list[str]:
        return [row["id"] for row in caller.get("posts", **query).json()["data"]]

    assert ids(author_id="ann") == [done.pk, mine.pk]
    assert ids(author_id="ann", status="pending") == [mine.pk]
    assert ids(author_id="nobody") == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "101"}, "invalid_limit"),
        ({"limit": "many"}, "invalid_limit"),
        ({"after": "???"}, "invalid_cursor"),
        ({"after": "WzFd"}, "invalid_cursor"),
        ({"after": "WyJcdTAwMDAiXQ"}, "invalid_cursor"),
        ({"status": "gone"}, "invalid_status"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(caller: Caller, query: dict[str, str], code: str) -> None:
    assert problem(caller.get("posts", **query)) == (400, code, [f"/{next(iter(query))}"])


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["post", "list"])
def test_the_number_of_queries_does_not_grow_with_what_is_shown(caller: Caller, platform: Platform, what: str) -> None:
    author = cast.make_author(platform)

    def queries(photos: int, posts: int) -> int:
        made = [
            cast.make_post(author, outcome="masked", photos=[[{"mask": 1.0}] * photos] * photos) for _ in range(posts)
        ]
        path = f"posts/{made[-1].pk}" if what == "post" else "posts"
        caller.get(path)
        with CaptureQueriesContext(connection) as captured:
            assert caller.get(path).status_code == 200
        return len(captured)

    assert queries(1, 1) == queries(4, 6)


@pytest.mark.django_db
def test_withdrawing_is_final_and_may_be_repeated(caller: Caller, platform: Platform) -> None:
    post = cast.make_post(cast.make_author(platform), outcome="masked")
    completed_at = post.completed_at

    assert caller.delete(f"posts/{post.pk}").status_code == 204
    assert caller.delete(f"posts/{post.pk}").status_code == 204

    post.refresh_from_db()
    assert (post.status, post.completed_at) == ("withdrawn", completed_at)
    assert post.withdrawn_at is not None
    assert post.outcome == "masked", "what it was is still known"
    assert caller.get(f"posts/{post.pk}").json()["status"] == "withdrawn"


@pytest.mark.django_db
def test_withdrawing_is_told_once_to_the_layer_above(platform: Platform, caller: Caller) -> None:
    from moderation import signals

    heard: list[str] = []
    hear: Callable[..., None] = lambda post_id, **_: heard.append(post_id)  # noqa: E731 - a receiver of one line
    signals.post_withdrawn.connect(hear)
    post = cast.make_post(cast.make_author(platform))

    caller.delete(f"posts/{post.pk}")
    caller.delete(f"posts/{post.pk}")

    assert heard == [post.pk]
