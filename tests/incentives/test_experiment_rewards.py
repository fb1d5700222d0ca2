"""The experiment at the border: what a verdict brings to who takes part, and what is noted of it."""

import itertools

import pytest

from incentives import rewards
from incentives.experiments import lifecycle, tally
from incentives.experiments.assignment import is_held_out
from incentives.models import BadgeAward, Boost, Experiment, Exposure, Match, Outcome
from moderation import reviews
from moderation.models import Author, Post, Verdict
from tests import cast
from tests.cast import make_author, make_post, make_verdict
from tests.incentives.builders import make_campaign
from tests.incentives.experiment_rows import LATER, make_experiment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

_numbers = itertools.count()


def author_in(experiment: Experiment, *, held_out: bool) -> Author:
    """Make an author whom the draw put there."""
    platform = experiment.platform or cast.make_platform()
    for number in _numbers:
        name = f"drawn {number}"
        if is_held_out(experiment.salt, platform.pk, name, experiment.holdout_percent) == held_out:
            return make_author(platform, name)
    raise AssertionError("unreachable")


def judged(author: Author, outcome: str = "masked") -> Post:
    post = make_post(author, outcome=outcome)
    assert rewards.apply_verdict(post.verdicts.get().pk)
    return post


def noted(post: Post) -> set[str]:
    return set(Outcome.objects.filter(post=post).values_list("kind", flat=True))


@pytest.mark.parametrize("held_out", [True, False])
def test_the_holdout_goes_without_badge_and_boost_and_not_without_money(held_out: bool) -> None:
    make_campaign()
    author = author_in(make_experiment(), held_out=held_out)

    post = judged(author)

    assert Exposure.objects.get(author=author).arm == ("holdout" if held_out else "treatment")
    assert BadgeAward.objects.filter(author=author).exists() is not held_out
    assert Boost.objects.filter(post=post).exists() is not held_out
    assert Match.objects.get(post=post).status == "reserved"
    assert noted(post) == {"post", "masked_post"}


@pytest.mark.parametrize("undo", ["overturned", "withdrawn"])
def test_the_holdout_is_given_no_badge_by_a_post_that_is_undone(undo: str) -> None:
    author = author_in(make_experiment(), held_out=True)
    _, gone = judged(author), judged(author)

    if undo == "overturned":
        assert rewards.apply_verdict(make_verdict(gone, "unmasked", source=Verdict.Source.REVIEWER).pk)
    else:
        cast.withdraw(gone)
        assert rewards.take_back(gone.pk)

    assert not BadgeAward.objects.exists()


@pytest.mark.parametrize("outcome", Verdict.Outcome.values)
def test_any_verdict_exposes_whatever_was_seen(outcome: str) -> None:
    author = make_author()
    make_experiment()

    post = judged(author, outcome)

    assert Exposure.objects.get().author == author
    kinds = {"masked": {"post", "masked_post"}, "uncertain": {"post", "review"}}
    assert noted(post) == kinds.get(outcome, {"post"})


def test_a_second_application_notes_nothing_more() -> None:
    make_experiment()
    post = judged(make_author())
    before = list(Outcome.objects.values())

    assert rewards.apply_verdict(post.verdicts.get().pk) is False

    assert list(Outcome.objects.values()) == before


def test_a_post_that_a_reviewer_finds_masked_counts_from_then_on() -> None:
    make_experiment()
    post = judged(make_author(), "uncertain")

    assert rewards.apply_verdict(make_verdict(post, "masked", source=Verdict.Source.REVIEWER).pk)

    assert noted(post) == {"post", "review", "masked_post"}


def test_a_post_from_before_counts_in_neither_arm_whatever_becomes_of_it() -> None:
    post = judged(make_author(), "unmasked")
    experiment = make_experiment(holdout_percent=50)

    assert rewards.apply_verdict(make_verdict(post, "masked", source=Verdict.Source.REVIEWER).pk)

    found = tally.count(experiment)
    assert found.treatment.authors + found.holdout.authors == 1
    assert found.treatment.masked.total + found.holdout.masked.total == 0


@pytest.mark.parametrize("undo", ["overturned", "withdrawn"])
def test_what_is_undone_no_longer_counts_and_costs_nothing(undo: str) -> None:
    make_campaign()
    experiment = make_experiment()
    post = judged(author_in(experiment, held_out=False))
    [money] = tally.count(experiment).money
    assert (tally.count(experiment).treatment.masked.total, money.treatment.cost.total) == (1, 50)

    if undo == "overturned":
        assert rewards.apply_verdict(make_verdict(post, "unmasked", source=Verdict.Source.REVIEWER).pk)
    else:
        cast.withdraw(post)
        assert rewards.take_back(post.pk)

    found = tally.count(experiment)
    assert (found.treatment.posts.total, found.treatment.masked.total, found.money) == (1, 0, [])


def test_an_appeal_is_noted() -> None:
    make_experiment()
    post = judged(make_author(), "unmasked")

    reviews.open_appeal(post, "I do wear one.")

    assert noted(post) == {"post", "appeal"}


def test_after_the_end_the_holdout_is_given_what_it_went_without() -> None:
    experiment = make_experiment()
    author = author_in(experiment, held_out=True)
    judged(author)
    assert not BadgeAward.objects.exists()
    lifecycle.end(experiment, LATER)

    post = judged(author)

    assert BadgeAward.objects.get().author == author
    assert Boost.objects.filter(post=post).exists()
    assert noted(post) == set()
