"""How a seed is asked for, and when it is refused."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from incentives.models import BadgeAward, Flag, Match
from incentives.seed import SeedError, seed
from moderation.models import Post
from tests.incentives.builders import furnish

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)


def test_too_short_a_past_is_refused() -> None:
    with pytest.raises(SeedError, match="Fewer than 500"):
        seed(10, NOW)


def test_the_same_number_tells_the_same_story() -> None:
    furnish()

    def story(number: int) -> list[tuple[object, ...]]:
        with transaction.atomic():
            seed(600, NOW, number=number)
            told: list[tuple[object, ...]] = list(
                Post.objects.order_by("id").values_list("id", "region", "outcome", "withdrawn_at")
            )
            told += Match.objects.order_by("id").values_list("id", "amount_minor", "status", "day")
            transaction.set_rollback(True)
        return told

    first = story(7)

    assert story(7) == first
    assert story(8) != first


def test_a_longer_past_has_flags_and_badges_that_were_lost() -> None:
    furnish()
    seed(9_000, NOW)

    flags = Flag.objects.select_related("author")
    assert BadgeAward.objects.filter(status="revoked").exists()
    flag = next(flag for flag in flags if flag.kind == "velocity")
    around = Post.objects.filter(author=flag.author, created_at__gte=flag.post.created_at - timedelta(minutes=10))
    assert around.filter(created_at__lte=flag.post.created_at).count() >= 10


def test_a_database_elsewhere_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "db.example.org")

    with pytest.raises(CommandError, match=r"db\.example\.org"):
        call_command("seed", posts=500, stdout=StringIO())
    assert not Post.objects.exists()


def test_the_command_says_what_it_does() -> None:
    furnish()
    told = StringIO()

    call_command("seed", posts=500, stdout=told)

    assert "daily figures" in told.getvalue()
    assert "500 posts of up to 50 authors" in told.getvalue()
