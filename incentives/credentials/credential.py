"""An award as an Open Badges 3.0 credential, signed as a JWT (the standard's "JSON Web Token Proof Format")."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from incentives import artwork
from incentives.credentials import criteria, keys, status_list
from incentives.credentials.addresses import Addresses
from incentives.models import BadgeAward, BadgeRule

CONTEXT = [
    "https://www.w3.org/ns/credentials/v2",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json",
]
_SCHEMA = "https://purl.imsglobal.org/spec/ob/v3p0/schema/json/ob_v3p0_achievementcredential_schema.json"


def claims_of(award: BadgeAward, at: Addresses) -> dict[str, Any]:
    """Return an award as the credential that is signed: the same for every call until the award or its rule changes."""
    page, own = at.page(award.public_id), at.credential(award.public_id)
    claims: dict[str, Any] = {
        "@context": CONTEXT,
        "id": own,
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "name": award.rule.title,
        "description": _description(award.rule),
        "image": _image(award.rule, at.image(award.public_id)),
        "issuer": profile(at),
        "validFrom": _moment(award.awarded_at),
        "credentialSubject": {
            # Another for each award: two badges of one author cannot be told to be the same person's by it.
            "id": f"{page}#holder",
            "type": ["AchievementSubject"],
            "identifier": [_identity(award)],
            "achievement": achievement(award.rule, at),
        },
        "credentialStatus": _status(award, at),
        "credentialSchema": [{"id": _SCHEMA, "type": "1EdTechJsonSchemaValidator2019"}],
        "iss": at.issuer,
        "jti": own,
        "sub": f"{page}#holder",
        "nbf": int(award.awarded_at.timestamp()),
    }
    if criteria.is_by_hand(award):
        claims["credentialSubject"]["narrative"] = criteria.BY_HAND
    if award.expires_at:
        claims |= {"validUntil": _moment(award.expires_at), "exp": int(award.expires_at.timestamp())}
    return claims


def sign(award: BadgeAward, at: Addresses) -> str:
    """Return an award's credential as a compact JWS."""
    # The format allows "JWT" alone, or nothing.
    return keys.sign(claims_of(award, at), at.keys, typ="JWT")


def profile(at: Addresses) -> dict[str, Any]:
    """Return who issues."""
    return {"id": at.issuer, "type": ["Profile"], "name": settings.ISSUER_NAME, "url": at.home}


def issuer_document(at: Addresses, public_keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the profile with its keys, as a Controlled Identifier Document: a verifier ties one to the other."""
    methods = [
        {
            "id": f"{at.keys}{thumbprint}",
            "type": "JsonWebKey",
            "controller": at.issuer,
            "publicKeyJwk": public_jwk(at, thumbprint, key),
        }
        for thumbprint, key in public_keys.items()
    ]
    return {
        "@context": [*CONTEXT, "https://www.w3.org/ns/cid/v1"],
        **profile(at),
        "verificationMethod": methods,
        "assertionMethod": [method["id"] for method in methods],
    }


def public_jwk(at: Addresses, thumbprint: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a public key as it is published; its id is its address, as in what it signs."""
    return {**key, "kid": f"{at.keys}{thumbprint}", "alg": keys.ALGORITHM, "use": "sig"}


def achievement(rule: BadgeRule, at: Addresses) -> dict[str, Any]:
    """Return what a badge stands for."""
    return {
        "id": at.rule(rule.code),
        "type": ["Achievement"],
        "achievementType": "Badge",
        "name": rule.title,
        "description": _description(rule),
        "criteria": {"narrative": criteria.in_words(rule)},
        "image": _image(rule, at.rule_image(rule.code)),
    }


def _description(rule: BadgeRule) -> str:
    return rule.description or criteria.in_words(rule)


def _image(rule: BadgeRule, address: str) -> dict[str, str]:
    return {"id": address, "type": "Image", "caption": artwork.caption(rule)}


def _identity(award: BadgeAward) -> dict[str, Any]:
    """Name the holder so that whoever knows the account can check it, and nobody can read it.

    The standard has the salt beside the hash, so it hides no id that can be guessed; docs/credentials.md says so.
    """
    identity, salt = f"{award.author.platform.slug}:{award.author.external_id}", award.public_id
    return {
        "type": "IdentityObject",
        "hashed": True,
        "identityHash": f"sha256${hashlib.sha256(f'{identity}{salt}'.encode()).hexdigest()}",
        "identityType": "accountId",
        "salt": salt,
    }


def _status(award: BadgeAward, at: Addresses) -> dict[str, str]:
    number, index = status_list.place_of(award)
    purpose = status_list.Purpose.REVOCATION
    address = at.status_list(purpose, number)
    return {
        "id": f"{address}#{index}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": purpose.value,
        "statusListIndex": str(index),
        "statusListCredential": address,
    }


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
