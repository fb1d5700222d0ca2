"""Badges are what an author's masked posts add up to."""

from datetime import UTC, datetime, timedelta

import pytest

from incentives import badges, rewards
from incentives.models import BadgeAward, BadgeRule
from moderation.models import Author
from tests.cast import make_author, make_post, make_verdict

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def post_on(author: Author, when: datetime, outcome: str = "masked") -> str:
    post = make_post(author, outcome=outcome, created_at=when)
    rewards.apply_verdict(post.verdicts.get().pk)
    return post.pk


def held(author: Author) -> list[str]:
    return sorted(BadgeAward.objects.filter(author=author, status="active").values_list("rule_id", flat=True))


def test_five_distinct_days_earn_the_second_badge() -> None:
    author = make_author()
    for day in range(4):
        post_on(author, NOON + timedelta(days=day))
        post_on(author, NOON + timedelta(days=day, hours=1))
    assert held(author) == ["first-mask"]

    last = post_on(author, NOON + timedelta(days=40))

    assert held(author) == ["first-mask", "five-days"]
    award = BadgeAward.objects.get(author=author, rule="five-days")
    assert award.evidence["measured"] == 5
    assert len(award.evidence["post_ids"]) == 5
    assert award.evidence["post_ids"][-1] == last


def test_days_are_those_of_utc() -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    around = [badges.MaskedPost("a", midnight - timedelta(seconds=1)), badges.MaskedPost("b", midnight)]
    rule = BadgeRule.objects.get(code="five-days")

    assert badges.measure(rule, around).measured == 2
    assert badges.measure(rule, []).measured == 0


def test_days_without_a_mask_do_not_count() -> None:
    author = make_author()
    for day in range(5):
        post_on(author, NOON + timedelta(days=day), "masked" if day else "unmasked")

    assert held(author) == ["first-mask"]


def test_another_authors_posts_do_not_count() -> None:
    mine, other = make_author(), make_author()
    post_on(other, NOON)
    post_on(mine, NOON, "unmasked")

    assert held(mine) == []
    assert held(other) == ["first-mask"]


def test_a_rule_that_is_switched_off_awards_no_more_but_keeps_what_it_gave() -> None:
    before, after = make_author(), make_author()
    post_on(before, NOON)
    BadgeRule.objects.filter(code="first-mask").update(is_active=False)

    post_on(after, NOON)
    post_on(before, NOON + timedelta(days=1))

    assert (held(before), held(after)) == (["first-mask"], [])


def test_a_suspended_badge_stays_suspended() -> None:
    author = make_author()
    post_on(author, NOON)
    BadgeAward.objects.filter(author=author).update(status="suspended")

    post_on(author, NOON + timedelta(days=1))

    assert BadgeAward.objects.get(author=author).status == "suspended"


def test_a_rule_added_later_is_earned_with_the_next_post_and_leaves_with_its_ground() -> None:
    author = make_author()
    for day in range(3):
        post_on(author, NOON + timedelta(days=day))
    BadgeRule.objects.create(code="two", title="Two", kind="masked_posts", threshold=2)

    last = make_post(author, outcome="masked", created_at=NOON + timedelta(days=3))
    rewards.apply_verdict(last.verdicts.get().pk)
    award = BadgeAward.objects.get(rule="two")
    assert (award.verdict.post_id, award.evidence["measured"]) == (last.pk, 4)

    rewards.apply_verdict(make_verdict(last, "unmasked").pk)

    award.refresh_from_db()
    assert award.status == "active"
    assert award.verdict.post_id != last.pk, "no badge rests on a post that lost its verdict"
