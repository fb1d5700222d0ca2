"""What staff see of boosts: those of this moment, the terms with a preview, and the switch."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives import roles
from incentives.models import Boost, BoostPolicy, Campaign
from tests.cast import make_author, make_platform, make_post
from tests.incentives.builders import make_boost, make_campaign, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]
BOOSTS = "/admin/incentives/boost/"
POLICIES = "/admin/incentives/boostpolicy/"
TERMS = {
    "factor": "2",
    "cap": "3",
    "half_life_seconds": "3600",
    "duration_seconds": "7200",
    "author_diversity": "0.5",
    "diversity_floor": "0.2",
}


@pytest.fixture
def manager() -> Client:
    return signed_in(roles.PROGRAMME_MANAGER)


@pytest.fixture
def policy() -> BoostPolicy:
    BoostPolicy.objects.all().delete()
    return BoostPolicy.objects.create()


def boosted(**fields: object) -> Boost:
    return make_boost(make_post(make_author(make_platform()), outcome="masked", photos=()), **fields)


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.usefixtures("policy")
def test_the_list_shows_what_runs_now_unless_asked_for_the_rest(manager: Client) -> None:
    now = timezone.now()
    runs = boosted(starts_at=now - timedelta(hours=6), ends_at=now + timedelta(hours=18, minutes=1))
    over = boosted(starts_at=now - timedelta(days=3), ends_at=now - timedelta(days=2))
    taken = boosted(revoked_at=now)

    def listed(query: str = "") -> list[bool]:
        page = text(manager, BOOSTS + query)
        return [f">{boost.post_id}<" in page for boost in (runs, over, taken)]

    assert listed() == [True, False, False]
    assert listed("?state=over") == [False, True, False]
    assert listed("?state=revoked") == [False, False, True]
    assert listed("?state=all") == [True, True, True]
    assert listed(f"?q={runs.post_id}") == [True, False, False]
    assert listed(f"?q={over.post_id}") == [False, False, False]
    page = text(manager, BOOSTS)
    assert "×1.250" in page
    assert "18 h 00 min" in page
    assert "<strong>on</strong> for everybody" in page


@pytest.mark.usefixtures("policy")
def test_the_list_takes_the_same_queries_for_one_boost_as_for_many(manager: Client) -> None:
    campaign = make_campaign()
    counts = []
    for _ in range(3):
        boosted(campaign=campaign)
        with CaptureQueriesContext(connection) as queries:
            text(manager, BOOSTS)
        counts.append(len(queries))
    assert counts[1] == counts[2] <= 20


def test_a_switch_of_everybody_of_a_platform_or_of_a_campaign_shows_at_each_boost(
    manager: Client, policy: BoostPolicy
) -> None:
    campaign = make_campaign()
    plain, matched = boosted(), boosted(campaign=campaign)

    def off() -> list[bool]:
        return ["switched off" in text(manager, f"{BOOSTS}?q={boost.post_id}&state=all") for boost in (plain, matched)]

    assert off() == [False, False]
    Campaign.objects.filter(pk=campaign.pk).update(boosts_enabled=False)
    assert off() == [False, True]
    BoostPolicy.objects.filter(pk=policy.pk).update(is_enabled=False)
    assert off() == [True, True]


@pytest.mark.usefixtures("policy")
def test_a_boosts_page_draws_where_it_stands(manager: Client) -> None:
    now = timezone.now()
    runs, taken = (
        boosted(starts_at=now - timedelta(hours=6), ends_at=now + timedelta(hours=18)),
        boosted(revoked_at=now),
    )

    page = text(manager, f"{BOOSTS}{runs.pk.replace('_', '_5F')}/change/")
    assert "From ×1.50 to ×1.03 in a day, with a half-life of 6 hours; then ×1" in page
    assert 'class="bo-now" cx="90.0" cy="60.0"' in page
    assert "bo-now" not in text(manager, f"{BOOSTS}{taken.pk.replace('_', '_5F')}/change/")


def test_terms_are_previewed_without_being_saved(manager: Client, policy: BoostPolicy) -> None:
    answer = manager.post(f"{POLICIES}{policy.pk}/change/", TERMS | {"incentives_boostpolicy_preview": "Preview"})

    page = answer.content.decode()
    assert "How a boost would fade; this is not saved" in page
    assert "From ×2.00 to ×1.25 in 2 hours, with a half-life of an hour; then ×1" in page
    assert [page.count(f"<span>×{factor}</span>") for factor in ("1.00", "0.50", "0.25", "0.20")] == [1, 1, 1, 5]
    policy.refresh_from_db()
    assert (policy.factor, policy.author_diversity) == (1.5, 0.85)


def test_saved_terms_leave_the_switch_and_the_boosts_that_run_alone(manager: Client, policy: BoostPolicy) -> None:
    runs = boosted()
    address = f"{POLICIES}{policy.pk}/change/"
    manager.get(address)
    BoostPolicy.objects.update(is_enabled=False)  # by somebody else, meanwhile

    answer = manager.post(address, TERMS, follow=True)

    assert "Boosts that run keep the terms they were given." in answer.content.decode()
    policy.refresh_from_db()
    assert (policy.factor, policy.half_life_seconds, policy.is_enabled) == (2.0, 3600, False)
    runs.refresh_from_db()
    assert (runs.factor, runs.half_life_seconds) == (1.5, 21600)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"factor": "4"}, "It exceeds the cap of 3."),
        ({"factor": "0.9"}, "greater than or equal to 1"),
        ({"cap": "11"}, "less than or equal to 10"),
        ({"half_life_seconds": "5"}, "greater than or equal to 60"),
        ({"author_diversity": "0"}, "greater than or equal to 0.1"),
        ({"diversity_floor": "1.5"}, "less than or equal to 1"),
        ({"factor": "nan"}, "Enter a number."),
    ],
)
def test_terms_out_of_bounds_are_refused_at_their_field(
    manager: Client, policy: BoostPolicy, changed: dict[str, str], says: str
) -> None:
    answer = manager.post(f"{POLICIES}{policy.pk}/change/", TERMS | changed)
    assert says in answer.content.decode()
    policy.refresh_from_db()
    assert policy.factor == 1.5


def test_each_platform_has_one_policy(manager: Client, policy: BoostPolicy) -> None:
    platform = make_platform()
    assert manager.post(f"{POLICIES}add/", TERMS | {"platform": platform.pk}).status_code == 302
    again = manager.post(f"{POLICIES}add/", TERMS | {"platform": platform.pk})
    everybody = manager.post(f"{POLICIES}add/", TERMS | {"platform": ""})

    assert "already" in again.content.decode()
    assert "already" in everybody.content.decode()
    assert BoostPolicy.objects.count() == 2
    assert f"for {platform}" in text(manager, BOOSTS)


def test_the_switch_asks_first_and_works_both_ways(manager: Client, policy: BoostPolicy) -> None:
    address = f"{POLICIES}{policy.pk}/switch/"

    led = manager.get(f"{POLICIES}{policy.pk}/to-switch", follow=True)
    assert led.redirect_chain[-1][0] == f"{address}off/"
    assert "Switch boosts off for everybody?" in led.content.decode()
    policy.refresh_from_db()
    assert policy.is_enabled

    answer = manager.post(f"{address}off/", follow=True)
    assert "Boosts are off for everybody." in answer.content.decode()
    assert "<strong>switched off</strong> for everybody" in answer.content.decode()
    policy.refresh_from_db()
    assert not policy.is_enabled
    assert "Switched off." in text(manager, f"{POLICIES}{policy.pk}/history/")

    manager.post(f"{address}on/")
    policy.refresh_from_db()
    assert policy.is_enabled


def test_the_policy_of_everybody_cannot_be_deleted(admin_client: Client, policy: BoostPolicy) -> None:
    assert admin_client.post(f"{POLICIES}{policy.pk}/delete/", {"post": "yes"}).status_code == 403
    assert BoostPolicy.objects.exists()


@pytest.mark.parametrize("role", [roles.AUDITOR, roles.MODERATOR, roles.SPONSOR])
def test_nobody_else_may_switch(role: str, policy: BoostPolicy) -> None:
    client = signed_in(role)
    assert client.get(f"{POLICIES}{policy.pk}/switch/off/").status_code == 403
    assert client.post(f"{POLICIES}{policy.pk}/switch/off/").status_code == 403
    policy.refresh_from_db()
    assert policy.is_enabled
    if role == roles.AUDITOR:
        assert "Switch off" not in text(client, BOOSTS)
        assert "Switch off" not in text(client, f"{POLICIES}{policy.pk}/change/")
