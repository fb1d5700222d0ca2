"""The work on a photo: claimed by one, finished once, tried again when lost, given up in the end."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from moderation import analysis, inference, signals, tasks
from moderation.models import Analysis, Face, Photo, Post, Verdict
from tests import cast

TERMS = analysis.Terms(lease=timedelta(seconds=30), max_attempts=3)


@pytest.fixture(autouse=True)
def analyzer(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Use an analyzer of the tests; call it to use another."""

    def use(name: str) -> None:
        settings.ANALYZER = f"tests.moderation.analyzers.{name}"
        inference.reset()

    use("Foreseen")
    yield use
    inference.reset()


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what would have gone to the broker."""
    sent: list[str] = []
    monkeypatch.setattr(tasks.analyze_photo, "delay", sent.append)
    return sent


@pytest.fixture
def failed_posts() -> Iterator[list[str]]:
    heard: list[str] = []

    def hear(*, post_id: str, **_: object) -> None:
        heard.append(post_id)

    signals.post_failed.connect(hear)
    yield heard
    signals.post_failed.disconnect(hear)


def pending() -> Analysis:
    return Analysis.objects.get(photo__post=cast.make_post())


def claimed(row: Analysis) -> analysis.Claim:
    held = analysis.claim(row.pk, TERMS)
    assert held is not None
    return held


def expire(row: Analysis) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Analysis.objects.filter(pk=row.pk, status="running").update(lease_expires_at=past)
    Analysis.objects.filter(pk=row.pk).update(requeue_at=past)


@pytest.mark.django_db
def test_a_photo_is_looked_at_and_its_post_gets_a_verdict() -> None:
    row = pending()

    analysis.run(row.pk, TERMS)

    row.refresh_from_db()
    assert (row.status, row.attempts, row.token, row.lease_expires_at) == ("done", 1, None, None)
    assert (row.decode_ms, row.detect_ms, row.classify_ms) == (1.5, 20.25, 3.0)
    seen = row.faces.get()
    assert (seen.x1, seen.y2, seen.mask, seen.score) == (10.0, 44.0, 0.97, 1.0)
    post = Post.objects.get(photos=row.pk)
    assert (post.status, post.verdicts.get().outcome) == ("analyzed", "masked")


@pytest.mark.django_db
def test_a_message_that_comes_twice_changes_nothing() -> None:
    row = pending()
    analysis.run(row.pk, TERMS)

    analysis.run(row.pk, TERMS)

    row.refresh_from_db()
    assert row.attempts == 1
    assert Verdict.objects.count() == Face.objects.count() == 1


@pytest.mark.django_db
def test_a_worker_that_lost_its_claim_can_neither_finish_nor_fail() -> None:
    row = pending()
    claimed(row)
    stranger = analysis.Claim(row.pk, uuid.uuid4(), 1)
    reading = inference.get().analyze(b"")

    assert not analysis.finish(stranger, reading)
    assert not analysis.fail(stranger, analysis.Failure("x", "x"))
    assert not analysis.release(stranger, analysis.Failure("x", "x"), TERMS)

    row.refresh_from_db()
    assert row.status == "running"
    assert not Face.objects.exists()
    assert Post.objects.get(photos=row.pk).status == "pending"


@pytest.mark.django_db
def test_a_photo_that_cannot_be_decoded_fails_at_once(analyzer: Callable[[str], None], failed_posts: list[str]) -> None:
    analyzer("Choosy")
    row = pending()

    analysis.run(row.pk, TERMS)

    row.refresh_from_db()
    post = Post.objects.get(photos=row.pk)
    assert (row.status, row.failure_code, row.attempts) == ("failed", "truncated_image", 1)
    assert (post.status, failed_posts) == ("failed", [post.pk])
    assert not Verdict.objects.exists()


@pytest.mark.django_db
def test_a_photo_that_is_gone_fails_at_once() -> None:
    row = pending()
    row.photo.file.storage.delete(str(row.photo.file.name))

    analysis.run(row.pk, TERMS)

    row.refresh_from_db()
    assert (row.status, row.failure_code) == ("failed", "photo_missing")


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "code"), [("Broken", "analysis_error"), ("Slow", "analysis_too_slow")])
def test_what_may_pass_is_tried_three_times(
    analyzer: Callable[[str], None], failed_posts: list[str], name: str, code: str
) -> None:
    analyzer(name)
    row = pending()

    for attempt in (1, 2, 3):
        row.refresh_from_db()
        assert (row.status, row.attempts) == ("pending", attempt - 1)
        analysis.run(row.pk, TERMS)

    row.refresh_from_db()
    assert (row.status, row.failure_code, row.attempts) == ("failed", code, 3)
    assert len(failed_posts) == 1


@pytest.mark.django_db
def test_a_photo_that_kills_its_worker_ends_after_three_tries_and_blocks_nobody(
    queued: list[str], failed_posts: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    deadly, fine = pending(), pending()
    for attempt in (1, 2, 3):
        assert claimed(deadly).attempt == attempt  # and then it is dead
        expire(deadly)
        with django_capture_on_commit_callbacks(execute=True):
            swept = analysis.sweep(TERMS)
        assert swept == (analysis.Sweep(0, 1) if attempt == 3 else analysis.Sweep(1, 0))
    analysis.run(fine.pk, TERMS)

    deadly.refresh_from_db()
    assert (deadly.status, deadly.failure_code) == ("failed", "worker_lost")
    assert Post.objects.get(photos=deadly.pk).status == "failed"
    assert Post.objects.get(photos=fine.pk).status == "analyzed"
    assert failed_posts == [Photo.objects.get(pk=deadly.pk).post_id]
    assert queued == [deadly.pk, deadly.pk]
    assert analysis.claim(deadly.pk, TERMS) is None


@pytest.mark.django_db
def test_a_lost_message_is_sent_again_and_ever_more_rarely(
    queued: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    row = pending()
    Analysis.objects.update(queued_at=timezone.now() - timedelta(minutes=10))
    expire(row)

    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            analysis.sweep(TERMS)

    row.refresh_from_db()
    assert queued == [row.pk]
    assert timedelta(minutes=4) < row.requeue_at - timezone.now() <= timedelta(minutes=5)  # and no more rarely
    assert row.status == "pending"


@pytest.mark.django_db
def test_a_claim_that_is_still_good_is_left_alone() -> None:
    row = pending()
    claimed(row)

    assert analysis.sweep(TERMS) == analysis.Sweep(0, 0)

    row.refresh_from_db()
    assert row.status == "running"


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_post_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(photo_id: str) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr(tasks.analyze_photo, "delay", refuse)
    post = cast.make_post(photos=[])
    photo = cast.make_photo(post)

    analysis.request([photo], TERMS)

    assert Analysis.objects.get(pk=photo.pk).status == "pending"


@pytest.mark.django_db
def test_a_withdrawn_post_gets_no_verdict() -> None:
    row = pending()
    held = claimed(row)
    cast.withdraw(row.photo.post)

    assert analysis.finish(held, inference.get().analyze(b""))

    assert not Verdict.objects.exists()


@pytest.mark.django_db
def test_one_failed_photo_fails_its_post_once(failed_posts: list[str]) -> None:
    post = cast.make_post(photos=[[], [], []])
    first, second, third = Analysis.objects.filter(photo__post=post)

    analysis.fail(claimed(first), analysis.Failure("truncated_image", "x"))
    analysis.fail(claimed(second), analysis.Failure("truncated_image", "x"))
    analysis.run(third.pk, TERMS)

    post.refresh_from_db()
    assert (post.status, failed_posts) == ("failed", [post.pk])
    assert not Verdict.objects.exists()


def at_once(work: Callable[[int], object], runners: int = 6) -> list[object]:
    barrier = threading.Barrier(runners)

    def run(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(runners) as pool:
        return list(pool.map(run, range(runners)))


@pytest.mark.django_db(transaction=True)
def test_the_control_looking_before_claiming_lets_several_in() -> None:
    row = pending()
    looked = threading.Barrier(6)

    def careless(_: int) -> bool:
        seen = Analysis.objects.get(pk=row.pk)
        looked.wait()
        if seen.status != "pending":
            return False
        seen.attempts += 1
        seen.save(update_fields=["attempts"])
        return True

    assert Counter(at_once(careless)) == {True: 6}


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_the_claim() -> None:
    row = pending()

    claims = at_once(lambda _: analysis.claim(row.pk, TERMS))

    assert len([held for held in claims if held is not None]) == 1
    row.refresh_from_db()
    assert row.attempts == 1


@pytest.mark.django_db(transaction=True)
def test_photos_that_finish_at_the_same_time_make_one_verdict() -> None:
    post = cast.make_post(photos=[[]] * 6)
    rows = list(Analysis.objects.filter(photo__post=post))

    at_once(lambda number: analysis.run(rows[number].pk, TERMS))

    post.refresh_from_db()
    assert post.status == "analyzed"
    assert Verdict.objects.filter(post=post).count() == 1
    assert Face.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_the_same_time_send_each_photo_once(queued: list[str]) -> None:
    rows = [pending() for _ in range(5)]
    for row in rows:
        expire(row)

    swept = at_once(lambda _: analysis.sweep(TERMS))

    assert sum(result.requeued for result in swept if isinstance(result, analysis.Sweep)) == 5
    assert sorted(queued) == sorted(row.pk for row in rows)
