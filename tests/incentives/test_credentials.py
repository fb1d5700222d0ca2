"""A badge can be carried elsewhere, be verified there, and be seen to have been taken back."""

import hashlib
import json
import re
import stat
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pgtrigger
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from incentives.badges import staff as badges_by_staff
from incentives.credentials import criteria, keys, status_list
from incentives.models import BadgeAward, BadgeRule
from mask_social.env import local_secret, public_url
from tests.cast import make_author, make_platform, make_reviewer
from tests.incentives.builders import at_once, client_for, make_award
from tests.incentives.signatures import bit_is_set, header_of, holds, key_of, make_pem, payload_of

pytestmark = pytest.mark.django_db

AWARDED = datetime(2026, 3, 1, 12, 30, 15, 999_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.BADGE_KEY = make_pem()


@pytest.fixture
def award() -> BadgeAward:
    author = make_author(make_platform("instapix"), "ada@example.org")
    return make_award(author, awarded_at=AWARDED)


def answer(client: Client, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response


def token_of(client: Client, award: BadgeAward) -> str:
    return str(answer(client, f"/badges/{award.public_id}/credential").content.decode())


def status_of(client: Client, award: BadgeAward, purpose: str = "revocation") -> bool:
    """Look an award up as a verifier would: from its credential to the list, whose signature must hold."""
    entry = payload_of(token_of(client, award))["credentialStatus"]
    address = entry["statusListCredential"].replace("/revocation/", f"/{purpose}/")
    token = answer(client, address.removeprefix("http://testserver")).content.decode()
    assert holds(token, key_of(token, client))
    subject = payload_of(token)["credentialSubject"]
    assert subject["statusPurpose"] == purpose
    return bit_is_set(subject["encodedList"], int(entry["statusListIndex"]))


def with_status(award: BadgeAward, status: str) -> BadgeAward:
    award.status = status
    award.save(update_fields=["status"])
    return award


# The signature


def test_a_credential_is_signed_with_the_key_that_it_names(client: Client, award: BadgeAward) -> None:
    response = answer(client, f"/badges/{award.public_id}/credential")
    token = response.content.decode()
    assert response["Content-Type"] == "application/vc+jwt"
    assert response["Access-Control-Allow-Origin"] == "*", "verifiers run in browsers too"
    assert header_of(token) == {"alg": "RS256", "typ": "JWT", "kid": header_of(token)["kid"]}, "no other is allowed"
    assert holds(token, key_of(token, client))


def test_who_asks_for_plain_text_as_open_badges_would_have_it_gets_it(client: Client, award: BadgeAward) -> None:
    response = client.get(f"/badges/{award.public_id}/credential", headers={"accept": "text/plain"})
    assert response["Content-Type"] == "text/plain"


@pytest.mark.parametrize("part", ["name", "validFrom", "sub"])
def test_a_payload_that_was_tampered_with_is_refused(client: Client, award: BadgeAward, part: str) -> None:
    token = token_of(client, award)
    head, _, signature = token.split(".")
    payload = payload_of(token) | {part: "another"}
    forged = ".".join([head, urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode(), signature])
    assert holds(token, key_of(token, client))
    assert not holds(forged, key_of(forged, client))


def test_no_private_part_of_a_key_is_published(client: Client, award: BadgeAward) -> None:
    (published,) = answer(client, "/.well-known/jwks.json").json()["keys"]
    assert published.keys() == {"kty", "n", "e", "kid", "alg", "use"}
    assert published == key_of(token_of(client, award), client)
    (method,) = answer(client, "/badges/issuer").json()["verificationMethod"]
    assert method["publicKeyJwk"] == published
    assert client.get("/badges/keys/unknown").status_code == 404


def test_the_issuer_names_itself_and_its_keys(client: Client, award: BadgeAward, settings: Settings) -> None:
    settings.ISSUER_NAME = "Masks of Example"
    issuer = answer(client, "/badges/issuer").json()
    assert (issuer["id"], issuer["name"]) == ("http://testserver/badges/issuer", "Masks of Example")
    assert issuer["assertionMethod"] == [header_of(token_of(client, award))["kid"]]
    assert payload_of(token_of(client, award))["issuer"]["id"] == issuer["id"]


# What is signed


#: What the standard's data model calls required, class by class, as far as we use it.
REQUIRED: dict[str, dict[str, type]] = {
    "": {
        "@context": list,
        "id": str,
        "type": list,
        "name": str,
        "issuer": dict,
        "validFrom": str,
        "credentialSubject": dict,
    },
    "issuer": {"id": str, "type": list},
    "image": {"id": str, "type": str},
    "credentialSubject": {"type": list, "achievement": dict},
    "credentialSubject.identifier.0": {"type": str, "hashed": bool, "identityHash": str, "identityType": str},
    "credentialSubject.achievement": {"id": str, "type": list, "name": str, "description": str, "criteria": dict},
    "credentialSubject.achievement.criteria": {"narrative": str},
    "credentialSubject.achievement.image": {"id": str, "type": str},
    "credentialStatus": {
        "id": str,
        "type": str,
        "statusPurpose": str,
        "statusListIndex": str,
        "statusListCredential": str,
    },
    "credentialSchema.0": {"id": str, "type": str},
}
TYPES = {
    "": {"VerifiableCredential", "OpenBadgeCredential"},
    "issuer": {"Profile"},
    "credentialSubject": {"AchievementSubject"},
    "credentialSubject.achievement": {"Achievement"},
}


def at(payload: Any, path: str) -> Any:
    for step in filter(None, path.split(".")):
        payload = payload[int(step) if step.isdigit() else step]
    return payload


def test_a_credential_has_all_that_open_badges_require(client: Client, award: BadgeAward) -> None:
    payload = payload_of(token_of(client, award))
    for path, properties in REQUIRED.items():
        found = at(payload, path)
        assert {name: type(found.get(name)) for name in properties} == properties, path
    assert {path: set(at(payload, path)["type"]) for path in TYPES} == TYPES
    assert payload["@context"][0] == "https://www.w3.org/ns/credentials/v2", "the order is fixed"
    assert re.fullmatch(r"https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.\d.json", payload["@context"][1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", payload["validFrom"])
    assert payload["credentialSubject"]["achievement"]["criteria"]["narrative"] == (
        "Share a photo post with a mask on, on 5 different days."
    )


def test_the_claims_of_the_token_agree_with_the_credential(client: Client, award: BadgeAward) -> None:
    payload = payload_of(token_of(client, award))
    assert payload["iss"] == payload["issuer"]["id"]
    assert payload["jti"] == payload["id"] == f"http://testserver/badges/{award.public_id}/credential"
    assert payload["sub"] == payload["credentialSubject"]["id"]
    assert datetime.fromtimestamp(payload["nbf"], UTC) == datetime.fromisoformat(payload["validFrom"])
    assert payload["validFrom"] == "2026-03-01T12:30:15Z"
    assert "exp" not in payload
    assert "validUntil" not in payload


def test_a_badge_that_is_valid_for_a_time_says_so_in_both_ways(client: Client, award: BadgeAward) -> None:
    award.expires_at = AWARDED + timedelta(days=30)
    award.save()
    payload = payload_of(token_of(client, award))
    assert payload["validUntil"] == "2026-03-31T12:30:15Z"
    assert datetime.fromtimestamp(payload["exp"], UTC) == datetime.fromisoformat(payload["validUntil"])


def test_json_shows_exactly_what_is_signed(client: Client, award: BadgeAward) -> None:
    shown = answer(client, f"/badges/{award.public_id}/credential?format=json")
    assert shown["Content-Type"] == "application/json"
    assert shown.json() == payload_of(token_of(client, award))


def test_the_achievement_is_found_at_its_own_address(client: Client, award: BadgeAward) -> None:
    achievement = payload_of(token_of(client, award))["credentialSubject"]["achievement"]
    found = answer(client, achievement["id"].removeprefix("http://testserver")).json()
    assert {name: found[name] for name in achievement} == achievement
    assert client.get("/badges/rules/unknown").status_code == 404


def test_the_holder_is_hashed_and_stands_nowhere_in_clear(client: Client, award: BadgeAward) -> None:
    payload = payload_of(token_of(client, award))
    (identity,) = payload["credentialSubject"]["identifier"]
    known = hashlib.sha256(f"instapix:ada@example.org{identity['salt']}".encode()).hexdigest()
    assert (identity["hashed"], identity["identityHash"]) == (True, f"sha256${known}")
    assert "ada" not in json.dumps(payload)


def test_two_badges_of_one_author_cannot_be_told_to_be_the_same_persons(client: Client, award: BadgeAward) -> None:
    other_rule = BadgeRule.objects.create(code="ten", title="Ten", kind="masked_posts", threshold=10)
    one, other = (
        payload_of(token_of(client, each))["credentialSubject"]
        for each in (award, make_award(award.author, other_rule))
    )
    assert one["id"] != other["id"]
    assert one["identifier"][0]["identityHash"] != other["identifier"][0]["identityHash"]


def test_addresses_begin_with_the_one_that_the_service_is_known_by(
    client: Client, award: BadgeAward, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://masks.example.org"
    token = token_of(client, award)
    addresses = re.findall(r"https?://[^\"#]+", json.dumps([header_of(token), payload_of(token)]))
    foreign = ("https://www.w3.org/", "https://purl.imsglobal.org/")
    assert {
        address for address in addresses if not address.startswith(("https://masks.example.org/", *foreign))
    } == set()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "masked_posts", "threshold": 1}, "Share a photo post with a mask on."),
        (
            {"kind": "masked_posts", "threshold": 20, "regions": ["DE", "US-CA"]},
            "Share 20 photo posts with a mask on, in DE, US-CA.",
        ),
        (
            {"kind": "streak", "threshold": 7, "grace_days": 1, "valid_days": 90},
            "Share a photo post with a mask on, on 7 days in a row. Up to 1 day may be missed between two of them. "
            "It is valid for 90 days.",
        ),
        (
            {"kind": "distinct_days", "threshold": 1, "starts_at": datetime(2026, 4, 1, tzinfo=UTC)},
            "Share a photo post with a mask on, on 1 different day, from 1 April 2026 on.",
        ),
        (
            {"kind": "masked_posts", "threshold": 2, "ends_at": datetime(2026, 4, 1, 18, 5, tzinfo=UTC)},
            "Share 2 photo posts with a mask on, before 1 April 2026 18:05 UTC.",
        ),
        (
            {
                "kind": "masked_posts",
                "threshold": 2,
                "starts_at": datetime(2026, 3, 1, tzinfo=UTC),
                "ends_at": datetime(2026, 4, 1, tzinfo=UTC),
            },
            "Share 2 photo posts with a mask on, from 1 March 2026 to 1 April 2026.",
        ),
    ],
)
def test_what_a_rule_asks_for_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    assert criteria.in_words(BadgeRule(**fields)) == words


# Taking back


@pytest.mark.parametrize(
    ("status", "revoked", "suspended"),
    [
        ("active", False, False),
        ("expired", False, False),
        ("suspended", True, True),
        ("revoked", True, False),
    ],
)
def test_the_status_list_says_what_must_not_be_accepted_now(
    client: Client, award: BadgeAward, status: str, revoked: bool, suspended: bool
) -> None:
    neighbours = [make_award(), with_status(award, status), make_award()]
    assert [status_of(client, each) for each in neighbours] == [False, revoked, False]
    assert [status_of(client, each, "suspension") for each in neighbours] == [False, suspended, False]


def test_a_credential_that_somebody_kept_shows_a_suspension_and_its_end(client: Client, award: BadgeAward) -> None:
    staff, kept = make_reviewer(), token_of(client, award)
    seen = [status_of(client, award)]
    for step in (badges_by_staff.suspend, badges_by_staff.reinstate, badges_by_staff.revoke):
        step(award.pk, staff, "as a test")
        seen.append(status_of(client, award))
    assert seen == [False, True, False, True]
    assert token_of(client, award) == kept, "only the list says so"


def test_the_copies_of_an_author_who_was_erased_are_revoked(client: Client, award: BadgeAward) -> None:
    address = payload_of(token_of(client, award))["credentialStatus"]
    with pgtrigger.ignore("incentives.BadgeAward:badge_award_is_never_deleted"):
        award.delete()
    token = answer(client, address["statusListCredential"].removeprefix("http://testserver")).content.decode()
    encoded = payload_of(token)["credentialSubject"]["encodedList"]
    assert bit_is_set(encoded, int(address["statusListIndex"])), "even where it was the last one given"
    assert not bit_is_set(encoded, int(address["statusListIndex"]) + 1), "nobody holds the next one yet"
    assert client.get(f"/badges/{award.public_id}/credential").status_code == 404


def test_awards_past_the_end_of_a_list_have_the_next(client: Client, award: BadgeAward) -> None:
    far = make_award(pk=status_list.ENTRIES * 2 + 5, status="revoked")
    entry = payload_of(token_of(client, far))["credentialStatus"]
    assert (entry["statusListCredential"], entry["statusListIndex"]) == (
        "http://testserver/badges/status/revocation/2",
        "5",
    )
    assert status_of(client, far)
    assert not status_of(client, award), "who holds the same bit of the first"
    assert client.get("/badges/status/revocation/3").status_code == 404
    assert client.get("/badges/status/message/0").status_code == 404


def test_a_status_list_is_a_credential_that_is_kept_for_a_minute_only(client: Client) -> None:
    response = answer(client, "/badges/status/revocation/0")
    token = response.content.decode()
    payload = payload_of(token)
    assert (response["Content-Type"], header_of(token)["typ"]) == ("application/vc+jwt", "vc+jwt")
    assert response["Cache-Control"] == "public, max-age=60"
    assert payload["credentialSubject"]["ttl"] == 60_000
    assert payload["type"] == ["VerifiableCredential", "BitstringStatusListCredential"]
    assert payload["id"] == "http://testserver/badges/status/revocation/0"
    assert payload["credentialSubject"]["type"] == "BitstringStatusList"
    assert timezone.now() < datetime.fromisoformat(payload["validUntil"]) < timezone.now() + timedelta(days=2)


def test_a_list_costs_the_same_few_queries_however_many_awards_there_are(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    author = make_author()
    for number in range(20):
        rule = BadgeRule.objects.create(code=f"r{number}", title="R", kind="masked_posts", threshold=1)
        make_award(author, rule, status="revoked" if number % 2 else "active")
    with django_assert_num_queries(3):
        answer(client, "/badges/status/revocation/0")


def test_the_api_says_where_a_badge_is_shown_and_verified(award: BadgeAward, settings: Settings) -> None:
    def told() -> list[str]:
        (badge,) = client_for(award.author.platform).get("/api/v1/authors/ada@example.org/badges").json()["data"]
        return [badge[name] for name in ("verify_url", "credential_url", "image_url")]

    path = f"/badges/{award.public_id}"
    assert told() == [path, f"{path}/credential", f"{path}/image.svg"]
    settings.PUBLIC_URL = "https://masks.example.org"
    assert told()[0] == f"https://masks.example.org{path}"


# Keys


def test_a_retired_key_still_vouches_for_what_it_signed(client: Client, award: BadgeAward, settings: Settings) -> None:
    old = token_of(client, award)
    settings.BADGE_KEY = keys.rotated(keys.ring())
    new = token_of(client, award)
    assert header_of(old)["kid"] != header_of(new)["kid"]
    assert holds(old, key_of(old, client))
    assert holds(new, key_of(new, client))
    assert not holds(old, key_of(new, client))
    assert len(answer(client, "/.well-known/jwks.json").json()["keys"]) == 2
    assert settings.BADGE_KEY.count("PRIVATE KEY") == 2, "begin and end of the one that signs"


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Settings]:
    settings.LOCAL, settings.BADGE_KEY = False, ""
    yield settings


@pytest.mark.parametrize(
    "path",
    ["/.well-known/jwks.json", "/badges/issuer", "/badges/keys/any", "/badges/status/revocation/0", "credential"],
)
def test_without_a_key_a_deployment_says_that_it_signs_nothing(
    client: Client, award: BadgeAward, deployment: Settings, path: str
) -> None:
    response = client.get(path if path.startswith("/") else f"/badges/{award.public_id}/{path}")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "no_badge_key"


def test_a_deployment_is_told_what_its_badges_lack(deployment: Settings) -> None:
    def told() -> list[str]:
        return [str(found.id) for found in run_checks(include_deployment_checks=True) if "incentives" in str(found.id)]

    assert told() == ["incentives.I001"]
    deployment.BADGE_KEY = make_pem()
    assert told() == ["incentives.I002"]
    deployment.PUBLIC_URL = "https://masks.example.org"
    assert told() == []
    deployment.BADGE_KEY = "no key"
    assert told() == ["incentives.E001"]


@pytest.mark.filterwarnings("ignore:Key size should be")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no PEM block"),
        (make_pem("short", 1024), "1024 bits"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no RSA key"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(text: str, why: str) -> None:
    with pytest.raises(keys.BadKeyError, match=why):
        keys.read(text)


def test_a_ring_without_a_private_key_in_front_is_refused() -> None:
    public = keys.rotated(keys.ring()).partition("-----END PRIVATE KEY-----\n")[2]
    assert public.startswith("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(keys.BadKeyError, match="nothing could be signed"):
        keys.read(public)


def test_a_checkout_makes_one_key_of_its_own_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "var" / "badge_key.pem"
    made = at_once(lambda _: local_secret(path, keys.new_key), range(4), threads=4)
    assert len(set(made)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["badge_key.pem"], "no draft is left"
    assert keys.read(path.read_text()).signing.public_key.key_size == keys.BITS


def test_the_command_makes_the_next_key_and_keeps_the_last_public(tmp_path: Path) -> None:
    current = keys.ring().signing.thumbprint()
    path = tmp_path / "next.pem"
    call_command("make_badge_key", output=path, stderr=StringIO())
    ring = keys.read(path.read_text())
    assert [key.thumbprint() for key in ring.retired] == [current]
    assert not ring.retired[0].is_private
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(CommandError, match="File exists"):
        call_command("make_badge_key", output=path)


def test_the_command_can_forget_the_keys_in_use(settings: Settings) -> None:
    settings.BADGE_KEY = "damaged"
    with pytest.raises(CommandError, match="--forget"):
        call_command("make_badge_key")
    out = StringIO()
    call_command("make_badge_key", forget=True, stdout=out)
    assert keys.read(out.getvalue()).retired == ()


@pytest.mark.parametrize("url", ["masks.example.org", "https://masks.example.org/below", "ftp://masks.example.org"])
def test_a_public_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PUBLIC_URL", url)
    with pytest.raises(ImproperlyConfigured, match="SOME_PUBLIC_URL must look like"):
        public_url("SOME_PUBLIC_URL")
