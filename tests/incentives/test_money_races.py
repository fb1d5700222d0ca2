"""Money with real threads against a real PostgreSQL; each guard beside a control in which it is off."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.models import Count, Max, Sum
from django.utils import timezone

from incentives import campaigns, donations, ledger, offers
from incentives.campaigns import CampaignError
from incentives.models import Campaign, Event, LedgerEntry, Match, RewardApplication
from moderation.models import Post
from tests.cast import make_author, make_platform
from tests.incentives.builders import at_once, give, make_campaign, masked_posts, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seeded")]

Reason = RewardApplication.Reason


def naive_reserve(post: Post) -> bool:
    """Match a post the way one would without thinking of others: read, compare, write."""
    campaign = Campaign.objects.get(status=Campaign.Status.ACTIVE)
    if campaign.committed_minor + campaign.amount_minor > campaign.budget_minor:
        return False
    time.sleep(0.002)  # what a busy database takes
    campaign.committed_minor += campaign.amount_minor
    campaign.save(update_fields=["committed_minor"])
    today = timezone.now().date()
    match = Match.objects.create(
        campaign=campaign,
        post=post,
        amount_minor=campaign.amount_minor,
        day=today,
        settle_at=timezone.now() + timedelta(1),
    )
    with transaction.atomic():  # the books themselves are kept with care
        held = ledger.hold(campaign.pk)
        LedgerEntry.objects.create(
            campaign=held,
            number=held.last_entry + 1,
            match=match,
            kind="reserved",
            amount_minor=match.amount_minor,
            day=match.day,
            cause="verdict",
        )
        Campaign.objects.filter(pk=held.pk).update(last_entry=held.last_entry + 1)
    return True


def test_control_reading_before_writing_promises_more_than_there_is() -> None:
    campaign = make_campaign(budget_minor=50 * 50)

    at_once(naive_reserve, masked_posts(200))

    # The check on the campaign's row sees nothing wrong: updates were lost. The books do.
    campaign.refresh_from_db()
    assert campaign.committed_minor <= campaign.budget_minor
    audit = donations.audit(campaign)
    assert audit.committed_minor > campaign.budget_minor
    assert any("are promised of a budget of 2500" in problem for problem in audit.problems)


def test_two_hundred_posts_against_a_budget_for_fifty_are_matched_fifty_times() -> None:
    campaign = make_campaign(budget_minor=50 * 50 + 49)
    posts = [post for _ in range(20) for post in masked_posts(10)]

    told = Counter(decision.reason for decision in at_once(give, posts))

    assert told == {Reason.MATCHED: 50, Reason.BUDGET_SPENT: 150}
    assert Event.objects.filter(type="donation.matched").count() == 50
    audit = donations.audit(campaign)
    assert (audit.committed_minor, audit.problems) == (50 * 50, ())
    campaign.refresh_from_db()
    assert campaign.status == "exhausted"


def test_five_hundred_posts_over_three_campaigns_keep_to_every_budget_and_cap() -> None:
    # Each platform asks its own campaign first, so that they are asked in different orders.
    here, there = make_platform(), make_platform()
    own = make_campaign(platform=here, budget_minor=60 * 50, cap_per_author=2)
    other = make_campaign(platform=there, cap_per_day_minor=40 * 50, cap_per_author_per_day=3)
    shared = make_campaign(budget_minor=4_000, tiers=[(2_000, 10)], cap_per_region_minor=1_500)
    posts = [
        post
        for number in range(50)
        for post in masked_posts(10, make_author((here, there)[number % 2]), region=("DE", "DE-BY", "FR")[number % 3])
    ]

    decisions = at_once(give, posts)

    assert Match.objects.count() == sum(decision.match is not None for decision in decisions)
    assert [donations.audit(campaign).problems for campaign in (own, other, shared)] == [(), (), ()]
    per_author = Match.objects.values("campaign", "author").annotate(count=Count("pk"))
    assert per_author.filter(campaign=own).aggregate(most=Max("count"))["most"] == 2
    assert per_author.filter(campaign=other).aggregate(most=Max("count"))["most"] == 3
    # All three are wanted more often than they can give: what they may give is given to the last cent.
    assert own.matches.count() == 25 * 2
    assert other.matches.count() == 40
    per_region = shared.matches.values_list("region").annotate(total=Sum("amount_minor"))
    assert all(total <= 1_500 for _, total in per_region)
    shared.refresh_from_db()
    assert 2_000 <= shared.committed_minor <= 4_000
    gaps = {decision.reason for decision in decisions}
    assert gaps <= {Reason.MATCHED, Reason.AUTHOR_CAP, Reason.DAY_CAP, Reason.REGION_CAP, Reason.BUDGET_SPENT}


def give_all(posts: Sequence[Post]) -> None:
    for post in posts:
        give(post)


def test_processes_of_their_own_keep_to_budget_and_caps_as_well() -> None:
    campaign = make_campaign(budget_minor=40 * 50, cap_per_author=3)
    posts = [post for _ in range(20) for post in masked_posts(6)]
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=give_all, args=(posts[lane::4],)) for lane in range(4)]

    connections.close_all()  # a connection must not be in two processes
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)

    assert [worker.exitcode for worker in workers] == [0] * 4
    assert campaign.matches.count() == 40
    assert campaign.matches.values("author").annotate(count=Count("pk")).filter(count__gt=3).count() == 0
    assert donations.audit(campaign).problems == ()


def test_control_without_the_campaigns_row_two_bookings_take_the_same_number(monkeypatch: pytest.MonkeyPatch) -> None:
    make_campaign()
    monkeypatch.setattr(ledger, "hold", lambda campaign_id: Campaign.objects.get(pk=campaign_id))

    def attempt(post: Post) -> str:
        try:
            give(post)
        except IntegrityError as error:
            return str(error)
        return ""

    refused = [text for text in at_once(attempt, [masked_posts(1)[0] for _ in range(64)]) if text]

    assert refused
    assert all("ledger_number_once" in text or "campaign_day_once" in text for text in refused)


@contextmanager
def asked_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a campaign asked without its lock alone: under it, it says yes to everything."""
    hold, refusal, local = ledger.hold, offers.refusal, threading.local()

    def slow_hold(campaign_id: str) -> Campaign:
        time.sleep(0.002)
        local.held = True
        return hold(campaign_id)

    def refusal_before(*arguments: object) -> RewardApplication.Reason | None:
        held, local.held = getattr(local, "held", False), False
        return None if held else refusal(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "hold", slow_hold)
        patch.setattr(offers, "refusal", refusal_before)
        yield


