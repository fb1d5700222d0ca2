"""What people decide: once, on what they saw, and with a reason that is kept."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, ProgrammingError, transaction
from django.dispatch import Signal

from mask_social.errors import ApiError
from moderation import posts, reviews, signals
from moderation.models import Analysis, Appeal, Post, Verdict
from moderation.verdicts import record_verdict
from tests import cast
from tests.incentives.builders import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return cast.make_reviewer("rosa")


@pytest.fixture
def heard() -> Iterator[list[tuple[str, str, bool]]]:
    """What was told, in order: by which signal, about what, and whether inside a transaction of its own."""
    told: list[tuple[str, str, bool]] = []
    receivers: list[tuple[Signal, Callable[..., None]]] = []
    for name in ("verdict_reached", "appeal_opened", "appeal_decided"):
        signal: Signal = getattr(signals, name)

        def hear(name: str = name, **arguments: object) -> None:
            about = str(arguments[f"{name.partition('_')[0]}_id"])
            told.append((name, about, transaction.get_connection().in_atomic_block))

        signal.connect(hear)
        receivers.append((signal, hear))
    yield told
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def outcome_of(post: Post) -> str:
    post.refresh_from_db()
    return post.outcome


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(reviews.ReviewError) as refused:
        call()
    return str(refused.value)


def test_a_reviewers_verdict_holds_and_says_who_and_why(user: User, heard: list[tuple[str, str, bool]]) -> None:
    post = cast.make_post(outcome="uncertain")

    verdict = reviews.overrule(post, "masked", user, "A white mask on white.")

    assert (verdict.sequence, verdict.source, verdict.outcome) == (2, "reviewer", "masked")
    assert (verdict.decided_by, verdict.reason) == (user, "A white mask on white.")
    assert outcome_of(post) == "masked"
    assert heard == [("verdict_reached", verdict.pk, True)]


@pytest.mark.parametrize(
    ("status", "said"),
    [("pending", "still being looked at"), ("failed", "could not be looked at"), ("withdrawn", "was withdrawn")],
)
def test_a_post_without_a_verdict_that_stands_is_left_alone(user: User, status: str, said: str) -> None:
    post = cast.make_post(outcome="masked" if status == "withdrawn" else None)
    if status == "withdrawn":
        posts.withdraw(post)
    elif status == "failed":
        Post.objects.update(status="failed", completed_at=post.created_at)
    before = post.verdicts.count()

    assert said in refusal(lambda: reviews.overrule(post, "unmasked", user, "No."))

    assert post.verdicts.count() == before


def test_a_verdict_that_changes_nothing_is_refused(user: User, heard: list[tuple[str, str, bool]]) -> None:
    post = cast.make_post(outcome="masked")

    assert "would change nothing" in refusal(lambda: reviews.overrule(post, "masked", user, "I agree."))

    assert post.verdicts.count() == 1
    assert heard == []


def test_a_post_whose_photo_is_not_done_gets_no_verdict_of_people(user: User) -> None:
    post = cast.make_post(outcome="masked")
    Analysis.objects.all().delete()

    assert "not ready" in refusal(lambda: reviews.overrule(post, "unmasked", user, "No."))


def test_the_database_refuses_a_reviewers_verdict_without_a_name_or_a_reason(user: User) -> None:
    post = cast.make_post(outcome="masked")

    for who, why in ((None, "Because."), (user, "")):
        with pytest.raises(IntegrityError, match="verdict_of_staff_says_who_and_why"), transaction.atomic():
            reviews.overrule(post, "unmasked", who, why)  # type: ignore[arg-type]  # that is the point


def test_a_reviewer_who_saw_an_older_verdict_is_told(user: User) -> None:
    post = cast.make_post(outcome="uncertain")
    seen = post.verdicts.get().pk
    reviews.overrule(post, "masked", user, "Masked.", seen=seen)

    assert "meanwhile" in refusal(lambda: reviews.overrule(post, "unmasked", user, "No.", seen=seen))

    assert outcome_of(post) == "masked"


def overrule_at_once(*, looks: bool) -> list[object]:
    """Eight reviewers who saw the same page decide differently, at the same moment."""
    post = cast.make_post(outcome="uncertain")
    seen = post.verdicts.get().pk if looks else None
    outcomes = ["masked", "unmasked", "incorrect", "no_face"] * 2

    def decide(number: int) -> object:
        try:
            return reviews.overrule(
                post, outcomes[number], cast.make_reviewer(f"r{number}"), "Seen.", seen=seen
            ).outcome
        except reviews.ReviewError:
            return None

    results = at_once(decide, range(8), threads=8)
    post.refresh_from_db()
    assert post.outcome == post.verdicts.latest("sequence").outcome
    assert post.verdicts.count() == 1 + len([result for result in results if result])
    return results


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_at_once_the_second_is_told() -> None:
    assert len([result for result in overrule_at_once(looks=True) if result]) == 1


@pytest.mark.django_db(transaction=True)
def test_control_without_looking_at_what_was_seen_reviewers_overrule_each_other() -> None:
    assert len([result for result in overrule_at_once(looks=False) if result]) > 1


def test_an_appeal_is_taken_in_and_told_of(heard: list[tuple[str, str, bool]]) -> None:
    post = cast.make_post(outcome="unmasked")

    appeal = reviews.open_appeal(post, "It has the colour of my skin.")

    assert (appeal.status, appeal.against, appeal.post) == ("open", post.verdicts.get(), post)
    assert heard == [("appeal_opened", appeal.pk, True)]


def test_upholding_an_appeal_changes_the_verdict_and_tells_of_both(
    user: User, heard: list[tuple[str, str, bool]]
) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    heard.clear()

    decided = reviews.uphold(appeal, "masked", user, "You are right.")

    verdict = post.verdicts.latest("sequence")
    assert (verdict.source, verdict.outcome, verdict.decided_by, verdict.reason) == (
        "appeal",
        "masked",
        user,
        "You are right.",
    )
    assert (decided.status, decided.verdict, decided.decided_by, decided.answer) == (
        "upheld",
        verdict,
        user,
        "You are right.",
    )
    assert decided.decided_at is not None
    assert outcome_of(post) == "masked"
    assert heard == [("verdict_reached", verdict.pk, True), ("appeal_decided", appeal.pk, True)]


def test_dismissing_an_appeal_leaves_the_verdict(user: User, heard: list[tuple[str, str, bool]]) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    heard.clear()

    decided = reviews.dismiss(appeal, user, "There is no mask.")

    assert (decided.status, decided.verdict, decided.answer) == ("dismissed", None, "There is no mask.")
    assert post.verdicts.count() == 1
    assert heard == [("appeal_decided", appeal.pk, True)]


def test_an_appeal_is_not_upheld_with_the_verdict_it_is_against(user: User) -> None:
    appeal = reviews.open_appeal(cast.make_post(outcome="unmasked"), "Look again.")

    assert "dismiss" in refusal(lambda: reviews.uphold(appeal, "unmasked", user, "Yes."))

    appeal.refresh_from_db()
    assert appeal.status == "open"


def test_an_appeal_that_a_reviewer_has_met_already_is_upheld_without_another_verdict(user: User) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    reviews.overrule(post, "masked", user, "A mask.")

    decided = reviews.uphold(appeal, "masked", user, "It has been put right.")

    assert (decided.status, decided.verdict) == ("upheld", None)
    assert post.verdicts.count() == 2


def test_an_appeal_about_a_withdrawn_post_can_only_be_dismissed(user: User) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    posts.withdraw(post)

    assert "withdrawn" in refusal(lambda: reviews.uphold(appeal, "masked", user, "Yes."))
    appeal.refresh_from_db()
    assert appeal.status == "open"
    assert reviews.dismiss(appeal, user, "The post is gone.").status == "dismissed"


def test_a_decided_appeal_is_not_decided_again(user: User) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    reviews.dismiss(appeal, user, "No.")

    assert "meanwhile" in refusal(lambda: reviews.uphold(appeal, "masked", user, "Yes."))
    assert "meanwhile" in refusal(lambda: reviews.dismiss(appeal, user, "No."))

    assert (post.verdicts.count(), outcome_of(post)) == (1, "unmasked")
    with pytest.raises(ProgrammingError, match="Invalid transition"), transaction.atomic():
        Appeal.objects.filter(pk=appeal.pk).update(status="upheld")


@pytest.mark.django_db(transaction=True)
def test_an_appeal_that_many_decide_at_once_is_decided_once(heard: list[tuple[str, str, bool]]) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    heard.clear()

    def decide(number: int) -> object:
        user = cast.make_reviewer(f"r{number}")
        mine = Appeal.objects.select_related("post", "against").get(pk=appeal.pk)
        try:
            return (
                reviews.uphold(mine, "masked", user, "Yes.") if number % 2 else reviews.dismiss(mine, user, "No.")
            ).status
        except reviews.ReviewError:
            return None

    results = at_once(decide, range(8), threads=8)

    [status] = [result for result in results if result]
    appeal.refresh_from_db()
    assert appeal.status == status
    assert post.verdicts.count() == (2 if status == "upheld" else 1)
    assert [name for name, *_ in heard].count("appeal_decided") == 1


@pytest.mark.django_db(transaction=True)
def test_control_an_appeal_that_is_read_before_it_is_written_is_decided_twice() -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "Look again.")
    user = cast.make_reviewer()
    both_have_read = threading.Barrier(2)

    def decide(_: int) -> Verdict | None:
        with transaction.atomic():
            assert Appeal.objects.get(pk=appeal.pk).status == Appeal.Status.OPEN
            both_have_read.wait(timeout=30)
            return record_verdict(post.pk, Verdict.Source.APPEAL, outcome="masked", decided_by=user, reason="Yes.")

    assert None not in at_once(decide, range(2), threads=2)
    assert post.verdicts.count() == 3


def conflict(post: Post) -> str:
    with pytest.raises(ApiError) as refused:
        reviews.open_appeal(post, "Look again.")
    assert refused.value.status == 409
    return refused.value.code


@pytest.mark.django_db(transaction=True)
def test_a_verdict_is_appealed_against_once_however_many_come_at_once() -> None:
    post = cast.make_post(outcome="unmasked")

    def appeal(_: int) -> object:
        try:
            return reviews.open_appeal(post, "Look again.").pk
        except ApiError as error:
            return error.code

    results = at_once(appeal, range(8), threads=8)

    assert results.count("already_appealed") == 7
    assert Appeal.objects.count() == 1


def test_a_later_verdict_can_be_appealed_against_when_the_first_appeal_is_closed(user: User) -> None:
    post = cast.make_post(outcome="uncertain")
    first = reviews.open_appeal(post, "Look again.")
    reviews.overrule(post, "unmasked", user, "No mask.")

    assert conflict(post) == "already_appealed", "the first is still open"
    reviews.dismiss(first, user, "See the new verdict.")
    second = reviews.open_appeal(post, "I do wear one.")
    reviews.uphold(second, "incorrect", user, "Below the nose.")

    assert conflict(post) == "already_appealed", "an appeal has the last word"
    assert outcome_of(post) == "incorrect"
