"""The feed over HTTP: each factor and its reason, the switches, one query, and refusals that point at their place."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from incentives import feed
from incentives.models import BoostPolicy, Campaign
from incentives.ranking_api import MAX_BODY_BYTES, MAX_CANDIDATES, judged, plainly_right
from moderation.models import Author, Platform, Post
from tests.cast import make_author, make_platform, make_post, make_verdict, withdraw
from tests.incentives.builders import client_for, make_boost, make_campaign, pointers

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/feed/rank"


@pytest.fixture(autouse=True)
def policy(db: None) -> BoostPolicy:
    """The terms for everybody: an author's posts do not stand in each other's way, where a test does not say so."""
    return BoostPolicy.objects.update_or_create(platform=None, defaults={"author_diversity": 1.0})[0]


def boosted(author: Author | None = None, **fields: Any) -> Post:
    post = make_post(author, outcome="masked")
    make_boost(post, **fields)
    return post


def rank(platform: Platform, *candidates: Any) -> Any:
    return client_for(platform).post(ADDRESS, {"candidates": list(candidates)}, format="json")


def ranked(platform: Platform, *candidates: Any) -> list[dict[str, Any]]:
    answer = rank(platform, *candidates)
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["ranking"]
    return rows


def scored(*posts: Post | str, score: float = 1.0) -> list[dict[str, Any]]:
    """Return candidates of one score."""
    return [{"post_id": post if isinstance(post, str) else post.pk, "base_score": score} for post in posts]


# Factors and reasons


def test_a_boosted_post_rises_and_the_answer_says_why() -> None:
    first = boosted()
    plain = make_post(first.author, outcome="unmasked")
    gone = boosted(first.author)
    withdraw(gone)
    foreign = boosted()

    rows = ranked(
        first.platform,
        {"post_id": foreign.pk, "base_score": 0.8},
        {"post_id": plain.pk, "base_score": 1.2},
        {"post_id": gone.pk, "base_score": 1.1},
        {"post_id": first.pk, "base_score": 1.0, "age_seconds": 0},
    )

    assert rows[0] == {
        "post_id": first.pk,
        "rank": 1,
        "score": 1.5,
        "factor": 1.5,
        "factors": {"mask_boost": 1.5, "author_diversity": 1.0},
        "reason": "boosted",
        "why": "Shown higher because masks are worn in this post; this fades over a day.",
    }
    assert [(row["rank"], row["post_id"], row["reason"], row["factor"], row["why"]) for row in rows[1:]] == [
        (2, plain.pk, "not_boosted", 1.0, None),
        (3, gone.pk, "withdrawn", 1.0, None),
        (4, foreign.pk, "unknown_post", 1.0, None),
    ]


def test_the_boost_fades_since_it_began_or_by_the_age_that_the_platform_gives() -> None:
    now = timezone.now()
    post = boosted(starts_at=now - timedelta(hours=12), ends_at=now + timedelta(hours=12))

    def factor(**age: float | None) -> tuple[Any, str]:
        [row] = ranked(post.platform, {"post_id": post.pk, "base_score": 1} | age)
        return row["factor"], row["reason"]

    for age in ({}, {"age_seconds": None}, {"age_seconds": 12 * 3600}):
        assert factor(**age) == (pytest.approx(1.125, abs=1e-4), "boosted")
    assert factor(age_seconds=0) == (1.5, "boosted")
    assert factor(age_seconds=6 * 3600) == (1.25, "boosted")
    assert factor(age_seconds=36 * 3600) == (1.0, "boost_over")


@pytest.mark.parametrize(("starts", "ends"), [(-72, -48), (1, 2)])
def test_a_boost_that_is_over_or_to_come_lifts_nothing(starts: int, ends: int) -> None:
    now = timezone.now()
    post = boosted(starts_at=now + timedelta(hours=starts), ends_at=now + timedelta(hours=ends))

    for age in ({}, {"age_seconds": 0}):
        [row] = ranked(post.platform, {"post_id": post.pk, "base_score": 2} | age)
        assert (row["factor"], row["score"], row["reason"], row["why"]) == (1.0, 2.0, "boost_over", None)


def test_a_boost_that_was_taken_back_lifts_nothing_and_a_second_one_does() -> None:
    post = boosted(revoked_at=timezone.now())
    assert ranked(post.platform, *scored(post))[0]["reason"] == "not_boosted"

    make_boost(post, verdict=make_verdict(post, "masked"), factor=2.0)
    [row] = ranked(post.platform, *scored(post))
    assert row["factor"] == pytest.approx(2.0, abs=1e-3)


def test_equals_keep_their_order() -> None:
    names = [f"post_{number}" for number in (3, 1, 2, 9, 7)]
    assert [row["post_id"] for row in ranked(make_platform(), *scored(*names))] == names


# Author diversity


def test_each_further_post_of_an_author_counts_less(policy: BoostPolicy) -> None:
    BoostPolicy.objects.update(author_diversity=0.5, diversity_floor=0.2)
    author = make_author(external_id="ada")
    posts = [make_post(author, outcome="unmasked") for _ in range(4)]
    other = make_post(make_author(author.platform), outcome="unmasked")

    rows = ranked(author.platform, *scored(*posts), *scored(other, score=0.4))

    assert [(row["post_id"], row["score"]) for row in rows] == [
        (posts[0].pk, 1.0),
        (posts[1].pk, 0.5),
        (other.pk, 0.4),
        (posts[2].pk, 0.25),
        (posts[3].pk, 0.2),
    ]
    assert rows[1]["factors"] == {"mask_boost": 1.0, "author_diversity": 0.5}
    assert rows[1]["why"] == "Shown lower so that one author does not fill the feed."
    assert rows[2]["why"] is None


def test_posts_never_sent_to_us_are_spread_by_the_author_that_the_platform_names() -> None:
    BoostPolicy.objects.update(author_diversity=0.5)
    post = make_post(make_author(external_id="ada"), outcome="unmasked")

    rows = ranked(
        post.platform,
        {"post_id": post.pk, "base_score": 1, "author_id": "somebody else: we know better"},
        {"post_id": "theirs", "base_score": 0.9, "author_id": "ada"},
        {"post_id": "another's", "base_score": 0.8, "author_id": "bob"},
        {"post_id": "nobody's", "base_score": 0.7},
        {"post_id": "nobody's either", "base_score": 0.6, "author_id": None},
    )

    diversity = {row["post_id"]: row["factors"]["author_diversity"] for row in rows}
    assert diversity == {post.pk: 1, "theirs": 0.5, "another's": 1, "nobody's": 1, "nobody's either": 1}


def test_a_viewer_is_told_of_both_factors_in_one_sentence() -> None:
    BoostPolicy.objects.update(author_diversity=0.8, diversity_floor=0.4)
    author = make_author()
    posts = [boosted(author) for _ in range(4)]

    rows = ranked(author.platform, *({"post_id": post.pk, "base_score": 1, "age_seconds": 0} for post in posts))

    assert [row["factor"] for row in rows] == pytest.approx([1.5, 1.2, 0.96, 0.768])
    assert rows[1]["why"] == (
        "Shown higher because masks are worn in this post, if less so, as one author should not fill the feed; "
        "this fades over a day."
    )
    assert rows[2]["why"] == (
        "Shown lower so that one author does not fill the feed, though masks are worn in this post."
    )


# Switches and terms


def test_the_switch_for_everybody_ends_every_factor_at_once() -> None:
    BoostPolicy.objects.update(author_diversity=0.5)
    post = boosted()
    again = boosted(post.author)
    BoostPolicy.objects.create(platform=post.platform, author_diversity=0.5)

    def told() -> list[tuple[Any, str]]:
        return [(row["factor"], row["reason"]) for row in ranked(post.platform, *scored(post, again, "unknown"))]

    assert told()[0] == (pytest.approx(1.5, abs=1e-3), "boosted")
    BoostPolicy.objects.filter(platform=None).update(is_enabled=False)
    assert told() == [(1.0, "boosts_off"), (1.0, "boosts_off"), (1.0, "unknown_post")]
    BoostPolicy.objects.filter(platform=None).update(is_enabled=True)
    assert told()[0] == (pytest.approx(1.5, abs=1e-3), "boosted")


def test_a_platforms_own_switch_and_terms_are_its_own() -> None:
    ours, theirs = boosted(), boosted()
    BoostPolicy.objects.create(platform=ours.platform, is_enabled=False)
    assert ranked(ours.platform, *scored(ours))[0]["reason"] == "boosts_off"
    assert ranked(theirs.platform, *scored(theirs))[0]["reason"] == "boosted"

    BoostPolicy.objects.filter(platform=ours.platform).update(is_enabled=True, author_diversity=0.3)
    for post, expected in ((ours, 0.4), (theirs, 1.0)):
        again = make_post(post.author, outcome="unmasked")
        row = ranked(post.platform, *scored(post, again))[1]
        assert row["factors"]["author_diversity"] == expected, "the floor is 0.4"


def test_a_campaigns_switch_ends_the_boosts_of_the_posts_that_it_matched() -> None:
    campaign, other = make_campaign(), make_campaign()
    author = make_author()
    posts = [boosted(author, campaign=campaign), boosted(author, campaign=other), boosted(author)]
    Campaign.objects.filter(pk=campaign.pk).update(boosts_enabled=False)

    rows = ranked(author.platform, *scored(*posts))

    reasons = {row["post_id"]: row["reason"] for row in rows}
    assert [reasons[post.pk] for post in posts] == ["boosts_off", "boosted", "boosted"]
    assert rows[2]["factor"] == 1.0


def test_without_a_policy_the_defaults_hold() -> None:
    BoostPolicy.objects.all().delete()
    post = boosted()
    again = make_post(post.author, outcome="unmasked")

    rows = ranked(post.platform, *scored(post, again))

    assert rows[0]["factor"] == pytest.approx(1.5, abs=1e-3)
    assert rows[1]["factors"]["author_diversity"] == BoostPolicy().author_diversity < 1


# Cost


def test_ten_thousand_candidates_take_one_query() -> None:
    post = boosted()
    client = client_for(post.platform)
    body = {"candidates": scored(*(f"post_{number}" for number in range(MAX_CANDIDATES - 1)), post)}
    client.post(ADDRESS, body, format="json")  # notes the use of the key

    with CaptureQueriesContext(connection) as queries:
        answer = client.post(ADDRESS, body, format="json")

    rows = answer.json()["ranking"]
    assert (rows[0]["post_id"], len(rows)) == (post.pk, MAX_CANDIDATES)
    assert len([query for query in queries if "moderation_post" in query["sql"]]) == 1
    assert len(queries) == 2, "the other one finds the key"


def test_every_table_of_the_query_is_read_by_an_index() -> None:
    boosted()
    asked: dict[str, Any] = {
        "platform": "p",
        "posts": [str(n) for n in range(1000)],
        "now": timezone.now(),
        "withdrawn": "withdrawn",
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute("EXPLAIN " + feed._LOOK_UP, asked)
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "Seq Scan on moderation_" not in plan
    assert "Seq Scan on incentives_boost " not in plan


# Refusals


GOOD = {"post_id": "a", "base_score": 1}


@pytest.mark.parametrize(
    ("candidate", "problem"),
    [
        ({"post_id": "b"}, ("/base_score", "required")),
        ({"base_score": 1}, ("/post_id", "required")),
        ({"post_id": "b", "base_score": -1}, ("/base_score", "min_value")),
        ({"post_id": "b", "base_score": 1.1e12}, ("/base_score", "max_value")),
        ({"post_id": "b", "base_score": True}, ("/base_score", "invalid")),
        ({"post_id": "", "base_score": 1}, ("/post_id", "blank")),
        ({"post_id": None, "base_score": 1}, ("/post_id", "null")),
        ({"post_id": ["b"], "base_score": 1}, ("/post_id", "invalid")),
        ({"post_id": "b" * 65, "base_score": 1}, ("/post_id", "max_length")),
        ({"post_id": "b\0", "base_score": 1}, ("/post_id", "null_characters_not_allowed")),
        ({"post_id": "b", "base_score": 1, "age_seconds": -1}, ("/age_seconds", "min_value")),
        ({"post_id": "b", "base_score": 1, "author_id": ""}, ("/author_id", "blank")),
        ({"post_id": "b", "base_score": 1, "author_id": "x" * 129}, ("/author_id", "max_length")),
        ({"post_id": "b", "base_score": 1, "author_id": {}}, ("/author_id", "invalid")),
        ({"post_id": "b", "base_score": 1, "age_second": 3}, ("/age_second", "unknown_field")),
        ({"post_id": "a", "base_score": 2}, ("/post_id", "duplicate_post")),
        ({"post_id": " a", "base_score": 2}, ("/post_id", "duplicate_post")),
        ("a", ("", "invalid")),
        (None, ("", "null")),
    ],
)
def test_a_candidate_that_cannot_be_ranked_is_refused_by_its_place(candidate: Any, problem: tuple[str, str]) -> None:
    pointer, code = problem
    assert pointers(rank(make_platform(), GOOD, candidate)) == [(f"/candidates/1{pointer}", code)]


def test_each_wrong_candidate_is_named_up_to_a_hundred() -> None:
    platform = make_platform()
    wrong: dict[str, Any] = {"post_id": "", "base_score": "1", "more": 1}
    assert pointers(rank(platform, wrong, GOOD, GOOD)) == [
        ("/candidates/0/more", "unknown_field"),
        ("/candidates/2/post_id", "duplicate_post"),
    ]
    del wrong["more"]
    assert pointers(rank(platform, GOOD, wrong)) == [
        ("/candidates/1/post_id", "blank"),
        ("/candidates/1/base_score", "invalid"),
    ]
    many = pointers(rank(platform, *[GOOD] * 200))
    assert (len(many), many[-1]) == (100, ("/candidates/100/post_id", "duplicate_post"))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{}", ("/candidates", "required")),
        ('{"candidates": null}', ("/candidates", "null")),
        ('{"candidates": []}', ("/candidates", "min_length")),
        ('{"candidates": {}}', ("/candidates", "not_a_list")),
        ('{"candidates": "abc"}', ("/candidates", "not_a_list")),
        ('{"candidates": [{}], "limit": 3}', ("/limit", "unknown_field")),
        ("[1]", ("", "invalid")),
        ('"a"', ("", "invalid")),
        ("null", ("", "null")),
    ],
)
def test_a_body_of_another_shape_is_refused(body: str, problem: tuple[str, str]) -> None:
    answer = client_for(make_platform()).post(ADDRESS, body, content_type="application/json")
    assert pointers(answer) == [problem]


@pytest.mark.parametrize("number", ["1e400", "1e13", '"NaN"', '"inf"', "NaN", "Infinity", "null", "true", "[]", '""'])
def test_a_score_that_is_no_ordinary_number_is_refused(number: str) -> None:
    body = f'{{"candidates": [{{"post_id": "a", "base_score": {number}}}]}}'
    answer = client_for(make_platform()).post(ADDRESS, body, content_type="application/json")
    assert answer.status_code == 400, answer.content


def test_ten_thousand_of_the_longest_candidates_fit_and_not_one_more() -> None:
    client = client_for(make_platform())
    rows = [
        {
            "post_id": f"{number:064}",
            "base_score": number / 7,
            "age_seconds": 315_359_999.123456,
            "author_id": f"{number:0128}",
        }
        for number in range(MAX_CANDIDATES + 1)
    ]
    assert len(json.dumps(rows)) < MAX_BODY_BYTES

    assert client.post(ADDRESS, {"candidates": rows[1:]}, format="json").status_code == 200
    assert pointers(client.post(ADDRESS, {"candidates": rows}, format="json")) == [("/candidates", "max_length")]


def test_a_body_that_is_too_long_is_refused_unread() -> None:
    body = '{"candidates": [' + " " * MAX_BODY_BYTES + "]}"
    answer = client_for(make_platform()).post(ADDRESS, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([0, 1, 1e12, 1.1e12, -0.0, 315_360_000, 315_360_001]),
    st.sampled_from([" a", "a ", "a b", "a\n", "\ud800", "ä", "\u2028", "\0"]),
    st.text("aä ", min_size=60, max_size=130),
    st.lists(st.none(), max_size=1),
)
ROWS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"post_id": st.one_of(st.just("a"), JSON), "base_score": st.one_of(st.just(1), JSON)},
        optional={"age_seconds": JSON, "author_id": JSON, "more": st.none()},
    ),
)


@given(ROWS, st.booleans())
def test_what_is_plainly_right_is_what_the_serializer_would_have_read(row: Any, as_ascii: bool) -> None:
    try:
        content = json.dumps({"candidates": [row]}, ensure_ascii=as_ascii).encode()
    except UnicodeEncodeError:  # half a surrogate pair is sent by its escape or not at all
        return
    body = plainly_right(content)
    if body is not None:
        assert body.candidates == judged(json.loads(content))


@pytest.mark.parametrize("post_id", ["a", " a ", "ä", "a b"])
def test_an_unusual_id_is_taken_as_ever(post_id: str) -> None:
    [row] = ranked(make_platform(), {"post_id": post_id, "base_score": 1})
    assert row["post_id"] == post_id.strip()


def test_an_id_that_is_a_number_is_refused() -> None:
    body = {"candidates": [{"post_id": 17, "base_score": 1}]}
    answer = client_for(make_platform()).post(ADDRESS, body, format="json")
    assert (answer.status_code, pointers(answer)) == (400, [("/candidates/0/post_id", "invalid")])


def test_another_encoding_is_read_as_ever() -> None:
    body = json.dumps({"candidates": [{"post_id": "ä", "base_score": 1}]}, ensure_ascii=False).encode("latin-1")
    answer = client_for(make_platform()).post(ADDRESS, body, content_type="application/json; charset=latin-1")
    assert answer.json()["ranking"][0]["post_id"] == "ä"


def test_an_ordinary_candidate_needs_no_serializer() -> None:
    row: dict[str, Any] = {
        "post_id": "post_01ky3q2m4p6r8t0v2x4z6b8d0f",
        "base_score": 0,
        "age_seconds": 1.5,
        "author_id": "ä ö/1",
    }
    body = plainly_right(json.dumps({"candidates": [row]}).encode())
    assert body is not None
    assert body.candidates == [feed.Candidate(**row)]


def test_an_empty_body_is_refused() -> None:
    answer = client_for(make_platform()).post(ADDRESS, b"", content_type="application/json")
    assert pointers(answer) == [("/candidates", "required")]


def test_boosts_of_many_posts_are_told_apart() -> None:
    author = make_author()
    posts = [boosted(author, factor=1 + number / 10) for number in range(10)]
    rows = ranked(author.platform, *({"post_id": post.pk, "base_score": 1, "age_seconds": 0} for post in posts))

    assert [row["post_id"] for row in rows] == [post.pk for post in reversed(posts)]
    assert [row["factor"] for row in rows] == pytest.approx([1 + number / 10 for number in reversed(range(10))])
