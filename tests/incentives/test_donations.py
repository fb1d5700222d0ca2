"""A campaign gives to masked posts by its own rules, and never more than its budget."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from incentives import donations, ledger
from incentives.models import Campaign, Event, LedgerEntry, Match, PendingChange, RewardApplication
from moderation.models import Appeal, Author, Post
from tests.cast import make_author, make_platform, make_reviewer, make_verdict
from tests.incentives.builders import give, make_campaign, masked_posts, take, types_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

Reason = RewardApplication.Reason
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def amounts(posts: list[Post]) -> list[int | None]:
    decisions = [give(post) for post in posts]
    return [decision.match.amount_minor if decision.match else None for decision in decisions]


def test_a_masked_post_is_matched_once_and_told_with_what_caused_it() -> None:
    campaign = make_campaign()
    [post] = masked_posts(1, region="DE-BY")
    verdict = post.verdicts.get()

    first, second = give(post, NOON), give(post, NOON)

    assert first.match is not None
    assert (first.reason, first.match) == (Reason.MATCHED, second.match)
    match = Match.objects.get()
    assert (match.amount_minor, match.status, match.day, match.region) == (50, "reserved", NOON.date(), "DE-BY")
    assert match.settle_at == NOON + timedelta(seconds=campaign.hold_seconds)
    entry = LedgerEntry.objects.get(match=match)
    assert (entry.number, entry.kind, entry.amount_minor, entry.region) == (2, "reserved", 50, "DE-BY")
    assert (entry.cause, entry.cause_id, entry.causation_id) == ("verdict", verdict.pk, verdict.pk)
    event = Event.objects.get(type="donation.matched")
    assert event.causation_id == verdict.pk
    assert event.data == {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "match_id": match.pk,
        "campaign": {"id": campaign.pk, "name": campaign.name, "sponsor": "A Sponsor"},
        "amount_minor": 50,
        "currency": "EUR",
    }


def test_a_post_that_no_campaign_gives_to_is_told_why() -> None:
    [post] = masked_posts(1)

    assert give(post) == donations.Decision(Reason.NO_CAMPAIGN, None)

    event = Event.objects.get(type="donation.declined")
    assert event.causation_id == post.verdicts.get().pk
    assert event.data == {
        "post_id": post.pk,
        "author_id": post.author.external_id,
        "verdict_id": post.verdicts.get().pk,
        "reason": "no_campaign",
        "text": "No sponsor gives at this time.",
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "draft"}, Reason.NO_CAMPAIGN),
        ({"status": "paused"}, Reason.NO_CAMPAIGN),
        ({"status": "ended"}, Reason.NO_CAMPAIGN),
        ({"starts_at": datetime(2999, 1, 1, tzinfo=UTC)}, Reason.NO_CAMPAIGN),
        (
            {"starts_at": datetime(2020, 1, 1, tzinfo=UTC), "ends_at": datetime(2020, 2, 1, tzinfo=UTC)},
            Reason.NO_CAMPAIGN,
        ),
        ({"budget_minor": 49}, Reason.BUDGET_SPENT),
        ({"budget_minor": 0}, Reason.BUDGET_SPENT),
        ({"regions": ["FR"]}, Reason.NOT_ELIGIBLE),
        ({"cap_per_author": 0}, Reason.AUTHOR_CAP),
        ({"cap_per_author_per_day": 0}, Reason.AUTHOR_CAP),
        ({"cap_per_day_minor": 49}, Reason.DAY_CAP),
        ({"cap_per_region_minor": 49}, Reason.REGION_CAP),
    ],
)
def test_a_campaign_that_does_not_run_or_has_too_little_gives_nothing(
    fields: dict[str, Any], reason: RewardApplication.Reason
) -> None:
    campaign = make_campaign(**fields)

    assert give(masked_posts(1)[0]).reason == reason

    campaign.refresh_from_db()
    assert campaign.committed_minor == 0
    assert not Match.objects.exists()


def test_of_several_refusals_the_most_telling_is_told() -> None:
    [post] = masked_posts(1)
    for fields, told in (
        ({"regions": ["FR"]}, Reason.NOT_ELIGIBLE),
        ({"budget_minor": 10}, Reason.BUDGET_SPENT),
        ({"cap_per_day_minor": 10}, Reason.DAY_CAP),
        ({"cap_per_region_minor": 10}, Reason.REGION_CAP),
        ({"cap_per_author": 0}, Reason.AUTHOR_CAP),
    ):
        make_campaign(**fields)
        make_campaign(**fields, status="paused")
        assert give(post).reason == told


def test_a_platforms_own_campaigns_come_first_then_the_lower_priority_then_the_older() -> None:
    author = make_author()
    older, newer = make_campaign(budget_minor=50), make_campaign(budget_minor=50)
    urgent = make_campaign(budget_minor=50, priority=10)
    make_campaign(platform=make_platform(), priority=1)
    own = make_campaign(platform=author.platform, budget_minor=50, priority=900)

    matches = [give(post).match for post in masked_posts(5, author)]

    assert [match and match.campaign for match in matches] == [own, urgent, older, newer, None]


@pytest.mark.parametrize(
    ("regions", "region", "is_for"),
    [
        ([], "", True),
        ([], "DE", True),
        (["DE"], "DE", True),
        (["DE"], "DE-BY", True),
        (["FR", "DE-BY"], "DE-BY", True),
        (["DE-BY"], "DE", False),
        (["DE-BY"], "DE-BE", False),
        (["DE-B"], "DE-BY", False),
        (["DE"], "", False),
    ],
)
def test_a_country_stands_for_its_parts_and_an_untold_region_for_none(
    regions: list[str], region: str, is_for: bool
) -> None:
    make_campaign(regions=regions)

    [post] = masked_posts(1, region=region)

    assert give(post).reason == (Reason.MATCHED if is_for else Reason.NOT_ELIGIBLE)


@pytest.mark.parametrize(
    ("age", "reason"),
    [(timedelta(days=6, hours=23), Reason.NOT_ELIGIBLE), (timedelta(days=7), Reason.MATCHED), (None, Reason.MATCHED)],
)
def test_an_account_must_be_old_enough_where_its_age_is_told(
    age: timedelta | None, reason: RewardApplication.Reason
) -> None:
    make_campaign(min_account_age_days=7)
    author = make_author()
    Author.objects.filter(pk=author.pk).update(registered_at=age and NOON - age)

    assert give(masked_posts(1, author)[0], NOON).reason == reason


def test_a_tier_counts_from_what_is_promised_before() -> None:
    campaign = make_campaign(budget_minor=117, amount_minor=50, tiers=[(100, 10), (0, 100), (115, 1)])

    assert amounts(masked_posts(7)) == [50, 50, 5, 5, 5, 1, 1]

    campaign.refresh_from_db()
    assert (campaign.committed_minor, campaign.status) == (117, "exhausted")


def test_before_its_first_tier_a_campaign_gives_everything() -> None:
    make_campaign(amount_minor=50, tiers=[(100, 50)])

    assert amounts(masked_posts(3)) == [50, 50, 25]


def test_the_caps_per_author_count_what_stands_in_all_and_in_a_day_of_the_campaign() -> None:
    make_campaign(cap_per_author=3, cap_per_author_per_day=2, time_zone="Asia/Tokyo")
    author = make_author()
    posts = masked_posts(6, author)
    before_midnight = datetime(2026, 11, 20, 14, 59, tzinfo=UTC)  # in Tokyo it is 23:59
    after_midnight = before_midnight + timedelta(minutes=1)

    assert [give(post, before_midnight).reason for post in posts[:3]] == ["matched", "matched", "author_cap"]
    match = give(posts[2], after_midnight).match
    assert match is not None
    assert match.day == date(2026, 11, 21)
    assert give(posts[3], after_midnight).reason == Reason.AUTHOR_CAP
    take(posts[0], after_midnight)
    assert give(posts[3], after_midnight).reason == Reason.MATCHED
    assert give(posts[4], after_midnight + timedelta(days=1)).reason == Reason.AUTHOR_CAP
    assert give(masked_posts(1)[0], after_midnight).reason == Reason.MATCHED


def test_the_days_cap_is_of_money_that_was_promised_on_the_day_and_stands() -> None:
    make_campaign(cap_per_day_minor=120)
    posts = [*masked_posts(1, region="DE"), *masked_posts(3)]

    assert [give(post, NOON).reason for post in posts[:3]] == ["matched", "matched", "day_cap"]
    next_day = NOON + timedelta(days=1)
    take(posts[0], next_day)
    assert give(posts[2], NOON).reason == Reason.MATCHED
    assert [give(post, next_day).reason for post in (posts[0], posts[3])] == ["matched", "matched"]


def test_a_regions_cap_is_of_all_its_days_and_of_no_other_region() -> None:
    campaign = make_campaign(cap_per_region_minor=100)
    here = masked_posts(3, region="DE")
    there = masked_posts(1, region="DE-BY")

    days = [NOON + timedelta(days=days) for days in range(3)]
    assert [give(post, day).reason for post, day in zip(here, days, strict=True)] == [
        "matched",
        "matched",
        "region_cap",
    ]
    assert give(there[0], NOON).reason == Reason.MATCHED
    assert donations.audit(campaign).problems == ()


def test_an_overturned_verdict_releases_what_is_reserved() -> None:
    campaign = make_campaign(budget_minor=50)
    first, second = masked_posts(2)
    give(first, NOON)
    verdict = make_verdict(first, "unmasked", source="reviewer")

    assert take(first, NOON) == donations.Decision(Reason.NOT_MASKED, None)
    assert take(first, NOON) == donations.Decision(Reason.NOT_MASKED, None)

    entry = LedgerEntry.objects.get(kind="voided")
    assert (entry.cause, entry.cause_id, entry.causation_id) == ("verdict", verdict.pk, verdict.pk)
    assert types_of(first) == ["donation.matched", "donation.voided"]
    assert Event.objects.get(type="donation.voided").causation_id == verdict.pk
    assert give(second).reason == Reason.MATCHED
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.voided_minor, audit.problems) == (50, 50, ())


def test_a_withdrawn_post_gives_back_what_is_reserved_and_leaves_what_is_settled() -> None:
    campaign = make_campaign(hold_seconds=60)
    reserved, settled = masked_posts(2)
    give(settled, NOON)
    assert donations.settle_due(NOON + timedelta(minutes=1)) == 1
    give(reserved, NOON)

    assert take(reserved, withdrawn=True) == donations.Decision(Reason.WITHDRAWN, None)
    kept = take(settled, withdrawn=True)

    assert (kept.reason, kept.match) == (Reason.MATCHED, Match.objects.get(post=settled, status="settled"))
    entry = LedgerEntry.objects.get(kind="voided")
    assert (entry.cause, entry.cause_id) == ("withdrawal", "evt_withdrawal")
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.settled_minor, audit.problems) == (50, 50, ())


def test_an_overturned_verdict_refunds_what_is_settled_and_a_later_one_is_matched_anew() -> None:
    campaign = make_campaign(hold_seconds=0)
    [post] = masked_posts(1)
    give(post, NOON)
    assert donations.settle_due(NOON) == 1

    assert take(post, NOON) == donations.Decision(Reason.NOT_MASKED, None)
    again = give(post, NOON)

    assert again.reason == Reason.MATCHED
    assert types_of(post) == ["donation.matched", "donation.settled", "donation.refunded", "donation.matched"]
    assert sorted(post.matches.values_list("status", flat=True)) == ["refunded", "reserved"]
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.settled_minor, audit.refunded_minor) == (50, 50, 50)
    assert audit.problems == ()


def test_a_campaign_is_exhausted_by_the_post_that_leaves_too_little_and_reopened_by_money_that_comes_back() -> None:
    campaign = make_campaign(budget_minor=120)
    posts = masked_posts(3)
    give(posts[0])
    campaign.refresh_from_db()
    assert campaign.status == "active"

    give(posts[1])
    campaign.refresh_from_db()
    assert campaign.status == "exhausted"
    assert give(posts[2]).reason == Reason.BUDGET_SPENT

    take(posts[1])
    campaign.refresh_from_db()
    assert campaign.status == "active"
    assert give(posts[2]).reason == Reason.MATCHED


@pytest.mark.parametrize("status", ["paused", "ended"])
def test_money_that_comes_back_opens_no_campaign_that_staff_closed(status: str) -> None:
    campaign = make_campaign(budget_minor=100)
    [post] = masked_posts(1)
    give(post)
    Campaign.objects.filter(pk=campaign.pk).update(status=status)

    take(post)

    campaign.refresh_from_db()
    assert (campaign.status, campaign.committed_minor) == (status, 0)


def test_matches_settle_when_they_are_due_and_are_told() -> None:
    campaigns = [make_campaign(hold_seconds=3600, budget_minor=150), make_campaign(hold_seconds=3600)]
    for post in masked_posts(5):
        give(post, NOON)
    later = NOON + timedelta(hours=1)

    assert donations.settle_due(later - timedelta(seconds=1)) == 0
    assert donations.settle_due(later, batch=2) == 5
    assert donations.settle_due(later) == 0

    audits = [donations.audit(campaign) for campaign in campaigns]
    assert [(audit.reserved_minor, audit.settled_minor) for audit in audits] == [(0, 150), (0, 100)]
    assert [audit.problems for audit in audits] == [(), ()]
    match = Match.objects.first()
    assert match is not None
    entry = LedgerEntry.objects.get(match=match, kind="settled")
    assert (entry.cause, entry.cause_id, entry.causation_id) == ("window_over", match.pk, match.pk)
    told = Event.objects.filter(type="donation.settled")
    assert told.count() == 5
    assert set(told.values_list("causation_id", flat=True)) == set(Match.objects.values_list("pk", flat=True))


def test_a_match_is_not_settled_while_something_may_still_take_it_back() -> None:
    make_campaign(hold_seconds=0)
    [changing, doubted, upheld] = posts = masked_posts(3)
    for post in posts:
        give(post, NOON)
    change = PendingChange.objects.create(post=changing, causation_id="ver_x")
    appeals = [
        Appeal.objects.create(post=post, against=post.verdicts.get(), statement="It is a mask.")
        for post in (doubted, upheld)
    ]
    decided = {"decided_by": make_reviewer(), "decided_at": NOON, "answer": "It is."}
    Appeal.objects.filter(pk=appeals[1].pk).update(status="dismissed", **decided)

    assert donations.settle_due(NOON) == 1
    assert Match.objects.get(status="settled").post == upheld
    change.delete()
    assert donations.settle_due(NOON) == 1
    Appeal.objects.filter(pk=appeals[0].pk).update(status="dismissed", **decided)
    assert donations.settle_due(NOON) == 1


def test_a_campaign_whose_books_are_broken_keeps_no_others_money_from_being_settled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, sound = sorted((make_campaign(regions=[code], hold_seconds=0) for code in ("DE", "FR")), key=lambda c: c.pk)
    for campaign in (broken, sound):
        give(masked_posts(1, region=campaign.regions[0])[0], NOON)
    Campaign.objects.filter(pk=broken.pk).update(last_entry=0)  # the next number is taken

    assert donations.settle_due(NOON) == 1

    assert Match.objects.get(status="settled").campaign == sound
    assert f"The matches of {broken.pk} could not be settled." in caplog.text


def test_an_amount_that_is_changed_while_a_post_is_matched_is_the_one_that_is_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = make_campaign(amount_minor=50)
    hold = ledger.hold

    def edited_before_it_is_held(campaign_id: str) -> Campaign:
        Campaign.objects.filter(pk=campaign_id).update(amount_minor=70)
        return hold(campaign_id)

    monkeypatch.setattr(ledger, "hold", edited_before_it_is_held)

    match = give(masked_posts(1)[0]).match

    campaign.refresh_from_db()
    assert match is not None
    assert (match.amount_minor, campaign.committed_minor) == (70, 70)


def test_the_money_of_an_erased_author_still_settles() -> None:
    campaign = make_campaign(hold_seconds=0)
    [post] = masked_posts(1)
    give(post, NOON)
    post.author.delete()

    assert donations.settle_due(timezone.now()) == 1

    assert donations.audit(campaign).problems == ()
    assert not Event.objects.filter(type="donation.settled").exists()
