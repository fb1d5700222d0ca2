"""The first page of the admin: what it shows, and to whom."""

import json
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from incentives import dashboard, roles
from incentives.dashboard import given, seen, tiles
from incentives.models import DailyFigures
from incentives.seed import seed
from moderation.models import Platform
from tests import cast
from tests.incentives import builders

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
TODAY = NOW.date()


def person(*groups: str, superuser: bool = False) -> User:
    user = User.objects.create_user(f"user-{User.objects.count()}", is_staff=True, is_superuser=superuser)
    user.groups.set(Group.objects.filter(name__in=groups))
    return User.objects.get(pk=user.pk)


def page(user: User, **query: str) -> str:
    client = Client()
    client.force_login(user)
    response = client.get(reverse("admin:index"), query)
    assert response.status_code == 200
    return response.content.decode()


def figures_of(platform: Platform, day: date = TODAY, region: str = "DE", **numbers: int) -> None:
    DailyFigures.objects.create(platform=platform, day=day, region=region, **numbers)


def period(days: int = 30, platform: Platform | None = None) -> seen.Period:
    return seen.Period(days, TODAY, platform)


def test_the_figures_of_a_period_are_summed_and_set_against_the_one_before() -> None:
    platform = cast.make_platform()
    figures_of(platform, posts=10, masked=4)
    figures_of(platform, TODAY - timedelta(days=6), posts=3, unmasked=1)
    figures_of(platform, TODAY - timedelta(days=7), posts=100)
    figures_of(platform, TODAY - timedelta(days=13), posts=1)
    figures_of(platform, TODAY - timedelta(days=14), posts=1_000)
    figures_of(cast.make_platform(), posts=50)

    found = seen.read_figures(period(7, platform))

    assert (found.total["posts"], found.total["sure"], found.before["posts"]) == (13, 5, 101)
    assert seen.read_figures(period(7)).total["posts"] == 63


@pytest.mark.parametrize(("query", "days"), [({}, 30), ({"days": "7"}, 7), ({"days": "8"}, 30), ({"days": "x"}, 30)])
def test_only_the_offered_periods_can_be_asked_for(query: dict[str, str], days: int) -> None:
    assert dashboard.read_period(query, NOW).days == days


def test_no_rate_is_shown_of_too_few_posts() -> None:
    few, enough = seen.Rate(19, 19), seen.Rate(13, 20)

    assert (few.share, few.percent, few.step) == (None, "too few", None)
    assert (enough.percent, enough.step) == ("65%", 6)
    assert seen.Rate(20, 20).step == 9


def test_a_rate_counts_posts_that_show_a_face_for_sure() -> None:
    figures_of(
        cast.make_platform(), posts=90, masked=30, unmasked=20, incorrect=6, partly_masked=4, no_face=20, uncertain=10
    )

    assert seen.rate(seen.read_figures(period()).total) == seen.Rate(30, 60)


def test_the_map_takes_the_parts_of_a_country_together_and_names_what_has_no_square() -> None:
    platform = cast.make_platform()
    figures_of(platform, region="US-CA", masked=15, unmasked=5)
    figures_of(platform, region="US-NY", masked=5, unmasked=15)
    figures_of(platform, region="AQ", masked=20)
    figures_of(platform, region="", unmasked=3)

    found = tiles.tile_map(seen.read_figures(period()))

    assert next(square.rate for square in found.squares if square.country == "US") == seen.Rate(20, 40)
    assert [country for country, _ in found.elsewhere] == ["unknown", "AQ"]
    places = Counter((square.x, square.y) for square in found.squares)
    assert len(places) == len(found.squares) == len({square.country for square in found.squares})


def test_ninety_days_are_shown_by_week() -> None:
    figures_of(cast.make_platform(), masked=30)

    by_week, by_day = (seen.heat_map(asked, seen.read_figures(asked)) for asked in (period(90), period(7)))

    assert (len(by_week.spans), len(by_day.spans)) == (13, 7)
    assert by_day.rows[0].cells[-1] == by_week.rows[0].cells[-1] == seen.Rate(30, 30)


