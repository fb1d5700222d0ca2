"""A changed rule: previewed before it is saved, and measured for everybody when staff ask for it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives import tasks
from incentives.badges import awards, backfill, staff
from incentives.badges.awards import Measured
from incentives.badges.preview import Side, preview
from incentives.models import BadgeAward, BadgeBackfill, BadgeChange, BadgeRule, Event, Experiment, Exposure
from moderation.models import Author
from tests.cast import make_author, make_platform
from tests.incentives.builders import at_once
from tests.incentives.conftest import Sent
from tests.incentives.counted import count, held, make_counted

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)


def make_rule(**fields: object) -> BadgeRule:
    BadgeRule.objects.update(is_active=False)
    return BadgeRule.objects.create(
        **({"code": "two", "title": "Two", "kind": "masked_posts", "threshold": 2} | fields)
    )


def make_authors(*posts: int) -> list[Author]:
    """Make an author for each number, who has so many posts that count."""
    platform = make_platform()
    authors = []
    for number, how_many in enumerate(posts):
        author = make_author(platform, f"author-{number}")
        for hour in range(how_many):
            make_counted(author, NOON + timedelta(hours=hour))
        authors.append(author)
    return authors


def hold_out(author: Author) -> None:
    experiment = Experiment.objects.create(
        name="E", salt="s", holdout_percent=10, status="running", starts_at=timezone.now()
    )
    Exposure.objects.create(experiment=experiment, author=author, arm="holdout")


def named(side: Side) -> list[tuple[str, int]]:
    return [(person.external_id, person.measured) for person in side.first]


def run(rule: BadgeRule, user: User) -> BadgeBackfill:
    job = backfill.start(rule, user)
    assert not backfill.work(job.pk, for_at_most=A_MINUTE)
    job.refresh_from_db()
    return job


def test_a_preview_says_who_would_gain_and_lose_and_writes_nothing(admin_user: User) -> None:
    rule = make_rule()
    authors = make_authors(1, 2, 3, 4)
    run(rule, admin_user)
    make_counted(authors[0], NOON)  # nobody reconciled
    rule.threshold = 3
    written = Event.objects.count(), BadgeChange.objects.count()

    found = preview(rule)

    assert (found.gains, named(found.loses), found.keeps.count) == (Side(), [("author-1", 2)], 2)
    rule.threshold = 2
    assert named(preview(rule).gains) == [("author-0", 2)]
    assert (Event.objects.count(), BadgeChange.objects.count()) == written
    rule.refresh_from_db()
    assert rule.threshold == 2


def test_a_preview_of_a_rule_that_does_not_exist_yet_writes_none(admin_user: User) -> None:
    make_authors(1, 5)
    rule = BadgeRule(code="new", title="New", kind="streak", threshold=1, grace_days=2)

    assert named(preview(rule).gains) == [("author-0", 1), ("author-1", 1)]
    assert not BadgeRule.objects.filter(code="new").exists()


def test_a_preview_names_fifty_and_counts_all() -> None:
    make_authors(*[1] * 53, 2)
    found = preview(make_rule(threshold=1)).gains
    assert (found.count, len(found.first), named(found)[0]) == (54, 50, ("author-53", 2))


def test_a_preview_leaves_out_whom_staff_or_an_experiment_keep_as_they_are(admin_user: User) -> None:
    rule = make_rule(threshold=1)
    earns, withheld, revoked, granted = make_authors(1, 1, 1, 0)
    hold_out(withheld)
    staff.grant(rule, granted, admin_user, "why")
    staff.revoke(staff.grant(rule, revoked, admin_user, "why").pk, admin_user, "why")

    found = preview(rule)

    assert named(found.gains) == [(earns.external_id, 1)]
    assert (found.loses.count, found.withheld.count, found.by_staff.count) == (0, 1, 2)


def test_a_rule_that_is_switched_off_would_give_nothing() -> None:
    make_authors(5)
    assert preview(make_rule(is_active=False)).gains == Side()


def test_saving_a_rule_touches_nobody_and_a_backfill_everybody(admin_user: User) -> None:
    rule = make_rule()
    authors = make_authors(1, 2, 3)
    run(rule, admin_user)
    assert [held(author) for author in authors] == [[], ["two"], ["two"]]
    rule.threshold, rule.regions = 3, []
    rule.save()
    assert [held(author) for author in authors] == [[], ["two"], ["two"]]
    promised = preview(rule)

    job = run(rule, admin_user)

    assert [held(author) for author in authors] == [[], [], ["two"]]
    assert (job.status, job.total, job.done, job.gained, job.lost) == ("done", 3, 3, 0, 1)
    assert (job.gained, job.lost) == (promised.gains.count, promised.loses.count)
    assert (job.leased_until, job.requested_by) == (None, admin_user)
    lost = Event.objects.get(type="badge.revoked")
    assert (lost.causation_id, lost.data["post_id"]) == (f"backfill-{job.pk}", None)
    [change] = BadgeChange.objects.filter(status="revoked")
    assert (change.reason, change.causation_id) == ("Everybody was measured by the rule of today.", lost.causation_id)
    kept = BadgeAward.objects.get(author=authors[2])
    assert kept.evidence["threshold"] == 3, "from now on it stands on the terms of today"


def test_a_backfill_gives_what_the_last_post_that_reached_it_earned(admin_user: User) -> None:
    rule = make_rule(valid_days=5)
    [author] = make_authors(3)

    assert run(rule, admin_user).gained == 1

    award = BadgeAward.objects.get(author=author)
    second = author.posts.order_by("created_at")[1]
    assert award.verdict == second.verdicts.get()
    assert award.expires_at == award.awarded_at + timedelta(days=5)
    assert Event.objects.get(type="badge.awarded").data["post_id"] == second.pk


def test_a_backfill_twice_does_nothing_the_second_time(admin_user: User) -> None:
    rule = make_rule()
    make_authors(2, 2)
    run(rule, admin_user)
    written = Event.objects.count(), BadgeChange.objects.count()

    job = run(rule, admin_user)

    assert (job.done, job.gained, job.lost) == (2, 0, 0)
    assert (Event.objects.count(), BadgeChange.objects.count()) == written


def test_a_backfill_gives_nothing_to_the_holdout_but_takes_back(admin_user: User) -> None:
    rule = make_rule(threshold=1)
    gains, loses = make_authors(1, 1)
    count(loses)  # before the experiment began
    assert held(loses) == ["two"]
    hold_out(gains)
    Exposure.objects.create(experiment=Experiment.objects.get(), author=loses, arm="holdout")
    rule.threshold = 3
    rule.save()
    for _ in range(3):
        make_counted(gains, NOON)

    job = run(rule, admin_user)

    assert (job.gained, job.lost) == (0, 1)
    assert (held(gains), held(loses)) == ([], [])


def test_a_backfill_leaves_what_staff_did(admin_user: User) -> None:
    rule = make_rule(threshold=1)
    granted, revoked = make_authors(0, 5)
    staff.grant(rule, granted, admin_user, "why")
    staff.revoke(staff.grant(rule, revoked, admin_user, "why").pk, admin_user, "why")

    job = run(rule, admin_user)

    assert (job.gained, job.lost) == (0, 0)
    assert (held(granted), held(revoked)) == (["two"], [])


class Killed(BaseException):
    """A worker that dies takes no leave."""


def test_a_backfill_goes_on_where_a_killed_worker_left_it(
    admin_user: User, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    rule = make_rule(threshold=1)
    authors = make_authors(1, 1, 0, 1, 1)
    job = backfill.start(rule, admin_user)
    judged: list[int] = []

    def die_at_the_third(award: BadgeAward, *args: object, **more: object) -> Measured:
        if len(judged) == 2:
            raise Killed
        judged.append(award.author_id)
        return awards.judge_anew(award, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backfill, "judge_anew", die_at_the_third)
    monkeypatch.setattr(backfill, "_release", lambda claim: None)
    with pytest.raises(Killed):
        backfill.work(job.pk, for_at_most=A_MINUTE)
    job.refresh_from_db()
    assert (job.cursor, job.done, job.gained, job.status) == (authors[1].pk, 2, 2, "pending")
    assert backfill.unattended(timezone.now()) == [], "its lease still runs"
    monkeypatch.undo()

    later = timezone.now() + timedelta(hours=1)
    assert backfill.unattended(later) == [job.pk]
    BadgeBackfill.objects.update(leased_until=timezone.now())
    assert not backfill.work(job.pk, for_at_most=A_MINUTE)

    job.refresh_from_db()
    assert (job.status, job.done, job.gained) == ("done", 5, 4)
    assert Event.objects.filter(type="badge.awarded").count() == 4


def test_a_worker_that_lost_its_lease_does_no_more(admin_user: User) -> None:
    rule = make_rule(threshold=1)
    make_authors(1, 1)
    job = backfill.start(rule, admin_user)
    mine = backfill._claim(job.pk)
    assert mine is not None
    BadgeBackfill.objects.update(leased_until=timezone.now())
    theirs = backfill._claim(job.pk)
    assert theirs is not None

    assert backfill._work_on_window(mine) is None
    assert BadgeAward.objects.count() == 0
    assert backfill._work_on_window(theirs) is not None
    assert BadgeAward.objects.count() == 2


def test_a_cancelled_backfill_stops_and_keeps_what_it_did(admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = make_rule(threshold=1)
    make_authors(1, 1, 1)
    job = backfill.start(rule, admin_user)
    real = backfill._judge

    def judge_and_cancel(*args: object) -> bool:
        judged = real(*args)  # type: ignore[arg-type]
        backfill.cancel(job.pk)
        return judged

    monkeypatch.setattr(backfill, "_judge", judge_and_cancel)
    assert not backfill.work(job.pk, for_at_most=A_MINUTE)

    job.refresh_from_db()
    assert (job.status, job.gained, BadgeAward.objects.count()) == ("cancelled", 1, 1)
    assert job.finished_at is not None
    assert not backfill.cancel(job.pk)
    assert not backfill.work(job.pk, for_at_most=A_MINUTE)


def test_a_newer_backfill_of_a_rule_takes_the_place_of_one_under_way(admin_user: User) -> None:
    rule = make_rule()
    older = backfill.start(rule, admin_user)
    newer = backfill.start(rule, admin_user)
    older.refresh_from_db()
    assert (older.status, newer.status) == ("cancelled", "pending")


def test_a_backfill_lets_other_work_pass_and_comes_back(
    admin_user: User, monkeypatch: pytest.MonkeyPatch, sent: Sent
) -> None:
    rule = make_rule(threshold=1)
    make_authors(1, 1, 1)
    job = backfill.start(rule, admin_user)
    monkeypatch.setattr(backfill, "WINDOW", 1)
    monkeypatch.setattr(tasks, "_BACKFILL_TURN", timedelta(0))

    for turn in range(1, 4):
        tasks.run_backfill(job.pk)
        job.refresh_from_db()
        assert (job.status, job.done, job.leased_until) == ("pending", turn, None)
        assert sent.of("run_backfill") == [str(job.pk)] * turn
    tasks.run_backfill(job.pk)

    job.refresh_from_db()
    assert (job.status, job.done) == ("done", 3)
    assert len(sent.of("run_backfill")) == 3


@pytest.mark.django_db(transaction=True)
def test_starting_wakes_a_worker_once_it_is_committed_and_the_sweep_another_if_that_is_lost(
    admin_user: User, sent: Sent
) -> None:
    job = backfill.start(make_rule(), admin_user)
    assert sent.of("run_backfill") == [str(job.pk)]

    tasks.sweep_backfills()

    assert sent.of("run_backfill") == [str(job.pk)] * 2


@pytest.mark.django_db(transaction=True)
def test_several_workers_and_verdicts_at_once_give_each_badge_once(admin_user: User) -> None:
    rule = make_rule(threshold=1)
    authors = make_authors(*[1] * 24)
    job = backfill.start(rule, admin_user)

    def busy(item: Author | None) -> None:
        if item is None:
            backfill.work(job.pk, for_at_most=A_MINUTE)
        else:
            count(item)

    at_once(busy, [*authors, *[None] * 4])
    backfill.work(job.pk, for_at_most=A_MINUTE)

    job.refresh_from_db()
    assert (job.status, job.done) == ("done", 24)
    assert Event.objects.filter(type="badge.awarded").count() == 24
    assert BadgeAward.objects.filter(status="active").count() == 24
    assert 0 <= job.gained <= 24


@pytest.mark.django_db(transaction=True)
def test_control_without_a_lease_several_workers_do_the_same_authors(
    admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = make_rule(threshold=1)
    make_authors(*[1] * 24)
    job = backfill.start(rule, admin_user)
    claim = backfill._Claim(job.pk, timezone.now())
    monkeypatch.setattr(backfill, "_claim", lambda job_id: claim)
    monkeypatch.setattr(backfill, "_mine", lambda claim: BadgeBackfill.objects.filter(pk=job.pk, status="pending"))

    at_once(lambda _: backfill.work(job.pk, for_at_most=A_MINUTE), range(4))

    job.refresh_from_db()
    assert job.done > 24


def test_those_the_rule_changes_nothing_for_cost_no_query_each(admin_user: User) -> None:
    rule = make_rule(threshold=9)

    def queries(authors: Sequence[Author]) -> int:
        job = backfill.start(rule, admin_user)
        with CaptureQueriesContext(connection) as captured:
            backfill.work(job.pk, for_at_most=A_MINUTE)
        return len(captured)

    assert queries(make_authors(1, 1)) == queries(make_authors(*[1] * 20))
