"""What the programme manager does with campaigns, and what a sponsor and an auditor see of them."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives import campaigns, donations, proof, reports, rewards, roles
from incentives.admin import navigation
from incentives.admin.campaigns import CampaignForm
from incentives.models import Campaign, LedgerEntry, Sponsor
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.incentives.builders import make_campaign, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]


@pytest.fixture
def manager() -> Client:
    return signed_in(roles.PROGRAMME_MANAGER, "manager")


def page(campaign: Campaign, *rest: str) -> str:
    return f"/admin/incentives/campaign/{campaign.pk}/" + "/".join(rest)


def lived(campaign: Campaign) -> None:
    """Let a campaign match posts of three regions, settle one and void one."""
    author = make_author(make_platform())
    made = []
    for region in ("DE", "DE", "FR", ""):
        post = make_post(author, outcome="masked", photos=())
        post.region = region
        post.save(update_fields=["region"])
        assert rewards.apply_verdict(post.verdicts.get().pk)
        made.append(post)
    donations.settle_due(timezone.now() + timedelta(days=2))
    for post in (made[0],):
        rewards.apply_verdict(make_verdict(post, "unmasked", source="reviewer").pk)
    last = make_post(author, outcome="masked", photos=())
    rewards.apply_verdict(last.verdicts.get().pk)
    rewards.apply_verdict(make_verdict(last, "unmasked", source="reviewer").pk)


def test_a_campaign_is_made_funded_and_begun(manager: Client) -> None:
    sponsor = Sponsor.objects.create(name="Good Masks")
    answer = manager.post(
        "/admin/incentives/campaign/add/",
        {
            "name": "Masks for schools",
            "sponsor": sponsor.pk,
            "cause": "Masks",
            "priority": 10,
            "currency": "EUR",
            "budget_minor": 1000,
            "amount_minor": 100,
            "hold_seconds": 3600,
            "time_zone": "Asia/Tokyo",
            "starts_at_0": "2026-01-01",
            "starts_at_1": "00:00:00",
            "ends_at_0": "2036-01-01",
            "ends_at_1": "00:00:00",
            "min_account_age_days": 0,
            "boosts_enabled": "on",
            "tiers-TOTAL_FORMS": 1,
            "tiers-INITIAL_FORMS": 0,
            "tiers-0-from_minor": 500,
            "tiers-0-percent": 10,
        },
    )
    assert answer.status_code == 302, answer.context and answer.context["errors"]

    campaign = Campaign.objects.get(name="Masks for schools")
    assert campaign.starts_at == datetime(2025, 12, 31, 15, tzinfo=UTC), "midnight in Tokyo"
    assert (campaign.status, campaign.budget_minor, campaign.tiers.get().percent) == ("draft", 1000, 10)
    entry = LedgerEntry.objects.get(campaign=campaign)
    assert (entry.kind, entry.number, entry.amount_minor, entry.cause) == ("funded", 1, 1000, "staff")
    assert b'value="00:00:00"' in manager.get(page(campaign, "change/")).content, "shown as it was written"

    assert manager.get(page(campaign, "step", "activate/")).status_code == 200
    campaign.refresh_from_db()
    assert campaign.status == "draft", "looking changes nothing"
    manager.post(page(campaign, "step", "activate/"))
    campaign.refresh_from_db()
    assert campaign.status == "active"


def test_every_page_of_a_campaign_is_reached_from_the_list_by_its_links(manager: Client) -> None:
    campaign = make_campaign()
    at = f"/admin/incentives/campaign/{quote(campaign.pk)}"
    assert at != f"/admin/incentives/campaign/{campaign.pk}", "the admin writes ids in its own way"
    assert f"{at}/change/" in manager.get("/admin/incentives/campaign/").content.decode()

    content = manager.get(f"{at}/change/").content.decode()
    linked = {
        step: f"{at}/to-{step}" in content for step in ("statement", "budget", "activate", "pause", "end", "prove")
    }
    assert [step for step, there in linked.items() if not there] == ["activate"], "it is active already"
    for step in (step for step, there in linked.items() if there):
        assert manager.get(f"{at}/to-{step}", follow=True).status_code == 200, step


def test_a_step_that_cannot_be_is_refused_in_words(manager: Client) -> None:
    campaign = make_campaign(status="ended")
    answer = manager.post(page(campaign, "step", "activate/"), follow=True)
    assert b"it cannot begin" in answer.content
    assert manager.post(page(campaign, "step", "explode/")).status_code == 404


@pytest.mark.parametrize(
    ("status", "offered"),
    [("draft", "activate end"), ("active", "pause end"), ("paused", "activate end"), ("ended", "")],
)
def test_only_the_steps_that_its_status_allows_are_offered(manager: Client, status: str, offered: str) -> None:
    content = manager.get(page(make_campaign(status=status), "change/")).content.decode()
    assert {step for step in ("activate", "pause", "end") if f"to-{step}" in content} == set(offered.split())


def test_a_new_budget_needs_a_reason_and_room_for_what_is_promised(manager: Client) -> None:
    campaign = make_campaign(budget_minor=1000)
    lived(campaign)

    assert b"This field is required" in manager.post(page(campaign, "budget/"), {"budget_minor": 2000}).content
    answer = manager.post(page(campaign, "budget/"), {"budget_minor": 1, "reason": "less"})
    assert b"promised or paid already" in answer.content
    campaign.refresh_from_db()
    assert campaign.budget_minor == 1000

    assert manager.post(page(campaign, "budget/"), {"budget_minor": 2000, "reason": "more"}).status_code == 302
    campaign.refresh_from_db()
    assert campaign.budget_minor == 2000
    assert LedgerEntry.objects.filter(campaign=campaign, kind="funded").count() == 2
    assert proof.audit(campaign).problems == ()


def test_saving_the_form_leaves_what_posts_were_promised_meanwhile(
    manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign()
    real = CampaignForm.clean

    def promise_meanwhile(form: CampaignForm) -> dict[str, Any]:
        lived(campaign)
        return real(form)

    monkeypatch.setattr(CampaignForm, "clean", promise_meanwhile)
    assert manager.post(page(campaign, "change/"), form_of(campaign, name="Renamed")).status_code == 302

    campaign.refresh_from_db()
    assert (campaign.name, campaign.committed_minor) == ("Renamed", 150)
    assert proof.audit(campaign).problems == ()


def form_of(campaign: Campaign, **changed: Any) -> dict[str, Any]:
    """Return what the form sends for a campaign as it is, but for what was changed."""
    return {
        "name": campaign.name,
        "sponsor": campaign.sponsor_id,
        "cause": campaign.cause,
        "priority": campaign.priority,
        "amount_minor": campaign.amount_minor,
        "hold_seconds": campaign.hold_seconds,
        "time_zone": "UTC",
        "starts_at_0": "2026-01-01",
        "starts_at_1": "00:00:00",
        "min_account_age_days": 0,
        "boosts_enabled": "on",
        "tiers-TOTAL_FORMS": 0,
        "tiers-INITIAL_FORMS": 0,
    } | changed


def test_saving_the_form_changes_neither_budget_nor_status(manager: Client) -> None:
    campaign = make_campaign()
    values = form_of(campaign, name="Renamed", budget_minor=9_999_999, status="ended", committed_minor=77)
    assert manager.post(page(campaign, "change/"), values).status_code == 302
    campaign.refresh_from_db()
    assert (campaign.name, campaign.status, campaign.budget_minor) == ("Renamed", "active", 100_00)


@pytest.mark.parametrize("status", ["draft", "active", "paused", "ended"])
def test_the_books_change_hands_only_before_there_are_any(manager: Client, status: str) -> None:
    campaign = make_campaign(status=status)
    other = Sponsor.objects.create(name="Somebody else")

    assert manager.post(page(campaign, "change/"), form_of(campaign, sponsor=other.pk)).status_code == 302

    campaign.refresh_from_db()
    assert (campaign.sponsor == other) == (status == "draft")


@pytest.mark.parametrize(("status", "zone", "hour"), [("draft", "Asia/Tokyo", 15), ("active", "UTC", 0)])
def test_the_window_moves_with_the_time_zone_until_the_campaign_has_begun(
    manager: Client, status: str, zone: str, hour: int
) -> None:
    campaign = make_campaign(status=status, ends_at=datetime(2036, 1, 1, tzinfo=UTC))
    values = form_of(campaign, time_zone="Asia/Tokyo", ends_at_0="2036-01-01", ends_at_1="00:00:00")

    assert manager.post(page(campaign, "change/"), values).status_code == 302

    campaign.refresh_from_db()
    assert (campaign.time_zone, campaign.ends_at and campaign.ends_at.hour) == (zone, hour)


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("time_zone", {"time_zone": "Mars/Olympus"}, "IANA"),
        ("ends_at", {"ends_at_0": "2020-01-01", "ends_at_1": "00:00:00"}, "end after it starts"),
        ("amount_minor", {"amount_minor": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named(manager: Client, field: str, values: dict[str, Any], said: str) -> None:
    campaign = make_campaign(status="draft")
    answer = manager.post(page(campaign, "change/"), form_of(campaign, **values))
    assert answer.status_code == 200
    assert said in answer.context["adminform"].form.errors[field][0]


def test_the_statement_sums_up_to_the_cent_in_every_form(manager: Client) -> None:
    campaign = make_campaign(budget_minor=1000)
    lived(campaign)
    campaigns.set_budget(campaign, 1500, None, "a raise", timezone.now())

    found = reports.statement(campaign)
    campaign.refresh_from_db()
    assert found.closing_minor == campaign.budget_minor - campaign.committed_minor == 1500 - 3 * 50
    remaining = found.opening_minor
    for line in found.lines:
        remaining += line.sums.freed_minor
        assert line.remaining_minor == remaining
    assert remaining == found.closing_minor
    audit = proof.audit(campaign)
    assert (found.totals.settled_minor, found.totals.voided_minor, found.totals.refunded_minor) == (
        audit.settled_minor,
        audit.voided_minor,
        audit.refunded_minor,
    )
    assert {line.region for line in found.lines} == {"", "DE", "FR"}

    body = manager.get(page(campaign, "statement.json")).json()
    assert (body["closing_minor"], len(body["lines"])) == (found.closing_minor, len(found.lines))
    assert sum(row["reserved_minor"] for row in body["lines"]) == body["totals"]["reserved_minor"] == 250

    sheet = manager.get(page(campaign, "statement.csv"))
    assert "attachment" in sheet["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(sheet.content.decode())))
    assert Decimal(rows[-1]["remaining"]) * 100 == found.closing_minor
    assert sum(Decimal(row["reserved"]) for row in rows[1:-1]) == Decimal(rows[-1]["reserved"]) == Decimal("2.50")
    assert manager.get(page(campaign, "statement/")).status_code == 200


def test_a_statement_of_some_days_begins_where_the_days_before_ended(manager: Client) -> None:
    campaign = make_campaign(budget_minor=1000)
    lived(campaign)
    whole = reports.statement(campaign)
    later = whole.lines[-1].day
    assert later > whole.lines[0].day

    before = reports.statement(campaign, None, later - timedelta(days=1))
    rest = reports.statement(campaign, later, None)

    assert before.closing_minor == rest.opening_minor
    assert before.totals + rest.totals == whole.totals
    assert rest.closing_minor == whole.closing_minor


@pytest.mark.parametrize("query", ["first=yesterday", "first=2026-02-31", "first=2026-02-02&last=2026-02-01"])
def test_days_that_are_none_are_refused_by_name(manager: Client, query: str) -> None:
    campaign = make_campaign()
    field = "last" if "last" in query else "first"
    answer = manager.get(page(campaign, f"statement.json?{query}"))
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert manager.get(page(campaign, f"statement.csv?{query}")).status_code == 400
    assert b'role="alert"' in manager.get(page(campaign, f"statement/?{query}")).content


def test_a_yen_has_no_cents() -> None:
    campaign = make_campaign(currency="JPY", budget_minor=1000, amount_minor=50)
    assert "JPY,1000" in reports.statement(campaign).csv()


def test_a_sponsors_people_see_their_own_campaigns_and_change_nothing() -> None:
    own = make_campaign(sponsor="Ours", name="First of ours")
    others = make_campaign(sponsor="Theirs", name="First of theirs")
    lived(own)
    lived(others)
    client = signed_in(roles.SPONSOR, "sponsor")
    own.sponsor.users.add(User.objects.get(username="sponsor"))

    listed = client.get("/admin/incentives/campaign/").content.decode()
    assert own.name in listed and others.name not in listed
    for rest in ("change/", "statement/", "statement.csv", "statement.json", "prove/"):
        assert client.get(page(own, rest)).status_code == 200, rest
        assert client.get(page(others, rest)).status_code in (302, 404), rest
    for rest in ("step/end/", "budget/"):
        assert client.get(page(own, rest)).status_code == 403
        assert client.post(page(own, rest), {"budget_minor": 0, "reason": "x"}).status_code == 403
    assert client.post(page(own, "change/"), {"name": "Mine"}).status_code == 403
    for model in ("match", "ledgerentry", "ledgerproof", "sponsor"):
        content = client.get(f"/admin/incentives/{model}/").content.decode()
        assert others.name not in content and others.sponsor.name not in content
    author = own.matches.all()[0].author
    assert author is not None
    assert author.external_id not in client.get("/admin/incentives/match/").content.decode(), "not theirs to know"
    for model in ("badgerule", "boostpolicy", "experiment", "event", "earningrules"):
        assert client.get(f"/admin/incentives/{model}/").status_code == 403, model
    assert client.get("/admin/moderation/post/").status_code == 403


def test_a_sponsors_people_are_named_by_those_alone_who_may_see_accounts(manager: Client) -> None:
    own = User.objects.create_user("reader", is_staff=True)
    sponsor = make_campaign().sponsor
    sponsor.users.add(own)
    url = f"/admin/incentives/sponsor/{sponsor.pk}/change/"

    shown = manager.get(url).content.decode()
    assert "reader" in shown
    assert 'name="users"' not in shown, "the search for people would be refused"
    assert manager.post(url, {"name": "Better Masks"}).status_code == 302
    assert [user.username for user in sponsor.users.all()] == ["reader"], "the manager takes nobody away"

    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root"))
    assert 'name="users"' in superuser.get(url).content.decode()


def test_somebody_in_the_sponsors_role_without_a_sponsor_sees_nothing() -> None:
    campaign = make_campaign(name="Not to be seen")
    client = signed_in(roles.SPONSOR)
    assert campaign.name not in client.get("/admin/incentives/campaign/").content.decode()


def test_an_auditor_sees_every_campaign_and_changes_nothing() -> None:
    campaign = make_campaign()
    client = signed_in(roles.AUDITOR)
    for rest in ("change/", "statement/", "prove/"):
        assert client.get(page(campaign, rest)).status_code == 200
    assert client.post(page(campaign, "budget/"), {"budget_minor": 0, "reason": "x"}).status_code == 403
    assert client.post(page(campaign, "step", "end/")).status_code == 403


def test_a_moderator_sees_no_money() -> None:
    campaign = make_campaign()
    client = signed_in(roles.MODERATOR)
    assert client.get("/admin/incentives/campaign/").status_code == 403
    assert client.get(page(campaign, "statement/")).status_code == 403
    assert client.get("/admin/moderation/post/").status_code == 200


def test_the_roles_hold_only_permissions_that_exist() -> None:
    for name, wanted in roles.ROLES.items():
        held = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{code}" for app, code in held} == wanted


def test_the_pages_take_as_many_queries_with_many_rows_as_with_few(manager: Client) -> None:
    campaign = make_campaign(budget_minor=100_000)
    counts = []
    for _ in range(2):
        lived(campaign)
        with CaptureQueriesContext(connection) as queries:
            for rest in ("statement/", "prove/", "change/"):
                assert manager.get(page(campaign, rest)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_side_of_the_admin_holds_what_a_person_may_see_and_every_link_opens() -> None:
    for role, seen, unseen in (
        (roles.MODERATOR, ("Review queue", "Flags"), ("Ledger", "Money", "API keys")),
        (roles.SPONSOR, ("Campaigns", "Ledger"), ("Review queue", "Programme")),
        (roles.AUDITOR, ("Proofs", "Experiments"), ("API keys", "Roles")),
        (roles.PROGRAMME_MANAGER, ("Badges", "Earning rules"), ("API keys", "Roles")),
    ):
        client = signed_in(role, role)
        request = client.get("/admin/").wsgi_request
        found = navigation.sections(request)
        titles = [item["title"] for section in found for item in section["items"]]
        titles += [section["title"] for section in found if "title" in section]
        assert set(seen) <= set(titles) and not set(unseen) & set(titles), role
        for section in found:
            for item in section["items"]:
                assert client.get(item["link"]).status_code == 200, (role, item)
