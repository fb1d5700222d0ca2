"""Signatures to the letter of Standard Webhooks, and keys that are replaced without a message being doubted."""

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import IntegrityError
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from incentives import endpoints, events, signing, webhooks
from incentives.models import Event, SigningKey, WebhookEndpoint
from incentives.tasks import forget_expired_keys
from mask_social.errors import ApiError
from tests.cast import make_platform
from tests.incentives.builders import at_once, client_for, make_endpoint, pointers, secret_of

pytestmark = pytest.mark.django_db

V1, V1A = SigningKey.Scheme.HMAC, SigningKey.Scheme.ED25519
BODY = '{"a":"ü"}'.encode()


def headers_for(endpoint: WebhookEndpoint) -> dict[str, str]:
    """Sign BODY at this moment as a delivery would."""
    event = Event(id="evt_1", created_at=timezone.now(), data={}, sequence=1)
    return dict(webhooks.signed_headers(endpoint, event, BODY, timezone.now()))


def believes(secret: str, headers: dict[str, str]) -> bool:
    """Ask the independent library."""
    try:
        Webhook(secret).verify(BODY, headers)
    except WebhookVerificationError:
        return False
    return True


def believes_by_key(public: str, headers: dict[str, str]) -> bool:
    """Verify `v1a` by hand: no library of Standard Webhooks for Python knows it."""
    assert public.startswith("whpk_")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + BODY
    for scheme, _, signature in (part.partition(",") for part in headers["webhook-signature"].split(" ")):
        try:
            if scheme == "v1a":
                key.verify(base64.b64decode(signature, validate=True), signed)
                return True
        except InvalidSignature:
            continue
    return False


def public_key_of(endpoint: WebhookEndpoint) -> str:
    return endpoint.signing_keys.get(scheme=V1A, expires_at=None).public_key


def rotate(endpoint: WebhookEndpoint, **body: Any) -> Any:
    path = f"/api/v1/webhook-endpoints/{endpoint.pk}/rotate-secret"
    return client_for(endpoint.platform).post(path, body, format="json")


def test_ed25519_signs_what_the_reference_implementation_signs() -> None:
    # A test vector of github.com/standard-webhooks/standard-webhooks, libraries/go/webhook_asymmetric_test.go.
    key = SigningKey(scheme=V1A, secret="whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=")
    signature = signing.signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="


def test_a_message_has_the_headers_of_the_standard_and_a_signature_of_each_scheme() -> None:
    endpoint = make_endpoint()
    headers = headers_for(endpoint)

    assert {name for name in headers if name.startswith("webhook-")} == {
        *("webhook-id", "webhook-timestamp", "webhook-signature")
    }
    assert "." not in headers["webhook-id"] and headers["webhook-timestamp"].isdigit()
    assert [part.partition(",")[0] for part in headers["webhook-signature"].split(" ")] == ["v1", "v1a"]
    assert believes(secret_of(endpoint), headers)
    assert believes_by_key(public_key_of(endpoint), headers)
    assert not believes_by_key(public_key_of(make_endpoint()), headers)


def test_a_message_bears_the_id_of_the_request_that_it_all_began_with() -> None:
    assert "x-request-id" not in headers_for(make_endpoint())
    event = Event(id="evt_1", created_at=timezone.now(), data={}, sequence=1, request_id="req-of-yours")
    assert webhooks.signed_headers(make_endpoint(), event, BODY, timezone.now())["x-request-id"] == "req-of-yours"


def test_keys_are_written_as_the_standard_writes_them() -> None:
    endpoint = make_endpoint()
    shared, pair = (endpoint.signing_keys.get(scheme=scheme) for scheme in (V1, V1A))

    assert 24 <= len(base64.b64decode(shared.secret.removeprefix("whsec_"), validate=True)) <= 64
    assert len(base64.b64decode(pair.secret.removeprefix("whsk_"), validate=True)) == 32
    assert len(base64.b64decode(pair.public_key.removeprefix("whpk_"), validate=True)) == 32


def test_nothing_is_sent_unsigned() -> None:
    endpoint = make_endpoint()
    endpoint.signing_keys.all().delete()
    with pytest.raises(ValueError, match="unsigned"):
        headers_for(endpoint)


def test_a_time_is_told_with_microseconds_even_where_they_are_none() -> None:
    assert events.written(datetime(2026, 3, 1, 12, tzinfo=UTC)) == "2026-03-01T12:00:00.000000Z"


# Rotation


def test_both_the_old_secret_and_the_new_are_believed_for_a_day() -> None:
    endpoint = make_endpoint()
    old = secret_of(endpoint)

    answer = rotate(endpoint)

    new = answer.json()["secret"]
    assert answer.status_code == 201
    assert (answer.json()["scheme"], answer.json()["public_key"]) == ("v1", "")
    assert new == secret_of(endpoint) != old
    headers = headers_for(endpoint)
    assert headers["webhook-signature"].count("v1,") == 2
    assert believes(old, headers) and believes(new, headers)
    former = endpoint.signing_keys.get(scheme=V1, expires_at__isnull=False)
    assert former.secret == old
    assert timedelta(hours=23, minutes=59) < former.expires_at - timezone.now() <= timedelta(hours=24)  # type: ignore[operator]  # it has one


