"""A boost fades by half every half-life, is given on its policy's terms, and is taken back with its verdict."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from incentives import boosts
from incentives.boosts import factor_at
from incentives.models import Boost, BoostPolicy, Event
from moderation.models import Post
from tests.cast import make_post
from tests.incentives.builders import make_campaign

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Plain:
    factor: float = 3.0
    cap: float = 4.0
    half_life_seconds: int = 3600
    starts_at: datetime = START
    ends_at: datetime = START + 10 * HOUR
    revoked_at: datetime | None = None


@pytest.mark.parametrize(
    ("hours", "factor"),
    [(-0.001, 1.0), (0, 3.0), (1, 2.0), (2, 1.5), (3, 1.25), (0.5, 1 + 2 * 0.5**0.5), (10, 1.0), (99, 1.0)],
)
def test_its_excess_over_one_halves_every_half_life_between_start_and_end(hours: float, factor: float) -> None:
    assert factor_at(Plain(), START + hours * HOUR) == pytest.approx(factor)


def test_it_never_grows_and_never_falls_below_one() -> None:
    factors = [factor_at(Plain(), START + minutes * timedelta(minutes=1)) for minutes in range(700)]
    assert factors == sorted(factors, reverse=True)
    assert min(factors) == 1.0


def test_the_cap_bounds_it() -> None:
    assert factor_at(Plain(factor=9.0, cap=2.5), START) == 2.5


def test_a_boost_that_was_taken_back_lifts_nothing() -> None:
    assert factor_at(Plain(revoked_at=START), START + HOUR) == 1.0


def test_the_age_that_the_platform_counts_takes_the_place_of_ours() -> None:
    assert factor_at(Plain(), START, age=HOUR) == pytest.approx(2.0)
    assert factor_at(Plain(), START, age=11 * HOUR) == 1.0


# Giving and taking back


def give(post: Post, now: datetime = START, **options: Any) -> Boost:
    with transaction.atomic():
        boosts.reconcile(post, post.verdicts.latest("sequence"), now, **options)
    return Boost.objects.get(post=post, revoked_at=None)


def take(post: Post, now: datetime) -> None:
    with transaction.atomic():
        boosts.reconcile(post, None, now)


def told(post: Post) -> list[tuple[str, dict[str, Any]]]:
    return [(event.type, event.data) for event in Event.objects.filter(subject_id=post.pk).order_by("position")]


@pytest.fixture
def policy(db: None) -> BoostPolicy:
    return BoostPolicy.objects.update_or_create(
        platform=None, defaults={"factor": 2.0, "cap": 2.5, "half_life_seconds": 3600, "duration_seconds": 7200}
    )[0]


@pytest.mark.usefixtures("policy")
def test_a_boost_is_given_on_the_terms_for_everybody() -> None:
    post = make_post(outcome="masked")

    boost = give(post, causation_id="ver_x")

    assert (boost.factor, boost.cap, boost.half_life_seconds) == (2.0, 2.5, 3600)
    assert (boost.starts_at, boost.ends_at, boost.campaign) == (START, START + 2 * HOUR, None)
    [event] = Event.objects.filter(subject_id=post.pk)
    assert (event.type, event.causation_id) == ("boost.started", "ver_x")
    assert event.data == {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "factor": 2.0,
        "half_life_seconds": 3600,
        "starts_at": "2026-03-01T12:00:00.000000Z",
        "ends_at": "2026-03-01T14:00:00.000000Z",
    }


@pytest.mark.usefixtures("policy")
def test_a_platforms_own_terms_are_its_own() -> None:
    ours, theirs = make_post(outcome="masked"), make_post(outcome="masked")
    BoostPolicy.objects.create(platform=ours.platform, factor=1.2)

    assert (give(ours).factor, give(theirs).factor) == (1.2, 2.0)


@pytest.mark.django_db
def test_without_a_policy_the_defaults_hold() -> None:
    BoostPolicy.objects.all().delete()
    boost = give(make_post(outcome="masked"))
    assert (boost.factor, boost.cap, boost.ends_at) == (1.5, 3.0, START + 24 * HOUR)


@pytest.mark.usefixtures("policy")
def test_a_boost_that_runs_keeps_its_terms_and_is_given_once() -> None:
    post = make_post(outcome="masked")
    first = give(post)
    BoostPolicy.objects.update(factor=1.1, half_life_seconds=60)

    again = give(post, START + HOUR)

    assert (again.pk, again.factor, again.starts_at) == (first.pk, 2.0, START)
    assert [type_ for type_, _ in told(post)] == ["boost.started"]


@pytest.mark.usefixtures("policy")
def test_it_names_the_campaign_whose_switch_it_obeys() -> None:
    campaign = make_campaign()
    assert give(make_post(outcome="masked"), campaign=campaign).campaign == campaign


@pytest.mark.usefixtures("policy")
def test_a_boost_is_given_while_boosts_are_off_so_that_it_counts_once_they_are_on() -> None:
    BoostPolicy.objects.update(is_enabled=False)
    assert give(make_post(outcome="masked")).factor == 2.0


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(("hours", "end"), [(1, "2026-03-01T13:00:00.000000Z"), (9, "2026-03-01T14:00:00.000000Z")])
def test_what_is_taken_back_is_told_to_end_then_or_when_it_had_ended(hours: int, end: str) -> None:
    post = make_post(outcome="masked")
    give(post)

    take(post, START + hours * HOUR)
    take(post, START + 10 * HOUR)

    assert [(type_, data["ends_at"]) for type_, data in told(post)][1:] == [("boost.ended", end)]
    assert Boost.objects.get(post=post).revoked_at == START + hours * HOUR


@given(
    factor=st.floats(1, 10),
    headroom=st.floats(0, 9),
    half_life=st.integers(60, 10**6),
    lasts=st.integers(60, 10**6),
    early=st.floats(0, 2e6),
    later=st.floats(0, 1e6),
)
def test_whatever_its_terms_it_stays_between_one_and_its_cap_and_only_fades(
    factor: float, headroom: float, half_life: int, lasts: int, early: float, later: float
) -> None:
    boost = Plain(factor, factor + headroom, half_life, START, START + timedelta(seconds=lasts))
    first = factor_at(boost, START + timedelta(seconds=early))
    then = factor_at(boost, START + timedelta(seconds=early + later))
    assert 1 <= then <= first <= boost.cap