def test_a_campaign_burns_down_to_what_is_left_and_its_end_is_foretold(seeded: None) -> None:
    campaign = builders.make_campaign(budget_minor=100_00)
    for days_ago in (13, 1):
        for post in builders.masked_posts(7):
            builders.give(post, NOW - timedelta(days=days_ago))

    burn = next(burn for burn in given.burns(type(campaign).objects.all(), TODAY) if burn.campaign == campaign)

    assert burn.chart is not None
    assert [value for value in burn.chart.lines[0].values if value is not None][-1] == 93.0
    assert burn.left == "93.00 EUR"
    assert burn.outlook == "spent by about 26 May 2027"  # 7 euros in a fortnight


def test_everything_is_shown_to_a_programme_manager(seeded: None) -> None:
    call_command("migrate", verbosity=0)
    seed(1000, timezone.now(), checked=True)

    shown = page(person(roles.PROGRAMME_MANAGER))

    for heading in (
        "From post to reward",
        "Where masks are worn",
        "Badges",
        "Campaigns",
        "Does it work?",
        "Boosts now",
    ):
        assert heading in shown
    charts = json.loads(re.findall(r'<script id="dash-charts" type="application/json">(.*?)</script>', shown)[0])
    assert {"funnel-seen", "funnel-given", "badge-first-mask"} <= {chart["id"] for chart in charts}
    assert all(f'<canvas id="{chart["id"]}"' in shown for chart in charts)
    assert re.findall(r"Open appeals</a>\s*<strong>[\d,]+<", shown)


def test_somebody_of_a_sponsor_sees_the_own_campaigns_and_nothing_else(seeded: None) -> None:
    builders.make_campaign(sponsor="Us", name="Our campaign")
    builders.make_campaign(sponsor="Them", name="Their campaign")
    user = person(roles.SPONSOR)
    builders.make_sponsor("Us").users.add(user)

    shown = page(user)

    assert "Our campaign" in shown
    assert "Their campaign" not in shown
    for heading in ("From post to reward", "Where masks are worn", "Does it work?", "Boosts now", "Uncertain posts"):
        assert heading not in shown


def test_a_moderator_sees_the_figures_and_the_queues_but_no_money(seeded: None) -> None:
    builders.make_campaign(name="A campaign")

    shown = page(person(roles.MODERATOR))

    assert "From post to reward" in shown
    assert "Uncertain posts" in shown
    assert "A campaign" not in shown
    assert "Money given" not in shown


def test_somebody_without_a_role_is_told_so() -> None:
    assert "There is nothing here that you may see." in page(person())


def test_a_name_cannot_run_scripts(seeded: None) -> None:
    campaign = builders.make_campaign(name="</script><script>alert(1)</script>", sponsor="<b>bold</b>")
    builders.give(builders.masked_posts(1)[0])

    shown = page(person(superuser=True))

    assert str(campaign.pk) in shown
    assert "<script>alert(1)" not in shown
    assert "<b>bold" not in shown


def test_the_number_of_queries_does_not_grow_with_what_is_shown(seeded: None) -> None:
    user = person(superuser=True)

    def queries() -> int:
        page(user)
        with CaptureQueriesContext(connection) as captured:
            page(user)
        return len(captured)

    before = queries()
    seed(1000, timezone.now())
    for number in range(3):
        builders.make_campaign(name=f"Another {number}")

    assert queries() <= before + 2  # the days of campaigns that have some
    assert before <= 44  # 26 of them sign in


def test_the_page_holds_no_script_of_its_own(seeded: None) -> None:
    shown = page(person(superuser=True))
    ours = shown[shown.index('<div class="dash">') :]

    assert re.findall(r"<script(?! id=\"dash-charts\" type=\"application/json\")[^>]*>[^<]", ours) == []
    assert "style=" not in ours[: ours.index("</section>")]