def test_after_a_day_the_old_secret_signs_no_more_and_is_forgotten() -> None:
    endpoint = make_endpoint()
    old = secret_of(endpoint)
    signing.rotate(endpoint, V1, timezone.now() - timedelta(hours=24))

    headers = headers_for(endpoint)
    assert not believes(old, headers) and believes(secret_of(endpoint), headers)
    assert SigningKey.objects.filter(secret=old).exists()
    path = f"/api/v1/webhook-endpoints/{endpoint.pk}"
    assert len(client_for(endpoint.platform).get(path).json()["signing_keys"]) == 2, "those that sign"

    forget_expired_keys()

    assert not SigningKey.objects.filter(secret=old).exists()
    assert endpoint.signing_keys.count() == 2


def test_the_sweep_leaves_keys_that_sign() -> None:
    endpoint = make_endpoint()
    rotate(endpoint)
    forget_expired_keys()
    assert endpoint.signing_keys.count() == 3


def test_a_key_pair_is_rotated_by_itself_and_its_private_half_is_told_to_nobody() -> None:
    endpoint = make_endpoint()
    secret, old = secret_of(endpoint), public_key_of(endpoint)

    answer = rotate(endpoint, scheme="v1a")

    assert answer.json()["secret"] is None and b"whsk_" not in answer.content
    new = answer.json()["public_key"]
    assert new == public_key_of(endpoint) != old
    headers = headers_for(endpoint)
    assert believes_by_key(old, headers) and believes_by_key(new, headers) and believes(secret, headers)


def test_a_secret_that_leaked_ends_at_once_with_all_before_it() -> None:
    endpoint = make_endpoint()
    old = [secret_of(endpoint), rotate(endpoint).json()["secret"]]

    new = rotate(endpoint, expire_old_now=True).json()["secret"]

    headers = headers_for(endpoint)
    assert [believes(secret, headers) for secret in (*old, new)] == [False, False, True]
    assert believes_by_key(public_key_of(endpoint), headers), "the other scheme goes on"


def test_a_rotation_whose_answer_was_lost_can_be_asked_for_again_and_there_are_never_many_keys() -> None:
    endpoint = make_endpoint()
    first = secret_of(endpoint)
    secrets = [rotate(endpoint).json()["secret"] for _ in range(signing.MOST_FORMER)]
    headers = headers_for(endpoint)
    assert all(believes(secret, headers) for secret in (first, *secrets))

    secrets.append(rotate(endpoint).json()["secret"])

    headers = headers_for(endpoint)
    assert headers["webhook-signature"].count("v1,") == signing.MOST_FORMER + 1
    assert not believes(first, headers) and all(believes(secret, headers) for secret in secrets)


def test_a_disabled_endpoint_can_be_given_a_new_secret() -> None:
    assert rotate(make_endpoint(status="disabled")).status_code == 201


def test_the_endpoint_tells_of_its_keys_but_no_secret() -> None:
    endpoint = make_endpoint()
    rotate(endpoint)

    answer = client_for(endpoint.platform).get(f"/api/v1/webhook-endpoints/{endpoint.pk}")

    keys = answer.json()["signing_keys"]
    assert [(key["scheme"], key["expires_at"] is None) for key in keys] == [("v1", True), ("v1", False), ("v1a", True)]
    assert keys[2]["public_key"] == answer.json()["public_key"] == public_key_of(endpoint)
    assert b"whsec_" not in answer.content and b"whsk_" not in answer.content


def test_a_rotation_is_refused_where_it_makes_no_sense() -> None:
    endpoint = make_endpoint()
    assert pointers(rotate(endpoint, scheme="v2")) == [("/scheme", "invalid_choice")]
    assert pointers(rotate(endpoint, expire="yes")) == [("/expire", "unknown_field")]
    path = f"/api/v1/webhook-endpoints/{endpoint.pk}/rotate-secret"
    assert client_for(make_platform()).post(path, {}, format="json").status_code == 404
    endpoints.delete(WebhookEndpoint.objects.get(pk=endpoint.pk))
    with pytest.raises(ApiError, match="no such endpoint"):
        endpoints.rotate(endpoint, "v1", expire_old_now=False)


@pytest.mark.django_db(transaction=True)
def test_rotations_at_the_same_moment_come_one_after_the_other() -> None:
    endpoint = make_endpoint()

    def unguarded(_: int) -> bool:
        try:
            keys = SigningKey.objects.filter(endpoint=endpoint, scheme=V1, expires_at=None)
            keys.update(expires_at=timezone.now() + signing.OVERLAP)
            time.sleep(0.05)
            signing.new_key(endpoint, V1).save()
        except IntegrityError:
            return False
        return True

    assert not all(at_once(unguarded, range(4), threads=4)), "the control: without the lock they collide"

    answers = at_once(lambda _: rotate(endpoint).status_code, range(6), threads=6)

    assert answers == [201] * 6
    assert endpoint.signing_keys.filter(scheme=V1, expires_at=None).count() == 1
    assert endpoint.signing_keys.filter(scheme=V1).count() == signing.MOST_FORMER + 1
