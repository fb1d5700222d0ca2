"""What holds of every ranking, whatever the candidates and the policy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from incentives import feed
from incentives.boosts import factor_at
from incentives.feed import Candidate, Diversity, Known, Ranked, Reason
from incentives.models import Boost

NOBODY_LOWERED = Diversity(1.0, 1.0)
AUTHORS = ("ada", "bob", "cy")

scores = st.one_of(st.floats(0, 1e12), st.integers(0, 5).map(float))
diversities = st.builds(Diversity, st.floats(0.1, 1), st.floats(0.1, 1))
# A factor, the hours since it began, and whether it is switched off; None: no boost.
Lease = tuple[float, float, bool] | None
Row = tuple[float, str | None, Lease]
leases = st.one_of(st.none(), st.tuples(st.floats(1, 10), st.floats(0, 30), st.booleans()))
posts = st.lists(st.tuples(scores, st.sampled_from((*AUTHORS, None)), leases), max_size=12)


def made(rows: Sequence[Row]) -> tuple[list[Candidate], dict[str, Known]]:
    """Turn rows of (score, author, lease) into candidates and what is known of them; nobody's posts are unknown."""
    candidates, known = [], {}
    for number, (score, author, lease) in enumerate(rows):
        name = f"p{number}"
        candidates.append(Candidate(name, score))
        if author is not None:
            known[name] = Known(name, author, is_withdrawn=False)
            if lease is not None:
                factor, hours, is_off = lease
                known[name] = Known(name, author, False, is_off, factor, 10.0, 6 * 3600, hours * 3600, 24 * 3600)
    return candidates, known


def order(rows: Sequence[Row], diversity: Diversity) -> list[Ranked]:
    return list(feed.order(*made(rows), diversity))


@given(posts, diversities)
def test_an_order_holds_each_candidate_once_and_falls_by_score(rows: list[Row], d: Diversity) -> None:
    ranking = order(rows, d)
    assert sorted(row.post_id for row in ranking) == sorted(f"p{number}" for number in range(len(rows)))
    assert [row.rank for row in ranking] == list(range(1, len(rows) + 1))
    assert [row.score for row in ranking] == sorted((row.score for row in ranking), reverse=True)


@given(posts, diversities)
def test_each_factor_is_within_its_bounds_and_so_is_their_product(rows: list[Row], d: Diversity) -> None:
    least = min(1.0, max(d.floor, d.step**11))
    for row in order(rows, d):
        assert 1 <= row.factors.mask_boost <= 10
        assert d.floor <= least <= row.factors.author_diversity <= 1
        assert d.floor <= row.factor <= 10
        assert row.factor == row.factors.mask_boost * row.factors.author_diversity
        assert row.score == pytest.approx(rows[int(row.post_id[1:])][0] * row.factor)


@given(posts, diversities)
def test_the_same_feed_has_the_same_order(rows: list[Row], d: Diversity) -> None:
    assert order(rows, d) == order(rows, d)


@given(st.lists(st.tuples(scores, st.sampled_from((*AUTHORS, None)), st.none()), max_size=12))
def test_with_no_boost_and_no_diversity_it_is_the_platforms_own_order(rows: list[Row]) -> None:
    own = sorted(range(len(rows)), key=lambda number: -rows[number][0])
    assert [row.post_id for row in order(rows, NOBODY_LOWERED)] == [f"p{number}" for number in own]


@given(posts, diversities, st.integers(-20, 20))
def test_scores_on_another_scale_give_the_same_order(rows: list[Row], d: Diversity, power: int) -> None:
    assume(all(score == 0 or score > 1e-200 for score, *_ in rows))  # below, halving loses digits
    scaled = [(score * 2.0**power, author, lease) for score, author, lease in rows]
    assert [row.post_id for row in order(scaled, d)] == [row.post_id for row in order(rows, d)]


@given(posts.filter(bool), diversities, st.data())
def test_a_higher_score_never_costs_a_post_its_place(rows: list[Row], d: Diversity, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(rows) - 1))
    score, author, lease = rows[number]
    raised = [*rows[:number], (data.draw(st.floats(score, 1e12)), author, lease), *rows[number + 1 :]]

    def place(ranking: list[Ranked]) -> int:
        return next(row.rank for row in ranking if row.post_id == f"p{number}")

    assert place(order(raised, d)) <= place(order(rows, d))


