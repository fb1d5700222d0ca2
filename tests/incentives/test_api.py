"""Rewards, campaigns and webhook endpoints over HTTP: each platform sees its own, and refusals say why."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from incentives import dispatch, donations, rewards
from incentives.models import Campaign, Delivery, Event, WebhookEndpoint
from incentives.tasks import delivery_terms
from moderation import posts
from moderation.models import ApiKey, Author, Post
from moderation.serializers import NewPostSerializer
from tests.cast import make_author, make_platform, make_post, make_verdict
from tests.incentives.builders import client_for, make_campaign, make_endpoint, pointers, secret_of
from tests.incentives.conftest import Sent
from tests.incentives.receiver import Receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("seeded")]


def masked_post(author: Author | None = None, created_at: datetime | None = None) -> Post:
    post = make_post(author, outcome="masked", created_at=created_at)
    rewards.apply_verdict(post.verdicts.get().pk)
    return post


# Authors


def test_an_authors_standing_adds_up_what_their_posts_earned() -> None:
    make_campaign(budget_minor=50)
    make_campaign(currency="JPY", amount_minor=7)
    author = make_author(external_id="ada")
    first = masked_post(author, timezone.now() - timedelta(days=1))
    masked_post(author)
    make_post(author, outcome="unmasked")

    answer = client_for(author.platform).get("/api/v1/authors/ada").json()

    badge = answer.pop("badges")
    assert [(row["rule"], row["title"], row["status"], row["post_id"]) for row in badge] == [
        ("first-mask", "Mask-on", "active", first.pk)
    ]
    assert answer == {
        "id": "ada",
        "masked_posts": 2,
        "distinct_days": 2,
        "matched": [{"amount_minor": 50, "currency": "EUR"}, {"amount_minor": 7, "currency": "JPY"}],
    }


def test_badges_that_were_taken_back_stay_on_the_list() -> None:
    post = masked_post()
    rewards.apply_verdict(make_verdict(post, "unmasked").pk)
    client = client_for(post.platform)

    listed = client.get(f"/api/v1/authors/{post.author.external_id}/badges").json()
    standing = client.get(f"/api/v1/authors/{post.author.external_id}").json()

    assert [(row["rule"], row["status"]) for row in listed["data"]] == [("first-mask", "revoked")]
    assert listed["data"][0]["evidence"] == {"measured": 1, "threshold": 1, "post_ids": [post.pk]}
    assert listed["next"] is None
    assert (standing["masked_posts"], standing["badges"]) == (0, [])


@pytest.mark.parametrize("name", ["a/b", "https://example.org/users/ada", "/", "badges", "ä ö?#%2F", "a.b", "...", "*"])
def test_an_author_is_read_by_whatever_id_a_post_was_taken_with(name: str) -> None:
    serializer = NewPostSerializer(data={"author_id": name})
    assert serializer.is_valid(), serializer.errors
    client = client_for(make_author(external_id=name).platform)

    answers = [client.get(f"/api/v1/authors/{quote(name, safe=safe)}") for safe in ("", "/")]
    badges = client.get(f"/api/v1/authors/{quote(name)}/badges")

    assert [answer.json().get("id") for answer in answers] == [name, name]
    assert badges.json() == {"data": [], "next": None}


def test_badges_page_by_cursor() -> None:
    from incentives.models import BadgeRule

    BadgeRule.objects.create(code="again", title="Again", kind="masked_posts", threshold=1)
    post = masked_post()
    client = client_for(post.platform)
    address = f"/api/v1/authors/{post.author.external_id}/badges"

    first = client.get(address, {"limit": "1"}).json()
    second = client.get(address, {"limit": "1", "after": first["next"]}).json()

    assert {first["data"][0]["rule"], second["data"][0]["rule"]} == {"first-mask", "again"}
    assert second["next"] is None


@pytest.mark.parametrize("name", ["nobody", "%00", "a%2Fb"])
def test_an_author_of_nobody_or_of_another_platform_is_not_found(name: str) -> None:
    make_author(external_id="theirs")
    client = client_for(make_platform())
    for address in (f"/api/v1/authors/{name}", "/api/v1/authors/theirs", "/api/v1/authors/theirs/badges"):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# The post's own section


def test_a_post_tells_what_it_earned() -> None:
    campaign = make_campaign()
    post = masked_post()

    answer = client_for(post.platform).get(f"/api/v1/posts/{post.pk}").json()

    found = answer["rewards"]
    assert [badge["rule"] for badge in found["badges"]] == ["first-mask"]
    assert (found["boost"]["factor"], found["boost"]["half_life_seconds"]) == (1.5, 21600)
    assert 1.49 < found["boost"]["factor_now"] <= 1.5
    assert found["match"] == {
        "id": found["match"]["id"],
        "campaign": {"id": campaign.pk, "name": campaign.name, "sponsor": campaign.sponsor.name},
        "amount_minor": 50,
        "currency": "EUR",
        "status": "reserved",
    }
    assert found["event_ids"] == list(Event.objects.order_by("position").values_list("id", flat=True))
    assert answer["stages"][-1]["name"] == "reward"
    assert answer["stages"][-1]["ms"] >= 0


def test_a_post_has_no_rewards_until_its_verdict_was_applied() -> None:
    post = make_post(outcome="masked")
    client = client_for(post.platform)
    assert client.get(f"/api/v1/posts/{post.pk}").json()["rewards"] is None

    rewards.apply_verdict(post.verdicts.get().pk)
    make_verdict(post, "unmasked")
    assert client.get(f"/api/v1/posts/{post.pk}").json()["rewards"] is None


def test_waiting_for_a_post_that_failed_or_was_withdrawn_ends_when_nothing_more_will_come() -> None:
    failed = make_post()
    Post.objects.filter(pk=failed.pk).update(status="failed", completed_at=timezone.now())
    gone = masked_post(failed.author)
    posts.withdraw(gone)
    client = client_for(failed.platform)

    def seconds(post: Post, wait: str) -> float:
        began = time.monotonic()
        assert client.get(f"/api/v1/posts/{post.pk}", {"wait": wait}).status_code == 200
        return time.monotonic() - began

    assert seconds(failed, "30") < 10
    assert seconds(gone, "0.3") > 0.3
    rewards.take_back(gone.pk)
    assert seconds(gone, "30") < 10


def test_a_post_that_lost_its_verdict_shows_nothing_of_what_it_had() -> None:
    make_campaign()
    post = masked_post()
    rewards.apply_verdict(make_verdict(post, "unmasked").pk)

    found = client_for(post.platform).get(f"/api/v1/posts/{post.pk}").json()["rewards"]

    assert (found["badges"], found["boost"], found["match"]) == ([], None, None)
    assert len(found["event_ids"]) == 8


# Campaigns


def test_a_platform_sees_its_campaigns_and_those_for_everybody_without_drafts() -> None:
    platform = make_platform()
    everybody, own = make_campaign(), make_campaign(platform=platform)
    theirs, draft = make_campaign(platform=make_platform()), make_campaign(status="draft")
    client = client_for(platform)

    listed = [row["id"] for row in client.get("/api/v1/campaigns").json()["data"]]

    assert listed[:2] == [own.pk, everybody.pk]
    assert not {theirs.pk, draft.pk} & set(listed)
    for hidden in (theirs, draft):
        assert client.get(f"/api/v1/campaigns/{hidden.pk}").status_code == 404


def test_a_campaign_tells_what_is_left_of_its_budget() -> None:
    campaign = make_campaign(budget_minor=500, hold_seconds=0)
    post = masked_post()
    donations.settle_due(timezone.now())
    Campaign.objects.filter(pk=campaign.pk).update(hold_seconds=3600)
    masked_post(make_author(post.platform))

    found = client_for(post.platform).get(f"/api/v1/campaigns/{campaign.pk}").json()

    money = {name: found[f"{name}_minor"] for name in ("budget", "committed", "settled", "reserved", "left")}
    assert money == {"budget": 500, "committed": 100, "settled": 50, "reserved": 50, "left": 400}


# Webhook endpoints


def create(platform: Any, **body: Any) -> Any:
    return client_for(platform).post("/api/v1/webhook-endpoints", body, format="json")


def test_the_secret_is_told_once() -> None:
    platform = make_platform()
    made = create(platform, url="https://feed.example.org/hooks", event_types=["post.analyzed", "post.analyzed"])
    client = client_for(platform)

    assert made.status_code == 201
    body = made.json()
    stored = WebhookEndpoint.objects.get(pk=body["id"])
    assert body.pop("secret") == secret_of(stored)
    assert body["event_types"] == ["post.analyzed"]
    assert client.get("/api/v1/webhook-endpoints").json() == {"data": [body], "next": None}
    read = client.get(f"/api/v1/webhook-endpoints/{stored.pk}").json()
    assert [key["scheme"] for key in read.pop("signing_keys")] == ["v1", "v1a"]
    assert read == body | {"deliveries": []}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "blank"),
        ("feed", "invalid_url"),
        ("ftp://feed.example.org/", "invalid_url"),
        ("https://user:secret@feed.example.org/", "invalid_url"),
        ("https:///hooks", "invalid_url"),
        ("https://feed.example.org:99999/", "invalid_url"),
        ("https://feed.example.org/a b", "invalid_url"),
        ("https://[::1", "invalid_url"),
        ("http://feed.example.org/", "insecure_url"),
        ("https://127.0.0.1/", "forbidden_address"),
        ("https://169.254.169.254/", "forbidden_address"),
        ("https://[::ffff:10.0.0.1]/", "forbidden_address"),
        ("https://localhost/", "forbidden_address"),
        ("https://hooks.localhost./", "forbidden_address"),
        ("https://feed.example.org:22/", "forbidden_port"),
        ("https://feed.example.org:6379/hooks", "forbidden_port"),
        ("https://2130706433/", "forbidden_address"),
        ("https://0x7f.1/", "forbidden_address"),
        ("https://feed.example.org/" + "a" * 2000, "max_length"),
    ],
)
def test_an_address_that_nothing_could_be_sent_to_is_refused(url: str, code: str, settings: Settings) -> None:
    settings.ALLOW_PRIVATE_ADDRESSES = False
    assert pointers(create(make_platform(), url=url)) == [("/url", code)]
    assert not WebhookEndpoint.objects.exists()


def test_an_unknown_type_is_refused_by_its_place() -> None:
    answer = create(make_platform(), url="https://feed.example.org/", event_types=["post.analyzed", "post.eaten"])
    assert pointers(answer) == [("/event_types/1", "invalid_choice")]


def test_a_misspelt_field_is_refused_and_not_lost() -> None:
    client = client_for(make_platform())
    endpoint = make_endpoint(make_platform())
    candidate = {"post_id": "a", "base_score": 1, "age_second": 3}

    ranked = client.post("/api/v1/feed/rank", {"candidates": [candidate]}, format="json")
    made = client.post("/api/v1/webhook-endpoints", {"url": "https://example.org/", "types": []}, format="json")
    changed = client_for(endpoint.platform).patch(
        f"/api/v1/webhook-endpoints/{endpoint.pk}", {"state": "disabled"}, format="json"
    )

    assert pointers(ranked) == [("/candidates/0/age_second", "unknown_field")]
    assert pointers(made) == [("/types", "unknown_field")]
    assert pointers(changed) == [("/state", "unknown_field")]


@pytest.mark.parametrize("body", ['{"candidates": ' + "[" * 100_000, '{"event_types": ["\\ud800"], "url": "x"}'])
def test_json_made_to_break_its_reader_is_refused(body: str) -> None:
    client = client_for(make_platform())
    for path in ("feed/rank", "webhook-endpoints"):
        answer = client.post(f"/api/v1/{path}", body, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_a_developer_may_listen_on_a_private_address(settings: Settings) -> None:
    settings.ALLOW_PRIVATE_ADDRESSES = True
    assert create(make_platform(), url="http://feed:8000/hooks").status_code == 201


def test_there_are_only_so_many_endpoints() -> None:
    platform = make_platform()
    for _ in range(20):
        make_endpoint(platform)

    answer = create(platform, url="https://feed.example.org/")

    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_endpoints")


def test_an_endpoint_is_changed_disabled_enabled_and_deleted() -> None:
    endpoint = make_endpoint()
    client = client_for(endpoint.platform)
    address = f"/api/v1/webhook-endpoints/{endpoint.pk}"

    changed = client.patch(address, {"url": "https://new.example.org/", "event_types": ["post.failed"]}, format="json")
    assert (changed.json()["url"], changed.json()["event_types"]) == ("https://new.example.org/", ["post.failed"])
    assert client.patch(address, {"status": "disabled"}, format="json").json()["status"] == "disabled"
    assert client.post(f"{address}/test").json()["code"] == "endpoint_disabled"
    assert client.patch(address, {"status": "active"}, format="json").json()["status"] == "active"
    assert WebhookEndpoint.objects.get().url == "https://new.example.org/"
    assert pointers(client.patch(address, {"url": "nonsense"}, format="json")) == [("/url", "invalid_url")]
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_disabling_keeps_what_was_waiting() -> None:
    endpoint = make_endpoint()
    client = client_for(endpoint.platform)
    client.post(f"/api/v1/webhook-endpoints/{endpoint.pk}/test")

    client.patch(f"/api/v1/webhook-endpoints/{endpoint.pk}", {"status": "disabled"}, format="json")

    assert Delivery.objects.get().status == "held"


@pytest.mark.django_db(transaction=True)
def test_a_test_event_goes_to_its_endpoint_alone_and_shows_among_its_deliveries(sent: Sent, settings: Settings) -> None:
    settings.ALLOW_PRIVATE_ADDRESSES = True
    with Receiver() as receiver:
        endpoint = make_endpoint(url=receiver.url, event_types=["badge.awarded"])
        make_endpoint(endpoint.platform)
        client = client_for(endpoint.platform)

        answer = client.post(f"/api/v1/webhook-endpoints/{endpoint.pk}/test")

        assert sent.of("send_webhooks") == [endpoint.pk]
        dispatch.take_turn(endpoint.pk, delivery_terms())

    assert answer.status_code == 202
    assert [request.headers["webhook-id"] for request in receiver.received] == [answer.json()["event_id"]]
    [delivery] = client.get(f"/api/v1/webhook-endpoints/{endpoint.pk}").json()["deliveries"]
    assert (delivery["event_type"], delivery["status"]) == ("endpoint.test", "delivered")
    assert (delivery["attempts"], delivery["last_status_code"], delivery["last_error"]) == (1, 204, "")


def test_another_platforms_endpoint_is_not_found() -> None:
    endpoint = make_endpoint()
    client = client_for(make_platform())
    address = f"/api/v1/webhook-endpoints/{endpoint.pk}"

    answers = [client.get(address), client.patch(address, {}, format="json"), client.delete(address)]
    answers.append(client.post(f"{address}/test"))

    assert [answer.status_code for answer in answers] == [404] * 4
    assert client.get("/api/v1/webhook-endpoints").json()["data"] == []
    assert WebhookEndpoint.objects.filter(pk=endpoint.pk).exists()


def test_what_an_endpoint_got_lately_takes_the_same_queries_for_one_delivery_as_for_many() -> None:
    endpoint = make_endpoint()
    client = client_for(endpoint.platform)
    counts = []
    for _ in range(3):
        client.post(f"/api/v1/webhook-endpoints/{endpoint.pk}/test")
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/api/v1/webhook-endpoints/{endpoint.pk}")
        counts.append(len(queries))

    assert len(set(counts)) == 1


# Keys


@pytest.mark.parametrize(
    ("method", "address", "scope"),
    [
        ("get", "/api/v1/authors/ada", ApiKey.Scope.POSTS_READ),
        ("get", "/api/v1/authors/ada/badges", ApiKey.Scope.POSTS_READ),
        ("post", "/api/v1/feed/rank", ApiKey.Scope.FEED_RANK),
        ("get", "/api/v1/campaigns", ApiKey.Scope.CAMPAIGNS_READ),
        ("get", "/api/v1/campaigns/cmp_x", ApiKey.Scope.CAMPAIGNS_READ),
        ("get", "/api/v1/events", ApiKey.Scope.EVENTS_READ),
        ("get", "/api/v1/webhook-endpoints", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("post", "/api/v1/webhook-endpoints", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("get", "/api/v1/webhook-endpoints/whe_x", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("patch", "/api/v1/webhook-endpoints/whe_x", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("delete", "/api/v1/webhook-endpoints/whe_x", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("post", "/api/v1/webhook-endpoints/whe_x/test", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("post", "/api/v1/webhook-endpoints/whe_x/rotate-secret", ApiKey.Scope.WEBHOOKS_MANAGE),
        ("post", "/api/v1/webhook-endpoints/whe_x/replay", ApiKey.Scope.WEBHOOKS_MANAGE),
    ],
)
def test_each_call_needs_its_scope_and_no_other(method: str, address: str, scope: ApiKey.Scope) -> None:
    platform = make_platform()
    others = [other for other in ApiKey.Scope if other != scope]

    refused = getattr(client_for(platform, others), method)(address)
    allowed = getattr(client_for(platform, [scope]), method)(address)

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert allowed.status_code in {200, 400, 404}


def test_the_schema_has_an_example_for_each_call_that_takes_or_gives_much() -> None:
    from drf_spectacular.generators import SchemaGenerator

    from incentives import examples

    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has no types
    text = str(schema["paths"])
    assert str(examples.BADGE["title"]) in text
    for path in ("/api/v1/feed/rank", "/api/v1/events", "/api/v1/webhook-endpoints"):
        assert "examples" in str(schema["paths"][path])


def test_days_begin_at_midnight_utc() -> None:
    author = make_author()
    for hour in (0, 23):
        masked_post(author, datetime(2026, 3, 1, hour, 59, tzinfo=UTC))

    standing = client_for(author.platform).get(f"/api/v1/authors/{author.external_id}").json()

    assert (standing["masked_posts"], standing["distinct_days"]) == (2, 1)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("authors/nobody", "There is no such author."),
        ("authors/nobody/badges", "There is no such author."),
        ("campaigns/cmp_none", "There is no such campaign."),
        ("webhook-endpoints/whe_none", "There is no such endpoint."),
    ],
)
def test_what_is_not_there_is_said_in_our_words(path: str, detail: str) -> None:
    answer = client_for(make_platform()).get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (404, detail)
