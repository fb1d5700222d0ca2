"""What the service does over large tables: the calls of platforms, the sweeps of beat, the rare and the nightly."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from django.test import Client

from incentives import campaigns, donations, events, figures, proof, rewards
from incentives.growth.rows import World
from incentives.models import Event
from moderation import analysis, pagination
from moderation.models import Analysis, Author, Photo, Post, Verdict
from moderation.tasks import analysis_terms

Work = tuple[str, Callable[[], object]]
LOST = 100


class WorkError(Exception):
    """A call was not answered as it should be."""


def works(world: World) -> Iterator[Work]:
    """Yield what is measured, by name."""
    yield from _calls(world)
    yield from _sweeps(world)
    yield from _nightly(world)


def _calls(world: World) -> Iterator[Work]:
    client = Client(SERVER_NAME="localhost")
    headers = {"Authorization": f"Bearer {world.key}"}

    def get(path: str, **query: str) -> None:
        answer = client.get(f"/api/v1/{path}", query, headers=headers)
        if answer.status_code != 200:
            raise WorkError(f"{path}: {answer.status_code}")

    posts = Post.objects.filter(platform=world.platform)
    newest = posts.order_by("-pk").select_related("author").first()
    told = Event.objects.filter(platform=world.platform).order_by("position")
    first, last = told.first(), told.last()
    if newest is None or first is None or last is None:
        raise WorkError("There are no rows.")
    middle = told.filter(position__gte=(first.position + last.position) // 2).first() or last
    yield "the newest posts", lambda: get("posts")
    yield "posts, far back", lambda: get("posts", after=pagination.encode([_middle_post(world)]))
    yield "an author's posts", lambda: get("posts", author_id=newest.author.external_id)
    yield "failed posts (there are none)", lambda: get("posts", status="failed")
    yield "a post in full", lambda: get(f"posts/{newest.pk}")
    yield "an author's standing", lambda: get(f"authors/{newest.author.external_id}")
    yield "campaigns with what is left", lambda: get("campaigns")
    for name, event in (("from the first", first), ("from the middle", middle), ("the latest", last)):
        cursor = pagination.encode((event.transaction_id, event.position))
        yield f"events, {name}", lambda cursor=cursor: get("events", after=cursor)  # type: ignore[misc]
    candidates = list(posts.order_by("-pk").values_list("pk", flat=True)[:100])
    yield "a ranking of 100", lambda: _rank(client, headers, candidates)


def _rank(client: Client, headers: dict[str, str], post_ids: list[str]) -> None:
    body = {"candidates": [{"post_id": post_id, "base_score": 0.5} for post_id in post_ids]}
    answer = client.post("/api/v1/feed/rank", body, content_type="application/json", headers=headers)
    if answer.status_code != 200:
        raise WorkError(f"feed/rank: {answer.status_code}")


def _middle_post(world: World) -> str:
    oldest, newest = (
        Post.objects.filter(platform=world.platform).order_by(order).values_list("created_at", flat=True)[0]
        for order in ("created_at", "-created_at")
    )
    half = oldest + (newest - oldest) / 2
    return Post.objects.filter(created_at__gte=half).order_by("created_at").values_list("pk", flat=True)[0]


def _sweeps(world: World) -> Iterator[Work]:
    now = world.now
    author = Author.objects.filter(platform=world.platform).order_by("-pk")[0]

    def lose(number: int) -> None:
        """Leave photos behind that no worker was told of."""
        for _ in range(number):
            post = Post.objects.create(platform=world.platform, author=author)
            photo = Photo.objects.create(post=post, position=0, digest="p", width=9, height=9, size=9)
            Analysis.objects.create(photo=photo, requeue_at=now - timedelta(hours=1))

    def sweep() -> None:
        lose(LOST)
        analysis.sweep(analysis_terms())

    def judged() -> Verdict:
        post = Post.objects.create(
            platform=world.platform,
            author=author,
            region="DE",
            status=Post.Status.ANALYZED,
            completed_at=now,
            outcome=Verdict.Outcome.MASKED,
        )
        return Verdict.objects.create(
            post=post,
            sequence=1,
            outcome=Verdict.Outcome.MASKED,
            source=Verdict.Source.MODEL,
            policy=world.policy,
            detector_digest="d",
            classifier_digest="c",
            photo_digests=["p"],
        )

    def tell(number: int) -> None:
        for _ in range(number):
            events.record(Event.Type.ENDPOINT_TEST, world.endpoint, {})

    yield "the rewards of a masked post", lambda: rewards.apply_verdict(judged().pk)
    yield f"requeue {LOST} lost analyses", sweep
    yield "look for lost rewards", lambda: rewards.sweep(now)
    yield f"record {LOST} events", lambda: tell(LOST)
    yield "settle what is due", lambda: donations.settle_due(now)
    yield "tend the campaigns", lambda: (campaigns.end_due(now), campaigns.reassess(now))
    yield "today's figures", lambda: figures.roll_up(now)


def _nightly(world: World) -> Iterator[Work]:
    yield "prove a campaign's books", lambda: proof.audit(world.campaigns[0])
    yield "all the daily figures anew", lambda: figures.rebuild(world.now)