def test_control_a_cap_that_is_not_asked_about_under_the_lock_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = make_campaign(cap_per_day_minor=10 * 50)

    with asked_once(monkeypatch):
        at_once(give, [masked_posts(1)[0] for _ in range(64)])

    assert campaign.matches.count() > 10


def test_a_days_cap_holds_with_many_authors_at_once() -> None:
    campaign = make_campaign(cap_per_day_minor=10 * 50)

    at_once(give, [masked_posts(1)[0] for _ in range(64)])

    assert campaign.matches.count() == 10


def test_posts_of_one_author_at_once_stay_within_the_authors_caps() -> None:
    campaign = make_campaign(cap_per_author_per_day=3)

    at_once(give, masked_posts(24))

    assert campaign.matches.count() == 3


def matched_after_the_pause(campaign: Campaign, posts: list[Post]) -> int:
    """Pause while posts are being matched; return how many matches came after the pause was done."""
    first, rest = posts[0], posts[1:]
    counted: list[int] = []

    def work(post: Post) -> None:
        if post is first:
            while campaign.matches.count() < 8:
                time.sleep(0.001)
            campaigns.pause(Campaign.objects.get(pk=campaign.pk))
            counted.append(campaign.matches.count())
        else:
            give(post)

    at_once(work, [first, *rest])
    return campaign.matches.count() - counted[0]


def test_once_a_pause_is_done_nothing_more_is_promised() -> None:
    posts = [masked_posts(1)[0] for _ in range(120)]

    assert matched_after_the_pause(make_campaign(), posts) == 0


def test_control_who_does_not_ask_again_promises_after_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    posts = [masked_posts(1)[0] for _ in range(120)]

    with asked_once(monkeypatch):
        assert matched_after_the_pause(make_campaign(), posts) > 0


