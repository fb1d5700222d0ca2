"""Whatever is done to money, in whatever order, comes out as a plain model of the rules says, and the books prove it.

The model keeps lists of Python objects and knows neither locks nor ledgers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from incentives import campaigns, donations, ledger, offers
from incentives.campaigns import CampaignError
from incentives.models import Campaign, CampaignDay, Match
from moderation.models import Post
from tests.cast import make_author
from tests.incentives.builders import give, make_campaign, masked_posts, take

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOLD = timedelta(hours=20)
REGIONS = ("DE", "DE-BY", "FR")


@dataclass
class Promise:
    """A match of the model."""

    post: int
    author: int
    region: str
    amount: int
    day: date
    settle_at: datetime
    status: str = "reserved"

    @property
    def stands(self) -> bool:
        return self.status in ("reserved", "settled")


@dataclass
class Purse:
    """A campaign of the model."""

    amount: int
    budget: int
    tiers: tuple[tuple[int, int], ...] = ()
    regions: tuple[str, ...] = ()
    per_author: int | None = None
    per_author_and_day: int | None = None
    per_day: int | None = None
    per_region: int | None = None
    ends_at: datetime | None = None
    status: str = "active"
    promises: list[Promise] = field(default_factory=list)

    def standing(self) -> list[Promise]:
        return [promise for promise in self.promises if promise.stands]

    @property
    def committed(self) -> int:
        return sum(promise.amount for promise in self.standing())

    @property
    def next_amount(self) -> int:
        percent = 100
        for start, share in sorted(self.tiers):
            if start <= self.committed:
                percent = share
        return max(1, self.amount * percent // 100)

    @property
    def affords(self) -> bool:
        return self.committed + self.next_amount <= self.budget

    def is_over(self, now: datetime) -> bool:
        return self.ends_at is not None and now >= self.ends_at

    def adjust(self, now: datetime) -> None:
        if self.status == "active" and not self.affords:
            self.status = "exhausted"
        elif self.status == "exhausted" and self.affords and not self.is_over(now):
            self.status = "active"

    def refusal(self, author: int, region: str, now: datetime) -> str | None:
        if self.status not in ("active", "exhausted") or self.is_over(now):
            return "no_campaign"
        if self.regions and not any(f"{region}-".startswith(f"{code}-") for code in self.regions):
            return "not_eligible"
        if self.status == "exhausted" or not self.affords:
            return "budget_spent"
        of_author = [promise for promise in self.standing() if promise.author == author]
        today = [promise for promise in of_author if promise.day == now.date()]
        if self.per_author is not None and len(of_author) >= self.per_author:
            return "author_cap"
        if self.per_author_and_day is not None and len(today) >= self.per_author_and_day:
            return "author_cap"
        here = sum(promise.amount for promise in self.standing() if promise.region == region)
        if self.per_region is not None and here + self.next_amount > self.per_region:
            return "region_cap"
        in_a_day = sum(promise.amount for promise in self.standing() if promise.day == now.date())
        if self.per_day is not None and in_a_day + self.next_amount > self.per_day:
            return "day_cap"
        return None


WEIGHT = ("no_campaign", "not_eligible", "budget_spent", "day_cap", "region_cap", "author_cap")
WORLDS: tuple[tuple[Purse, ...], ...] = (
    (Purse(50, 175, ((100, 50),), per_author=1), Purse(30, 1_000, per_day=90, per_region=60)),
    (Purse(40, 100, ends_at=START + timedelta(days=3)), Purse(10, 60, regions=("DE",), per_author_and_day=1)),
    (Purse(50, 50), Purse(7, 1_000, ((0, 10), (5, 100), (20, 1)), per_region=15)),
)
POST = st.integers(0, 7)
PURSE = st.integers(0, 1)
WITHDRAWN = st.sampled_from([False, False, True])  # what is settled is refunded for an overturned verdict alone


class Money(RuleBasedStateMachine):
    """Two campaigns, eight posts of four authors, and everything that can be done to their money."""

    posts: ClassVar[list[Post]]

    @initialize(world=st.sampled_from(WORLDS))
    def begin(self, world: tuple[Purse, ...]) -> None:
        self.example = transaction.atomic()
        self.example.__enter__()
        self.now = START
        self.purses = [Purse(**{name: getattr(purse, name) for name in FIELDS}) for purse in world]
        self.campaigns = [make_campaign(**fields_of(purse)) for purse in self.purses]

    def teardown(self) -> None:
        if hasattr(self, "example"):
            try:
                self.prove()
            finally:
                transaction.set_rollback(True)
                self.example.__exit__(None, None, None)

    def prove(self) -> None:
        """Once for each example is enough: nothing that was booked on the way is lost from the books."""
        for purse, campaign in zip(self.purses, self.campaigns, strict=True):
            audit = donations.audit(campaign)
            assert audit.problems == ()
            assert (audit.budget_minor, audit.committed_minor) == (purse.budget, purse.committed)
            days = CampaignDay.objects.filter(campaign=campaign)
            assert sum(day.standing_minor for day in days) == purse.committed

    @rule()
    def give_to_all(self) -> None:
        for post in range(len(self.posts)):
            self.give_to(post)

    @rule(post=POST)
    def give(self, post: int) -> None:
        self.give_to(post)

    def give_to(self, post: int) -> None:
        author, region = post // 2, REGIONS[post // 2 % 3]
        refusals = []
        expected: tuple[str, int | None] | None = None
        found = self.promise_of(post)
        if found is not None:
            expected = ("matched", found.amount)
        for purse in [] if expected else self.purses:
            refusal = purse.refusal(author, region, self.now)
            if refusal is not None:
                refusals.append(refusal)
                continue
            amount = purse.next_amount
            purse.promises.append(Promise(post, author, region, amount, self.now.date(), self.now + HOLD))
            purse.adjust(self.now)
            expected = ("matched", amount)
            break
        expected = expected or (max(refusals, key=WEIGHT.index), None)

        decision = give(self.posts[post], self.now)

        assert (decision.reason, decision.match and decision.match.amount_minor) == expected

    @rule(withdrawn=WITHDRAWN)
    def take_from_all(self, withdrawn: bool) -> None:
        for post in range(len(self.posts)):
            self.take_from(post, withdrawn)

    @rule(post=POST, withdrawn=WITHDRAWN)
    def take(self, post: int, withdrawn: bool) -> None:
        self.take_from(post, withdrawn)

    def take_from(self, post: int, withdrawn: bool) -> None:
        promise = self.promise_of(post)
        if promise is not None and not (withdrawn and promise.status == "settled"):
            promise.status = "voided" if promise.status == "reserved" else "refunded"
            for purse in self.purses:
                if promise in purse.promises:
                    purse.adjust(self.now)

        decision = take(self.posts[post], self.now, withdrawn=withdrawn)

        assert (decision.match is not None) == (promise is not None and promise.stands)

    def sweep(self) -> None:
        due = 0
        for purse in self.purses:
            settled = [each for each in purse.promises if each.status == "reserved" and each.settle_at <= self.now]
            for promise in settled:
                promise.status = "settled"
            due += len(settled)
            purse.status = "ended" if purse.is_over(self.now) else purse.status

        assert donations.settle_due(self.now, batch=3) == due
        campaigns.end_due(self.now)
        assert campaigns.reassess(self.now) == 0

    @rule()
    def let_the_window_pass(self) -> None:
        self.now += HOLD
        self.sweep()

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(number=PURSE, minor=st.integers(0, 300))
    def set_budget(self, number: int, minor: int) -> None:
        purse = self.purses[number]
        is_refused = minor < purse.committed
        if not is_refused and minor != purse.budget:
            purse.budget = minor
            purse.adjust(self.now)

        act: Callable[[Campaign], None] = lambda campaign: campaigns.set_budget(campaign, minor, None, "", self.now)  # noqa: E731
        assert self.is_refused(number, act) == is_refused

    @rule(number=PURSE)
    def pause(self, number: int) -> None:
        purse = self.purses[number]
        is_refused = purse.status not in ("active", "exhausted")
        purse.status = purse.status if is_refused else "paused"

        assert self.is_refused(number, campaigns.pause) == is_refused

    @rule(number=PURSE)
    def activate(self, number: int) -> None:
        purse = self.purses[number]
        is_refused = purse.status != "paused" or purse.is_over(self.now)
        if not is_refused:
            purse.status = "active" if purse.affords else "exhausted"

        assert self.is_refused(number, lambda campaign: campaigns.activate(campaign, self.now)) == is_refused

    @invariant()
    def the_campaigns_are_as_the_model_says(self) -> None:
        for purse, campaign in zip(self.purses, self.campaigns, strict=True):
            campaign.refresh_from_db()
            assert campaign.committed_minor <= campaign.budget_minor
            assert (campaign.committed_minor, campaign.budget_minor) == (purse.committed, purse.budget)
            assert campaign.status == purse.status
            kept = sorted(campaign.matches.values_list("post", "amount_minor", "day", "region", "status"))
            assert kept == sorted(
                (self.posts[each.post].pk, each.amount, each.day, each.region, each.status) for each in purse.promises
            )

    def promise_of(self, post: int) -> Promise | None:
        return next((each for purse in self.purses for each in purse.standing() if each.post == post), None)

    def is_refused(self, number: int, act: Callable[[Campaign], None]) -> bool:
        try:
            act(self.campaigns[number])
        except CampaignError:
            return True
        return False


FIELDS = (
    "amount",
    "budget",
    "tiers",
    "regions",
    "per_author",
    "per_author_and_day",
    "per_day",
    "per_region",
    "ends_at",
)


def fields_of(purse: Purse) -> dict[str, Any]:
    return {
        "amount_minor": purse.amount,
        "budget_minor": purse.budget,
        "tiers": purse.tiers,
        "regions": list(purse.regions),
        "cap_per_author": purse.per_author,
        "cap_per_author_per_day": purse.per_author_and_day,
        "cap_per_day_minor": purse.per_day,
        "cap_per_region_minor": purse.per_region,
        "ends_at": purse.ends_at,
        "hold_seconds": int(HOLD.total_seconds()),
    }


# Its data is made in a transaction that each example rolls back, and a busy machine is no failure.
CALM = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def eight_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the posts once: an example that is rolled back leaves them as they were."""
    posts = [post for number in range(4) for post in masked_posts(2, make_author(), region=REGIONS[number % 3])]
    monkeypatch.setattr(Money, "posts", posts, raising=False)


