"""Stored faces judged by today's policies: nothing is looked at, nobody of the staff is overruled, nothing is lost."""

from collections.abc import Callable, Sequence

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from moderation import inference, posts, reevaluation, reviews, verdicts
from moderation.models import Platform, Policy, Post, Reevaluation, Verdict
from moderation.tasks import reevaluate, sweep_reevaluations
from tests import cast
from tests.incentives.builders import at_once

pytestmark = pytest.mark.django_db

# Masked by what was stored; judged otherwise by an older policy.
STALE = "unmasked"


class Killed(BaseException):
    """What ends a worker in the middle."""


@pytest.fixture(autouse=True)
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "get", lambda: pytest.fail("no photo is looked at again"))


@pytest.fixture(autouse=True)
def messages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Keep messages from the broker; a test delivers them itself, or loses them."""
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(reevaluate, "delay", lambda job_id, cursor: sent.append((job_id, cursor)))
    return sent


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "BATCH", 3)


@pytest.fixture
def user() -> User:
    return cast.make_reviewer("mary")


def stale_posts(count: int, platform: Platform | None = None) -> list[Post]:
    author = cast.make_author(platform)
    return [cast.make_post(author, outcome=STALE) for _ in range(count)]


def outcomes(rows: Sequence[Post]) -> list[str]:
    return [Post.objects.get(pk=post.pk).outcome for post in rows]


def finish(messages: list[tuple[int, str]]) -> None:
    """Deliver every message, and those that follow."""
    while messages:
        reevaluate(*messages.pop(0))


@pytest.mark.django_db(transaction=True)
def test_a_job_judges_every_post_in_batches_and_ends(user: User, messages: list[tuple[int, str]]) -> None:
    stale = stale_posts(4)
    fine = [cast.make_post(stale[0].author, outcome="masked") for _ in range(3)]

    job = reevaluation.start(None, user, "A better policy.")
    assert messages == [(job.pk, "")]
    finish(messages)

    job.refresh_from_db()
    assert (job.status, job.total, job.done, job.changed) == ("done", 7, 7, 4)
    assert job.finished_at is not None
    assert set(outcomes(stale + fine)) == {"masked"}
    assert [post.verdicts.count() for post in stale + fine] == [2] * 4 + [1] * 3
    verdict = stale[0].verdicts.latest("sequence")
    assert (verdict.source, verdict.reason, verdict.decided_by) == ("reevaluation", "A better policy.", None)


@pytest.mark.django_db(transaction=True)
def test_a_job_for_a_platform_leaves_the_others_alone(user: User, messages: list[tuple[int, str]]) -> None:
    mine, theirs = stale_posts(2), stale_posts(2)

    job = reevaluation.start(mine[0].platform, user, "Theirs was right.")
    finish(messages)

    assert outcomes(mine + theirs) == ["masked", "masked", STALE, STALE]
    job.refresh_from_db()
    assert (job.total, job.done) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_each_platform_is_judged_by_its_own_policy(user: User, messages: list[tuple[int, str]]) -> None:
    mine, theirs = stale_posts(1), stale_posts(1)
    Policy.objects.create(platform=theirs[0].platform, version=1, min_face_score=1.0)

    reevaluation.start(None, user, "Two policies.")
    finish(messages)

    assert outcomes(mine + theirs) == ["masked", "no_face"]


@pytest.mark.django_db(transaction=True)
def test_people_outrank_a_policy(user: User, messages: list[tuple[int, str]]) -> None:
    reviewed, appealed, gone, waiting = [*stale_posts(3), cast.make_post()]
    reviews.overrule(reviewed, "incorrect", user, "Below the nose.")
    reviews.uphold(reviews.open_appeal(appealed, "Look."), "partly_masked", user, "One of two.")
    posts.withdraw(gone)

    job = reevaluation.start(None, user, "A better policy.")
    finish(messages)

    assert outcomes([reviewed, appealed, gone, waiting]) == ["incorrect", "partly_masked", STALE, ""]
    job.refresh_from_db()
    assert (job.status, job.total, job.changed) == ("done", 0, 0)


@pytest.mark.parametrize("source", ["reviewer", "appeal"])
def test_a_policy_does_not_overrule_people_even_when_asked(source: str) -> None:
    post = cast.make_post(outcome="masked")
    cast.make_verdict(post, "unmasked", source=source)

    assert verdicts.record_verdict(post.pk, "reevaluation") is None
    assert outcomes([post]) == ["unmasked"]


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_killed_in_the_middle_goes_on_there(
    user: User, messages: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = stale_posts(7)
    job = reevaluation.start(None, user, "A better policy.")
    reevaluate(*messages.pop(0))
    judge = verdicts.record_verdict

    def die(post_id: str, *args: object, **kwargs: object) -> Verdict | None:
        verdict = judge(post_id, *args, **kwargs)  # type: ignore[arg-type]  # handed on as they come
        if post_id == stale[4].pk:
            raise Killed
        return verdict

    with monkeypatch.context() as broken, pytest.raises(Killed):
        broken.setattr(reevaluation, "record_verdict", die)
        reevaluate(*messages.pop(0))

    job.refresh_from_db()
    assert (job.done, job.changed, job.cursor) == (4, 4, stale[3].pk)
    assert outcomes(stale) == ["masked"] * 4 + [STALE] * 3, "the one it died over is undone with its count"
    assert messages == [], "and nobody would go on, but for the sweep"

    sweep_reevaluations()
    finish(messages)

    job.refresh_from_db()
    assert (job.status, job.done, job.changed) == ("done", 7, 7)
    assert [post.verdicts.count() for post in stale] == [2] * 7


@pytest.mark.django_db(transaction=True)
def test_a_message_that_comes_twice_is_worked_on_once(user: User, messages: list[tuple[int, str]]) -> None:
    stale = stale_posts(7)
    job = reevaluation.start(None, user, "A better policy.")

    while messages:
        message = messages.pop(0)
        reevaluate(*message)
        reevaluate(*message)
        sweep_reevaluations()

    job.refresh_from_db()
    assert (job.status, job.done, job.changed) == ("done", 7, 7)
    assert [post.verdicts.count() for post in stale] == [2] * 7


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_batch_at_once_count_each_post_once(user: User, messages: list[tuple[int, str]]) -> None:
    stale = stale_posts(9)
    job = reevaluation.start(None, user, "A better policy.")

    while messages:
        first, *_ = messages
        messages.clear()
        at_once(lambda message: reevaluate(*message), [first] * 4, threads=4)
        assert len(messages) <= 1, "of all workers one goes on"
        if not messages:
            sweep_reevaluations()

    job.refresh_from_db()
    assert (job.status, job.done, job.changed) == ("done", 9, 9)
    assert [post.verdicts.count() for post in stale] == [2] * 9


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_stops_and_keeps_what_it_did(user: User, messages: list[tuple[int, str]]) -> None:
    stale = stale_posts(5)
    job = reevaluation.start(None, user, "A better policy.")
    reevaluate(*messages.pop(0))

    assert reevaluation.cancel(job)
    assert not reevaluation.cancel(job)
    finish(messages)
    sweep_reevaluations()

    assert messages == []
    job.refresh_from_db()
    assert (job.status, job.done) == ("cancelled", 3)
    assert outcomes(stale) == ["masked"] * 3 + [STALE] * 2


@pytest.mark.django_db(transaction=True)
def test_a_job_is_cancelled_in_the_middle_of_a_batch(
    user: User, messages: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = stale_posts(3)
    job = reevaluation.start(None, user, "A better policy.")
    step = reevaluation._step

    def cancel_after_first(*args: object) -> bool:
        done = step(*args)  # type: ignore[arg-type]  # handed on as they come
        reevaluation.cancel(job)
        return done

    monkeypatch.setattr(reevaluation, "_step", cancel_after_first)
    finish(messages)

    job.refresh_from_db()
    assert (job.status, job.done, job.changed) == ("cancelled", 1, 1)
    assert outcomes(stale) == ["masked", STALE, STALE]


@pytest.mark.django_db(transaction=True)
def test_posts_that_come_after_the_start_are_not_waited_for(user: User, messages: list[tuple[int, str]]) -> None:
    stale_posts(1)
    job = reevaluation.start(None, user, "A better policy.")
    late = stale_posts(1)

    finish(messages)

    job.refresh_from_db()
    assert (job.status, job.done) == ("done", 1)
    assert outcomes(late) == [STALE]


def race(user: User) -> list[str]:
    """Let a policy and a reviewer judge the same posts at once; return what holds then."""
    stale = stale_posts(12)

    def judge(number: int) -> object:
        post = stale[number // 2]
        if number % 2:
            return reviews.overrule(post, "incorrect", user, "Below the nose.")
        return verdicts.record_verdict(post.pk, "reevaluation")

    at_once(judge, range(24), threads=8)
    return outcomes(stale)


@pytest.mark.django_db(transaction=True)
def test_a_reviewer_has_the_last_word_against_a_policy_at_the_same_moment(user: User) -> None:
    assert set(race(user)) == {"incorrect"}


@pytest.mark.django_db(transaction=True)
def test_control_without_the_rank_a_policy_overrules_the_reviewer(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "OF_PEOPLE", ())
    [post] = stale_posts(1)
    reviews.overrule(post, "incorrect", user, "Below the nose.")

    assert verdicts.record_verdict(post.pk, "reevaluation") is not None


def test_a_preview_tells_what_would_change_and_writes_nothing(platform: Platform) -> None:
    author = cast.make_author(platform)
    for stored, face in (("unmasked", "mask"), ("unmasked", "mask"), ("masked", "incorrect"), ("masked", "mask")):
        cast.make_post(author, outcome=stored, photos=[[{face: 1.0}]])
    stale_posts(5)
    before = Verdict.objects.count()

    found = reevaluation.preview(platform)

    assert (found.judged, found.total, found.changed) == (4, 4, 3)
    assert [(shift.before, shift.after, shift.posts) for shift in found.shifts] == [
        ("unmasked", "masked", 2),
        ("masked", "incorrect", 1),
    ]
    assert reevaluation.preview(None).total == 9
    assert Verdict.objects.count() == before


def test_a_preview_looks_at_the_latest_posts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "SAMPLE", 2)
    stale = stale_posts(3)
    cast.make_post(stale[0].author, outcome="masked")

    found = reevaluation.preview(None)

    assert (found.judged, found.total, found.changed) == (2, 4, 1)


def test_the_number_of_queries_does_not_grow_with_the_posts() -> None:
    def queries(call: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as captured:
            call()
        return len(captured)

    author = stale_posts(2)[0].author
    few = queries(lambda: reevaluation.preview(None))
    for _ in range(6):
        cast.make_post(author, outcome=STALE, photos=[[{"mask": 1.0}]] * 2)

    assert queries(lambda: reevaluation.preview(None)) == few


def test_selected_posts_are_judged_at_once() -> None:
    stale = stale_posts(2)
    fine = cast.make_post(stale[0].author, outcome="masked")

    assert reevaluation.judge_anew([post.pk for post in [*stale, fine]], "Asked for.") == 2
    assert reevaluation.judge_anew([post.pk for post in [*stale, fine]], "Asked for.") == 0

    assert outcomes([*stale, fine]) == ["masked"] * 3


def test_a_job_without_posts_is_done(user: User, messages: list[tuple[int, str]]) -> None:
    job = Reevaluation.objects.create(requested_by=user, reason="Nothing there.")

    reevaluate(job.pk, "")

    job.refresh_from_db()
    assert (job.status, job.done) == ("done", 0)
