"""What a platform reads of badges, and when they run out by themselves."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from incentives import tasks
from incentives.badges import awards, staff
from incentives.models import BadgeAward, BadgeRule, Event
from moderation.models import Author
from tests.cast import make_author
from tests.incentives.builders import client_for
from tests.incentives.counted import count

pytestmark = pytest.mark.django_db


@pytest.fixture
def rule(db: None) -> BadgeRule:
    BadgeRule.objects.update(is_active=False)
    return BadgeRule.objects.create(
        code="days", title="A day", kind="distinct_days", threshold=1, series="some", level=4, valid_days=10
    )


def badges_of(author: Author) -> list[dict[str, Any]]:
    answer = client_for(author.platform).get(f"/api/v1/authors/{author.external_id}/badges")
    assert answer.status_code == 200
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def test_a_badge_tells_its_series_its_level_and_until_when_it_is_valid(rule: BadgeRule) -> None:
    author = make_author()
    post = count(author)

    [badge] = badges_of(author)

    assert (badge["series"], badge["level"], badge["status"]) == ("some", 4, "active")
    assert (badge["post_id"], badge["evidence"]) == (
        post.pk,
        {"measured": 1, "threshold": 1, "post_ids": [post.pk]},
    )
    expires_at = BadgeAward.objects.get().expires_at
    assert expires_at is not None
    assert badge["expires_at"] == expires_at.isoformat().replace("+00:00", "Z")


def test_a_badge_whose_post_is_erased_or_that_staff_gave_names_no_post(rule: BadgeRule, admin_user: User) -> None:
    author, granted = make_author(), make_author()
    post = count(author)
    post_id = post.pk
    post.delete()
    staff.grant(rule, granted, admin_user, "Helped.")

    [badge] = badges_of(author)
    assert (badge["post_id"], badge["evidence"]["post_ids"], badge["status"]) == (None, [post_id], "active")
    [badge] = badges_of(granted)
    assert (badge["post_id"], badge["evidence"]["post_ids"], badge["status"]) == (None, [], "active")


def test_beat_lets_badges_run_out_batch_by_batch(rule: BadgeRule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awards, "EXPIRY_BATCH", 2)
    authors = [make_author() for _ in range(5)]
    for author in authors:
        count(author)
    past = timezone.now() - timedelta(days=11)
    BadgeAward.objects.exclude(author=authors[0]).update(awarded_at=past, expires_at=past + timedelta(days=10))

    tasks.expire_badges()

    assert Event.objects.filter(type="badge.expired").count() == 4
    assert BadgeAward.objects.get(status="active").author == authors[0]
    [badge] = badges_of(authors[1])
    assert badge["status"] == "expired"


def test_beat_runs_both_upkeep_tasks() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {"incentives.tasks.expire_badges", "incentives.tasks.sweep_backfills"} <= scheduled