def refused_under_the_lock(monkeypatch: pytest.MonkeyPatch, campaign: Campaign) -> bool:
    """Have a campaign say yes, then no once it is held; say whether its row is free before the transaction ends."""
    answers = iter([None, Reason.DAY_CAP])
    monkeypatch.setattr(offers, "refusal", lambda *_: next(answers))
    [post] = masked_posts(1)

    def is_free(_: int) -> bool:
        try:
            with transaction.atomic():
                Campaign.objects.select_for_update(no_key=True, nowait=True).get(pk=campaign.pk)
        except OperationalError:
            return False
        return True

    with transaction.atomic():
        assert give(post).reason == Reason.DAY_CAP
        [free] = at_once(is_free, [1])
    return free


def test_a_campaign_that_says_no_under_its_lock_is_let_go_before_the_next_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert refused_under_the_lock(monkeypatch, make_campaign())


def test_control_without_a_savepoint_it_stays_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(donations, "transaction", SimpleNamespace(atomic=nullcontext))

    assert not refused_under_the_lock(monkeypatch, make_campaign())


def naive_set_budget(campaign: Campaign, minor: int) -> None:
    """Set a budget and book the difference to the one that was read before."""
    before = Campaign.objects.get(pk=campaign.pk).budget_minor
    time.sleep(0.002)
    if minor == before:
        return
    with transaction.atomic():
        held = ledger.hold(campaign.pk)
        LedgerEntry.objects.create(
            campaign=held,
            number=held.last_entry + 1,
            kind="funded" if minor > before else "reduced",
            amount_minor=abs(minor - before),
            day=timezone.now().date(),
            cause="staff",
        )
        Campaign.objects.filter(pk=held.pk).update(budget_minor=minor, last_entry=held.last_entry + 1)


def test_control_budgets_that_are_set_at_once_from_old_sums_are_not_what_was_booked() -> None:
    campaign = make_campaign()

    at_once(lambda minor: naive_set_budget(campaign, minor), list(range(1_000, 2_600, 100)))

    assert any("the campaign says a budget of" in problem for problem in donations.audit(campaign).problems)


def test_a_budget_that_is_set_while_posts_are_matched_is_never_below_what_is_promised() -> None:
    campaign = make_campaign(budget_minor=100 * 50)
    posts = [masked_posts(1)[0] for _ in range(100)]
    levels = [3_000, 1_000, 2_000, 500, 4_000, 250, 2_500, 1_500]
    refused: list[str] = []

    def set_budget(minor: int) -> None:
        try:
            campaigns.set_budget(Campaign.objects.get(pk=campaign.pk), minor, None, "test", timezone.now())
        except CampaignError as error:
            refused.append(error.code)

    work: list[Callable[[], object]] = [lambda post=post: give(post) for post in posts]  # type: ignore[misc]
    for place, minor in enumerate(levels * 3):
        work.insert(place * 5, lambda minor=minor: set_budget(minor))  # type: ignore[misc]
    at_once(lambda act: act(), work)

    assert set(refused) <= {"budget_below_committed"}
    assert donations.audit(campaign).problems == ()


def test_settling_at_once_settles_each_match_once() -> None:
    campaign = make_campaign(hold_seconds=0)
    for post in masked_posts(30):
        give(post)

    settled = at_once(lambda _: donations.settle_due(timezone.now(), batch=7), range(8))
    rest = donations.settle_due(timezone.now())

    assert sum(settled) + rest == 30
    assert donations.audit(campaign).problems == ()


def test_matching_settling_overturning_and_withdrawing_at_once_leave_true_books_and_no_deadlock() -> None:
    everybody = [make_campaign(hold_seconds=0, budget_minor=30 * 50), make_campaign(hold_seconds=0)]
    platforms = [make_platform(), make_platform()]
    own = [make_campaign(hold_seconds=0, platform=platform, budget_minor=20 * 50) for platform in platforms]
    posts = [post for number in range(12) for post in masked_posts(8, make_author(platforms[number % 2]))]

    def work(number: int) -> None:
        post = posts[number % len(posts)]
        match number // len(posts) * 7 % 4:
            case 0:
                give(post)
            case 1:
                donations.settle_due(timezone.now(), batch=5)
            case 2:
                take(post, withdrawn=number % 2 == 0)
            case _:
                give(post)

    at_once(work, list(range(4 * len(posts))))

    assert [donations.audit(campaign).problems for campaign in [*everybody, *own]] == [()] * 4
    ends = LedgerEntry.objects.filter(kind__in=["settled", "voided"]).values("match").annotate(count=Count("pk"))
    assert ends.filter(count__gt=1).count() == 0
    assert connection.in_atomic_block is False
