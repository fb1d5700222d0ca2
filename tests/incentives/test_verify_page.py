"""Whoever is sent a badge's address sees what it is worth, without a script and without who holds it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from incentives.models import BadgeAward, BadgeRule
from tests.cast import make_author, make_platform
from tests.incentives.builders import make_award
from tests.incentives.signatures import make_pem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.BADGE_KEY = make_pem()


@pytest.fixture
def award() -> BadgeAward:
    rule = BadgeRule.objects.create(
        code="week", title="A week of masks", description="For a week.", kind="streak", threshold=7, level=3
    )
    author = make_author(make_platform("instapix"), "ada-lovelace")
    return make_award(author, rule, awarded_at=datetime(2026, 3, 1, 12, tzinfo=UTC))


def page(client: Client, award: BadgeAward) -> str:
    response = client.get(f"/badges/{award.public_id}")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/html; charset=utf-8"
    return " ".join(response.content.decode().split())


def test_it_shows_the_badge_and_what_it_took(client: Client, award: BadgeAward, settings: Settings) -> None:
    settings.ISSUER_NAME = "Masks of Example"
    text = page(client, award)
    for said in (
        "<h1>A week of masks</h1>",
        "For a week.",
        "Share a photo post with a mask on, on 7 days in a row.",
        ">1 March 2026</time>",
        "It does not run out",
        "3 of 5, gold",
        "Masks of Example",
        'alt="A week of masks: a gold badge, level 3 of 5"',
    ):
        assert said in text


@pytest.mark.parametrize(
    ("status", "word", "meaning"),
    [
        ("active", "Valid", "it stands"),
        ("suspended", "Suspended on", "being looked into"),
        ("revoked", "Revoked on", "must not be relied on"),
        ("expired", "Expired on", "its time is over"),
    ],
)
def test_it_says_in_plain_words_whether_the_badge_counts(
    client: Client, award: BadgeAward, status: str, word: str, meaning: str
) -> None:
    award.status, award.changed_at = status, datetime(2026, 4, 5, tzinfo=UTC)
    award.save()
    text = page(client, award)
    (pill,) = re.findall(r'<p class="standing[^"]*">(.*?)</p>', text)
    assert pill.strip().startswith(word)
    assert ("5 April 2026" in pill) == (status != "active")
    assert meaning in text


def test_a_badge_whose_time_is_over_is_expired_before_the_task_says_so(client: Client, award: BadgeAward) -> None:
    award.expires_at = timezone.now() + timedelta(minutes=1)
    award.save()
    assert 'class="standing is-valid"' in page(client, award)
    award.expires_at = timezone.now() - timedelta(minutes=1)
    award.save()
    assert 'class="standing is-expired"' in page(client, award)


def test_a_badge_that_was_reinstated_is_valid_again(client: Client, award: BadgeAward) -> None:
    for status, tone in (("suspended", "suspended"), ("active", "valid")):
        BadgeAward.objects.filter(pk=award.pk).update(status=status)
        assert f'class="standing is-{tone}"' in page(client, award)


def test_it_does_not_say_who_holds_the_badge(client: Client, award: BadgeAward) -> None:
    assert "ada-lovelace" not in page(client, award)
    assert "ada-lovelace" not in client.get(f"/badges/{award.public_id}/image.svg").content.decode()


def test_it_offers_the_credential_to_copy(client: Client, award: BadgeAward) -> None:
    token = client.get(f"/badges/{award.public_id}/credential").content.decode()
    assert f">{token}</textarea>" in page(client, award)


def test_it_says_how_to_preview_it(client: Client, award: BadgeAward) -> None:
    found = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)">', page(client, award)))
    assert found["title"] == "A week of masks"
    assert found["description"].startswith("Valid. Share a photo post")
    assert found["url"] == f"http://testserver/badges/{award.public_id}"
    assert found["image"] == f"http://testserver/badges/{award.public_id}/image.svg"


def test_it_runs_no_script_and_asks_nobody_else(client: Client, award: BadgeAward) -> None:
    response = client.get(f"/badges/{award.public_id}")
    text = response.content.decode()
    assert not re.search(r"<script|\bon\w+=|<iframe|style=", text)
    loaded = re.findall(r'(?:src|<link[^>]+rel="(?:stylesheet|icon)"[^>]+href)="([^"]+)"', text)
    assert len(loaded) == 3
    assert [address for address in loaded if not address.startswith("/")] == []
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert 'name="robots" content="noindex"' in text


def test_a_hostile_title_stays_text(client: Client, award: BadgeAward) -> None:
    award.rule.title = '"><script>alert(1)</script>'
    award.rule.save()
    assert "<script>" not in page(client, award)


@pytest.mark.parametrize("public_id", ["bdg_01unknown", "bdg_%00", "bdg_é"])
def test_an_unknown_badge_has_a_page_that_says_so(client: Client, public_id: str) -> None:
    response = client.get(f"/badges/{public_id}")
    assert response.status_code == 404
    assert "There is no badge here" in response.content.decode()
    for part in ("credential", "image.svg"):
        missing = client.get(f"/badges/{public_id}/{part}")
        assert (missing.status_code, missing["Content-Type"]) == (404, "application/problem+json")


def test_the_number_of_an_award_leads_nowhere(client: Client, award: BadgeAward) -> None:
    assert client.get(f"/badges/{award.pk}").status_code == 404


def test_a_page_is_read_only(client: Client, award: BadgeAward) -> None:
    assert client.head(f"/badges/{award.public_id}").status_code == 200
    for path in ("", "/credential", "/image.svg"):
        assert client.post(f"/badges/{award.public_id}{path}").status_code == 405


def test_without_a_key_the_page_still_shows_the_badge(client: Client, award: BadgeAward, settings: Settings) -> None:
    settings.LOCAL, settings.BADGE_KEY = False, ""
    text = page(client, award)
    assert "<h1>A week of masks</h1>" in text
    assert "nothing to verify by" in text
    picture = client.get(f"/badges/{award.public_id}/image.svg")
    assert picture.status_code == 200
    assert "openbadges" not in picture.content.decode()


def test_the_picture_of_an_award_carries_its_credential(client: Client, award: BadgeAward) -> None:
    token = client.get(f"/badges/{award.public_id}/credential").content.decode()
    response = client.get(f"/badges/{award.public_id}/image.svg")
    picture = ElementTree.fromstring(response.content)  # noqa: S314 - we have just drawn it
    assert response["Content-Type"] == "image/svg+xml"
    assert picture[0].get("verify") == token


def test_the_picture_of_a_rule_carries_none(client: Client, award: BadgeAward) -> None:
    response = client.get("/badges/rules/week/image.svg")
    assert response["Content-Type"] == "image/svg+xml"
    assert b"verify=" not in response.content
    assert "sandbox" in response["Content-Security-Policy"], "opened by itself, it may do nothing either"
    assert client.get("/badges/rules/unknown/image.svg").status_code == 404


def test_a_badge_that_was_given_by_hand_and_not_earned_says_so(client: Client, award: BadgeAward) -> None:
    assert "Given by hand" not in page(client, award)
    assert "narrative" not in credential_of(client, award)["credentialSubject"]

    BadgeAward.objects.filter(pk=award.pk).update(
        by_staff=True, evidence={"measured": 6, "threshold": 7, "post_ids": []}
    )

    assert "Given by hand by the staff of the programme" in page(client, award)
    assert "by hand" in credential_of(client, award)["credentialSubject"]["narrative"]


def credential_of(client: Client, award: BadgeAward) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/badges/{award.public_id}/credential?format=json").json()
    return found
