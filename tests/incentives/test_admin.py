"""What staff see and do: every page opens, in the same number of queries however many rows there are."""

import importlib
import re
from datetime import timedelta
from typing import Any

import pgtrigger
import pytest
from django.apps import apps
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from incentives import donations, rewards, webhooks
from incentives.models import (
    BadgeAward,
    BadgeRule,
    BoostPolicy,
    Campaign,
    Delivery,
    EarningRules,
    Event,
    LedgerEntry,
    Match,
    WebhookEndpoint,
)
from incentives.money import format_money
from incentives.roles import MODERATOR
from mask_social import clock
from moderation.models import Post
from tests.cast import make_post, make_verdict
from tests.incentives.builders import make_campaign, make_endpoint, secret_of
from tests.incentives.conftest import Sent
from tests.incentives.receiver import Receiver, Reply

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]

MODELS = [BadgeRule, BadgeAward, Campaign, Match, LedgerEntry, Event, Delivery, WebhookEndpoint]


@pytest.fixture
def staff(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def some_content() -> Delivery:
    """Make one of everything: a masked post of a platform that listens, and an attempt that failed."""
    make_campaign()
    post = make_post(outcome="masked")
    with Receiver(Reply(500, body=b"not <b>now</b>")) as receiver:
        endpoint = make_endpoint(post.platform, receiver.url)
        rewards.apply_verdict(post.verdicts.get().pk)
        delivery = endpoint.deliveries.order_by("pk")[0]
        webhooks.deliver(delivery.pk, webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[]))
    delivery.refresh_from_db()
    return delivery


def page(model: Any, *rest: str) -> str:
    return "/".join(["/admin/incentives", model._meta.model_name, *rest]) + "/"


@pytest.mark.parametrize("model", MODELS)
def test_a_list_takes_the_same_queries_however_many_rows_it_has(staff: Client, model: Any) -> None:
    counts = []
    for _ in range(3):
        some_content()
        staff.get(page(model))
        with CaptureQueriesContext(connection) as queries:
            answer = staff.get(page(model))
        assert answer.status_code == 200
        assert b"result_list" in answer.content
        counts.append(len(queries))

    assert counts[1] == counts[2], [query["sql"] for query in queries]


@pytest.mark.parametrize("model", MODELS)
def test_every_row_has_a_page_that_opens(staff: Client, model: Any) -> None:
    some_content()
    row = model.objects.first()
    answer = staff.get(page(model, str(row.pk), "change"))
    assert answer.status_code == 200
    assert b"whsec_" not in answer.content


def test_a_search_opens_too(staff: Client) -> None:
    some_content()
    for model in MODELS:
        assert staff.get(page(model), {"q": "ada"}).status_code == 200


def test_the_budget_bar_tells_what_is_settled_reserved_and_left(staff: Client) -> None:
    campaign = make_campaign(budget_minor=200_00)
    Campaign.objects.filter(pk=campaign.pk).update(committed_minor=50_00)
    content = staff.get(page(Campaign)).content.decode()
    assert 'aria-label="0.00 EUR settled, 50.00 EUR reserved, 150.00 EUR left"' in content
    assert "width: 25.00%" in content


def act(staff: Client, model: Any, action: str, *rows: Any) -> str:
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    answer = staff.post(page(model), data, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_failed_delivery_is_sent_again(staff: Client, sent: Sent) -> None:
    delivery = some_content()
    pending = Delivery.objects.filter(status="pending")[0]
    sent.clear()
    assert delivery.status == "failed"

    said = act(staff, Delivery, "send_again", delivery, pending)

    assert "1 deliveries are on their way again" in said
    assert "1 are not" in said
    assert sent.of("send_webhooks") == [delivery.endpoint_id]


def test_endpoints_are_tried_out_disabled_and_enabled(staff: Client) -> None:
    endpoint = make_endpoint()
    act(staff, WebhookEndpoint, "send_test", endpoint)
    assert endpoint.deliveries.get().event.type == "endpoint.test"
    act(staff, WebhookEndpoint, "disable", endpoint)
    assert endpoint.deliveries.get().status == "held"
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).status == "disabled"
    act(staff, WebhookEndpoint, "enable", endpoint)
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).status == "active"


def test_staff_send_an_endpoint_again_what_failed_of_late_or_ever(staff: Client) -> None:
    old, late = some_content(), some_content()
    endpoints = [delivery.endpoint for delivery in (old, late)]
    Delivery.objects.exclude(pk__in=[old.pk, late.pk]).delete()
    with pgtrigger.ignore("incentives.Event:event_is_never_edited"):
        Event.objects.filter(pk=old.event_id).update(created_at=clock.now() - timedelta(days=2))
    disabled = make_endpoint(status="disabled")

    assert "1 deliveries are on their way" in act(staff, WebhookEndpoint, "replay_day", *endpoints)
    assert list(Delivery.objects.filter(status="pending")) == [late]
    said = act(staff, WebhookEndpoint, "replay_failures", *endpoints, disabled)
    assert "1 deliveries are on their way" in said and "1 of the endpoints are disabled" in said
    assert Delivery.objects.filter(status="pending").count() == 2