@given(posts, diversities)
def test_diversity_never_turns_an_authors_own_posts_around(rows: list[Row], d: Diversity) -> None:
    plain, spread = order(rows, NOBODY_LOWERED), order(rows, d)
    for author in AUTHORS:
        its = {f"p{number}" for number, row in enumerate(rows) if row[1] == author}
        by_score = {row.post_id: row.score for row in plain}
        values = [by_score[row.post_id] for row in spread if row.post_id in its]
        # What rounding or a score of 0 makes equal keeps the order it came in, which may be the other one.
        assert values == pytest.approx(sorted(values, reverse=True), rel=1e-9)


@given(st.integers(1, 8), st.floats(0.1, 0.95), st.floats(0.1, 0.5), st.floats(0.1, 0.9), st.integers(1, 30))
def test_nobody_fills_a_feed_while_others_are_worth_nearly_as_much(
    allowed: int, step: float, floor: float, worth: float, posts_of_one: int
) -> None:
    """An author whose posts all score 1 has at most k of the first m + k, where m others each have one of `worth`.

    k is how many of the factors 1, step, step², … are at least that worth, if the floor is below it.
    """
    assume(max(floor, step**allowed) < worth)
    others = [Candidate(f"other{number}", worth, None, f"o{number}") for number in range(10)]
    own = [Candidate(f"own{number}", 1.0, None, "ada") for number in range(posts_of_one)]

    ranking = list(feed.order([*own, *others], {}, Diversity(step, floor)))

    first = [row.post_id for row in ranking[: len(others) + allowed]]
    assert sum(name.startswith("own") for name in first) <= allowed
    assert sum(name.startswith("other") for name in first) == len(others)


def test_without_diversity_one_author_fills_the_feed() -> None:
    own = [Candidate(f"own{number}", 1.0, None, "ada") for number in range(20)]
    *_, last = feed.order([*own, Candidate("other", 0.99, None, "bob")], {}, NOBODY_LOWERED)
    assert last.post_id == "other"


def known(**fields: object) -> Known:
    lease = {"factor": 1.5, "cap": 3.0, "half_life_seconds": 21600, "age_seconds": 0.0, "duration_seconds": 86400.0}
    return Known(**({"post_id": "p", "author_id": "ada", "is_withdrawn": False} | lease | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        (None, (1.0, Reason.UNKNOWN)),
        (known(is_withdrawn=True), (1.0, Reason.WITHDRAWN)),
        (known(is_withdrawn=True, is_off=True), (1.0, Reason.WITHDRAWN)),
        (known(factor=None), (1.0, Reason.NOT_BOOSTED)),
        (known(), (1.5, Reason.BOOSTED)),
        (known(age_seconds=21600.0), (1.25, Reason.BOOSTED)),
        (known(factor=9.0), (3.0, Reason.BOOSTED)),
        (known(age_seconds=-0.1), (1.0, Reason.FADED)),
        (known(age_seconds=86400.0), (1.0, Reason.FADED)),
        (known(is_off=True), (1.0, Reason.OFF)),
        (known(is_off=True, age_seconds=86400.0), (1.0, Reason.FADED)),
    ],
)
def test_each_boost_has_its_reason(post: Known | None, expected: tuple[float, Reason]) -> None:
    assert feed.mask_boost(Candidate("p", 1.0), post) == expected


@given(
    st.floats(1, 10),
    st.integers(60, 10**6),
    st.integers(-100, 10**6),
    st.integers(60, 10**6),
    st.none() | st.floats(0, 2e6),
)
def test_a_ranking_sees_the_same_factor_as_everything_else(
    factor: float, half_life: int, began: int, lasts: int, age: float | None
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    starts_at = now - timedelta(seconds=began)
    boost = Boost(
        factor=factor,
        cap=5.0,
        half_life_seconds=half_life,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(seconds=lasts),
    )
    seen = known(factor=factor, cap=5.0, half_life_seconds=half_life, age_seconds=began, duration_seconds=lasts)

    ranked, _ = feed.mask_boost(Candidate("p", 1.0, age), seen)

    assert ranked == pytest.approx(factor_at(boost, now, age=None if age is None else timedelta(seconds=age)), rel=1e-5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86400, "a day"),
        (172800, "2 days"),
        (3600, "an hour"),
        (129600, "36 hours"),
        (5400, "90 minutes"),
        (60, "a minute"),
    ],
)
def test_a_viewer_is_told_how_long_it_lasts(seconds: float, words: str) -> None:
    why = feed.explain(1.5, 1.0, seconds)
    assert why == f"Shown higher because masks are worn in this post; this fades over {words}."


@pytest.mark.parametrize(("boost", "lowered"), [(1.0, 1.0), (1.25, 0.8)])
def test_a_post_that_stands_where_its_score_has_it_needs_no_explanation(boost: float, lowered: float) -> None:
    assert feed.explain(boost, lowered, 86400) is None