def test_any_order_of_steps_comes_out_as_the_model_says() -> None:
    run_state_machine_as_test(Money, settings=settings(CALM, max_examples=30, stateful_step_count=15))


def forget_refunds(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(ledger._COMMITTED, ledger.Kind.REFUNDED)


def forget_the_day_of_the_promise(patch: pytest.MonkeyPatch) -> None:
    real = ledger._add_up
    patch.setattr(ledger, "_add_up", lambda held, bookings, day: real(held, bookings, date(2026, 11, 20)))


def forget_to_book_what_is_taken_back(patch: pytest.MonkeyPatch) -> None:
    def move_only(match: Match, *_: object) -> None:
        Match.objects.filter(pk=match.pk).update(status="voided" if match.status == "reserved" else "refunded")
        Campaign.objects.filter(pk=match.campaign_id).update(committed_minor=0)

    patch.setattr(donations, "_take_back", move_only)


def promise_without_a_look_at_the_budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "_can_afford", lambda campaign: True)


def forget_the_authors_cap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "_author_cap", lambda *_: None)


def forget_the_money_caps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "_money_cap", lambda *_: None)


def never_reopen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "status_of", lambda campaign, now: Campaign.Status(campaign.status))


def lower_a_budget_without_a_look(patch: pytest.MonkeyPatch) -> None:
    def unguarded(campaign: Campaign, minor: int, *_: object) -> None:
        Campaign.objects.filter(pk=campaign.pk).update(budget_minor=minor)

    patch.setattr(campaigns, "set_budget", unguarded)


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize(
    "break_it",
    [
        forget_refunds,
        forget_the_day_of_the_promise,
        forget_to_book_what_is_taken_back,
        promise_without_a_look_at_the_budget,
        forget_the_authors_cap,
        forget_the_money_caps,
        never_reopen,
        lower_a_budget_without_a_look,
    ],
)
def test_control_a_service_that_is_broken_is_found_out(
    break_it: Callable[[pytest.MonkeyPatch], None], patched: pytest.MonkeyPatch
) -> None:
    break_it(patched)
    search = settings(
        CALM,
        max_examples=150,
        stateful_step_count=15,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )

    with pytest.raises((AssertionError, DatabaseError)):
        run_state_machine_as_test(Money, settings=search)