def test_staff_end_a_secret_that_leaked_and_learn_none(staff: Client) -> None:
    endpoint = make_endpoint()
    leaked, pair = secret_of(endpoint), endpoint.signing_keys.get(scheme="v1a")

    said = act(staff, WebhookEndpoint, "end_secret", endpoint)

    assert secret_of(endpoint) != leaked and secret_of(endpoint) not in said
    assert list(endpoint.signing_keys.filter(scheme="v1a")) == [pair]
    assert endpoint.signing_keys.count() == 2


def test_an_endpoints_page_says_since_when_it_fails_why_it_is_disabled_and_what_is_held(staff: Client) -> None:
    endpoint = make_endpoint(paused_until=clock.now() + timedelta(hours=1))
    webhooks.send_test(endpoint)
    WebhookEndpoint.objects.update(failing_since=clock.now() - timedelta(days=5))
    shown = staff.get(page(WebhookEndpoint, quote(endpoint.pk), "change")).content.decode()
    assert str(endpoint.paused_until)[:16] in shown
    webhooks.disable(endpoint, WebhookEndpoint.Reason.FAILING)

    shown = staff.get(page(WebhookEndpoint, quote(endpoint.pk), "change")).content.decode()

    assert "nothing arrived for days" in shown
    assert f"{clock.now() - timedelta(days=5):%Y-%m-%d}" in shown
    assert re.search(r"held deliveries.*?>\s*1\s*<", shown, re.IGNORECASE | re.DOTALL)


def test_whoever_may_only_look_cannot_send_again() -> None:
    delivery = some_content()
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client = Client()
    client.force_login(user)
    assert client.get(page(Delivery)).status_code == 200

    client.post(page(Delivery), {"action": "send_again", "_selected_action": [delivery.pk]})

    delivery.refresh_from_db()
    assert delivery.status == "failed"


@pytest.mark.parametrize("model", [BadgeAward, Match, LedgerEntry, Event, Delivery, WebhookEndpoint])
def test_the_record_cannot_be_written_by_hand(staff: Client, model: Any) -> None:
    some_content()
    row = model.objects.first()
    assert staff.get(page(model, "add")).status_code == 403
    assert staff.post(page(model, str(row.pk), "delete"), {"post": "yes"}).status_code == 403
    assert staff.post(page(model, str(row.pk), "change"), {}).status_code == 403


def test_what_an_endpoint_answered_is_shown_as_text(staff: Client) -> None:
    delivery = some_content()
    content = staff.get(page(Delivery, delivery.pk, "change")).content.decode()
    assert "not &lt;b&gt;now&lt;/b&gt;" in content


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "EUR", "0.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (123_456_789, "EUR", "1,234,567.89 EUR"),
        (-150, "USD", "-1.50 USD"),
        (500, "JPY", "500 JPY"),
        (1_234, "KWD", "1.234 KWD"),
    ],
)
def test_money_is_written_with_the_decimals_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert format_money(minor, currency) == text


def test_a_fresh_installation_has_badges_terms_and_an_example_of_a_campaign_whose_books_agree() -> None:
    BadgeRule.objects.all().delete()
    with pgtrigger.ignore("incentives.LedgerEntry:ledger_is_append_only"):
        LedgerEntry.objects.all().delete()
    Campaign.objects.all().delete()
    seed = importlib.import_module("incentives.migrations.0002_seed").seed

    for _ in range(2):
        seed(apps, None)

    assert list(BadgeRule.objects.values_list("code", "kind", "threshold")) == [
        ("five-days", "distinct_days", 5),
        ("first-mask", "masked_posts", 1),
        ("fifty-masks", "masked_posts", 50),
        ("week-streak", "streak", 7),
    ]
    [campaign] = Campaign.objects.all()
    assert (campaign.status, campaign.currency, campaign.platform) == ("active", "EUR", None)
    assert "xample" in campaign.name and "xample" in campaign.sponsor.name
    assert donations.audit(campaign).problems == ()
    assert BoostPolicy.objects.filter(platform=None).count() == EarningRules.objects.filter(platform=None).count() == 1


def test_a_posts_page_tells_what_it_earned_and_lost_and_why(staff: Client) -> None:
    delivery = some_content()
    post = Post.objects.get(pk=delivery.event.data["post_id"])
    rewards.apply_verdict(make_verdict(post, "unmasked", source="reviewer").pk)

    content = staff.get(f"/admin/moderation/post/{quote(post.pk)}/change/").content.decode()

    assert "What it earned and lost" in content
    assert "It does not count" in content
    assert "donation.voided" in content and "boost.ended" in content
    assert content.count("0.50 EUR") == 2, "reserved and voided"


def test_a_moderator_sees_what_a_post_earned_without_the_ledger() -> None:
    delivery = some_content()
    user = User.objects.create_user("moderator", is_staff=True)
    user.groups.add(Group.objects.get(name=MODERATOR))
    client = Client()
    client.force_login(user)

    content = client.get(f"/admin/moderation/post/{quote(delivery.event.data['post_id'])}/change/").content.decode()

    assert "What it earned and lost" in content
    assert "Ledger" not in content
