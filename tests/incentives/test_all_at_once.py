"""Whatever people, beat and workers do at the same moment, nobody waits for ever and what comes out is true."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from incentives import campaigns, donations, ledger, rewards
from incentives.badges import backfill, staff
from incentives.badges.staff import StepError
from incentives.campaigns import CampaignError
from incentives.models import BadgeAward, BadgeRule, Boost, Campaign, Claim, CountedPost, Match, PendingChange
from moderation import posts, reevaluation, reviews
from moderation.models import Post, Verdict
from moderation.reviews import ReviewError
from tests.cast import make_author, make_platform, make_post, make_reviewer
from tests.incentives.builders import make_campaign, make_endpoint
from tests.incentives.experiment_rows import make_experiment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]

Act = Callable[[], object]
REFUSALS = (StepError, CampaignError, ReviewError)
SECONDS = 6.0


def acts() -> list[Act]:
    """Make a small world, and return what is done to it: each by a thread of its own, again and again."""
    user, rule = make_reviewer(), BadgeRule.objects.get(code="first-mask")
    platforms = [make_platform() for _ in range(2)]
    for platform in platforms:
        make_endpoint(platform)
    make_experiment(holdout_percent=30)
    own = make_campaign(hold_seconds=0, platform=platforms[0], cap_per_region_minor=800)
    purses = [own, make_campaign(hold_seconds=0, budget_minor=300, tiers=[(200, 10)]), make_campaign(hold_seconds=0)]
    authors = [make_author(platform) for platform in platforms for _ in range(3)]
    made = [make_post(random.choice(authors), outcome="masked") for _ in range(30)]
    for post in made:
        rewards.expect_verdict(post.pk, post.verdicts.get().pk)

    def apply() -> None:
        waiting = Verdict.objects.filter(reward_application=None).order_by("?").values_list("pk", flat=True).first()
        if waiting is not None:
            rewards.apply_verdict(waiting)

    def withdraw() -> None:
        gone = random.choice(made)
        if random.random() < 0.1:
            posts.withdraw(gone)
        rewards.take_back(gone.pk)

    def measure() -> None:
        backfill.work(backfill.start(rule, user).pk, for_at_most=timedelta(seconds=SECONDS))

    def touch_a_badge() -> None:
        award = BadgeAward.objects.order_by("?").first()
        if award is not None:
            random.choice([staff.suspend, staff.revoke, staff.reinstate])(award.pk, user, "Seen by eye.")

    def move_a_campaign() -> None:
        campaign = random.choice(purses)
        if random.random() < 0.5:
            campaigns.pause(campaign)
        else:
            campaigns.activate(campaign, timezone.now())

    return [
        *(apply, apply, withdraw, measure, touch_a_badge, move_a_campaign),
        *(lambda: donations.settle_due(later()), lambda: donations.settle_due(later()), lambda: rewards.sweep(later())),
        lambda: campaigns.set_budget(random.choice(purses), random.randrange(4000), None, "", timezone.now()),
        lambda: reviews.overrule(random.choice(made), random.choice(["masked", "unmasked"]), user, "Seen by eye."),
        lambda: reevaluation.judge_anew([random.choice(made).pk], "A new policy."),
    ]


def later() -> datetime:
    return timezone.now() + rewards.LOST_AFTER


def live(everything: list[Act]) -> Counter[str]:
    """Let every thread do its part until the time is over; count the errors that are no refusals."""
    until, errors = time.monotonic() + SECONDS, Counter[str]()

    def run(act: Act) -> None:
        try:
            while time.monotonic() < until:
                try:
                    act()
                except REFUSALS:
                    pass
                except Exception as error:  # counted, whatever it is
                    errors[f"{type(error).__name__}: {error}"[:200]] += 1
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(act,)) for act in everything]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_whatever_is_done_at_once_ends_without_a_deadlock_and_comes_out_true() -> None:
    everything = acts()

    assert live(everything) == Counter()

    rewards.sweep(later())
    assert not PendingChange.objects.exists()
    for campaign in Campaign.objects.all():
        assert donations.audit(campaign).problems == ()
    for post in Post.objects.all():
        ruling = Claim.objects.filter(post=post).values_list("ruling", flat=True).first()
        counts = post.outcome == "masked" and post.status != "withdrawn" and ruling == "counts"
        assert CountedPost.objects.filter(post=post).exists() == counts
        if not counts:
            assert not Boost.objects.filter(post=post, revoked_at=None).exists()
            kept = Match.objects.filter(post=post, status__in=donations.STANDING)
            assert all((match.status, post.status) == ("settled", "withdrawn") for match in kept)


def test_control_a_service_that_holds_two_campaigns_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = acts()
    real, keys = ledger.hold, list(Campaign.objects.filter(sponsor__name="A Sponsor").values_list("pk", flat=True))

    def hold_another_first(campaign_id: str) -> Campaign:
        real(random.choice(keys))
        return real(campaign_id)

    monkeypatch.setattr(ledger, "hold", hold_another_first)

    assert any(OperationalError.__name__ in error and "deadlock" in error for error in live(everything))
