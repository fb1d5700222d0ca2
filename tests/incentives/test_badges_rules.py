"""Measuring: the same for one author in Python and for everybody in SQL."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incentives.badges import CountedOn, Terms, counted_history, measure
from incentives.badges.counting import measured_by_author, rows_of
from incentives.models import BadgeAward, BadgeRule, CountedPost
from moderation.models import Author
from moderation.time_zones import day_in
from tests.cast import make_author
from tests.incentives.counted import make_counted

START = datetime(2026, 3, 25, tzinfo=UTC)  # clocks change in Europe within the week
DAY = date(2026, 3, 1)


def on(*days: int, region: str = "") -> list[CountedOn]:
    """Return a post on each of these days of March."""
    return [
        CountedOn(f"post-{number}", datetime(2026, 3, day, 12, tzinfo=UTC), date(2026, 3, day), region, f"ver-{number}")
        for number, day in enumerate(days)
    ]


def streak(*days: int, grace: int = 0) -> int:
    return measure(Terms("streak", 3, grace_days=grace), on(*days)).measured


def test_masked_posts_are_counted_one_by_one_and_days_once() -> None:
    posts = on(1, 1, 2, 9)
    assert measure(Terms("masked_posts", 1), posts).measured == 4
    assert measure(Terms("distinct_days", 1), posts).measured == 3
    assert measure(Terms("streak", 1), posts).measured == 2
    assert [measure(Terms(kind, 1), []).measured for kind in BadgeRule.Kind.values] == [0, 0, 0]


def test_the_longest_streak_counts_and_a_gap_breaks_it() -> None:
    assert streak(1, 2, 4, 5, 6, 8) == 3
    assert streak(1, 1, 1) == 1
    assert streak(5, 4, 3) == 3, "whoever travels may post on an earlier day later"


def test_grace_lets_days_be_missed_between_two_but_counts_only_those_with_a_post() -> None:
    assert streak(1, 3, 5, grace=1) == 3
    assert streak(1, 4, 7, grace=1) == 1
    assert streak(1, 4, 7, grace=2) == 3


def test_evidence_names_the_posts_that_reach_the_threshold_and_the_last_ones_verdict() -> None:
    evidence = measure(Terms("streak", 2), on(1, 5, 6, 7, 7))
    assert (evidence.measured, evidence.post_ids, evidence.verdict_id) == (3, ["post-1", "post-2"], "ver-2")
    assert evidence.is_enough
    many = measure(Terms("masked_posts", 30), on(*range(1, 32)))
    assert many.post_ids == [f"post-{number}" for number in range(10, 30)]


def test_a_country_stands_for_its_parts_and_a_part_for_itself() -> None:
    posts = [*on(1, region="DE"), *on(2, region="DE-BY"), *on(3, region="DEU"), *on(4, region="AT"), *on(5)]

    def measured(*regions: str) -> int:
        return measure(Terms("masked_posts", 1, regions=regions), posts).measured

    assert (measured("DE"), measured("DE-BY"), measured("AT", "DE"), measured("FR"), measured()) == (2, 1, 3, 0, 5)


def test_a_window_takes_its_start_in_and_leaves_its_end_out() -> None:
    posts = on(1, 2, 3)
    terms = Terms("masked_posts", 1, starts_at=posts[0].created_at, ends_at=posts[2].created_at)
    assert measure(terms, posts).measured == 2


def test_posts_from_before_a_badge_ran_out_do_not_count() -> None:
    posts = on(1, 2, 3)
    assert measure(Terms("masked_posts", 1), posts, since=posts[1].created_at).measured == 2


def test_terms_are_read_back_as_they_were_written() -> None:
    terms = Terms("streak", 7, 1, ("DE", "AT"), START, None)
    assert Terms.read(terms.written()) == terms


@pytest.mark.django_db
def test_days_are_those_of_the_author() -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    zones = {"UTC": 2, "Europe/Berlin": 1, "America/New_York": 1}
    for zone, days in zones.items():
        author = make_author()
        Author.objects.filter(pk=author.pk).update(time_zone=zone)
        author.refresh_from_db()
        make_counted(author, midnight - timedelta(seconds=1))
        make_counted(author, midnight)
        assert measure(Terms("distinct_days", 2), counted_history(author)).measured == days, zone


moments = st.integers(0, 12 * 24).map(lambda hours: START + timedelta(hours=hours))
regions = st.sampled_from(["", "DE", "DE-BY", "DE-BE", "AT", "AT-9", "US-CA", "DEU"])
histories = st.lists(
    st.tuples(
        st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu"]),
        st.lists(st.tuples(moments, regions), max_size=14),
        st.none() | moments,
    ),
    min_size=1,
    max_size=4,
)
rules = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(BadgeRule.Kind.values),
        "threshold": st.integers(1, 4),
        "grace_days": st.integers(0, 3),
        "regions": st.lists(st.sampled_from(["DE", "DE-BY", "AT", "US", "US-CA"]), max_size=2, unique=True),
        "starts_at": st.none() | moments,
        "ends_at": st.none() | moments,
    }
)


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules, histories)
def test_python_and_sql_measure_alike(fields: dict[str, Any], people: list[Any]) -> None:
    rule = BadgeRule(code="any", title="Any", **fields)
    if rule.starts_at and rule.ends_at and rule.ends_at <= rule.starts_at:
        rule.ends_at = None
    with transaction.atomic():
        rule.save()
        expected = {}
        for time_zone, posts, since in people:
            author = make_author()
            CountedPost.objects.bulk_create(
                CountedPost(
                    post_id=f"{author.pk}-{number}",
                    author=author,
                    day=day_in(created_at, time_zone),
                    region=region,
                    created_at=created_at,
                )
                for number, (created_at, region) in enumerate(posts)
            )
            if since:
                BadgeAward.objects.create(author=author, rule=rule, status="expired", evidence={}, counts_since=since)
            expected[author.pk] = measure(rule, counted_history(author), since=since).measured

        assert dict(rows_of(measured_by_author(rule))) == {pk: n for pk, n in expected.items() if n}
        some = sorted(expected)[1:2]
        if some:
            narrowed = measured_by_author(rule, after=some[0] - 1, up_to=some[0])
            assert dict(rows_of(narrowed)) == {pk: n for pk, n in expected.items() if n and pk in some}
        transaction.set_rollback(True)
