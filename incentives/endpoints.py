"""Webhook endpoints: where a platform listens."""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Prefetch, QuerySet

from incentives import retention, signing, webhooks
from incentives.models import Attempt, Delivery, Event, SigningKey, WebhookEndpoint
from mask_social import clock, guarded_http, public_addresses
from mask_social.errors import ApiError
from moderation.models import Platform

# Each event is written once per endpoint, in the transaction of the change.
MAX_PER_PLATFORM = 20
SHOWN_DELIVERIES = 20
LONGEST_URL = 2000


def create(
    platform: Platform,
    url: str,
    event_types: Sequence[str],
    *,
    allow_private: bool,
    ports: Collection[int] = guarded_http.ALLOWED_PORTS,
) -> WebhookEndpoint:
    """Make an endpoint with a secret of its own; no types means every type."""
    check_url(url, allow_private=allow_private, ports=ports)
    with transaction.atomic():
        Platform.objects.select_for_update(no_key=True).get(pk=platform.pk)  # so that the count stays true
        if WebhookEndpoint.objects.filter(platform=platform).count() >= MAX_PER_PLATFORM:
            raise ApiError(
                HTTPStatus.CONFLICT,
                "too_many_endpoints",
                f"A platform has at most {MAX_PER_PLATFORM} webhook endpoints; delete one first.",
            )
        endpoint = WebhookEndpoint.objects.create(
            platform=platform, url=url, event_types=list(dict.fromkeys(event_types))
        )
        SigningKey.objects.bulk_create(signing.new_key(endpoint, scheme) for scheme in SigningKey.Scheme)
        return endpoint


def change(
    endpoint: WebhookEndpoint,
    *,
    url: str | None = None,
    event_types: Sequence[str] | None = None,
    status: str | None = None,
    allow_private: bool,
    ports: Collection[int] = guarded_http.ALLOWED_PORTS,
) -> WebhookEndpoint:
    """Change what is given; what happens while an endpoint is disabled is sent once it is enabled."""
    changed = []
    if url is not None:
        check_url(url, allow_private=allow_private, ports=ports)
        endpoint.url = url
        changed.append("url")
    if event_types is not None:
        endpoint.event_types = list(dict.fromkeys(event_types))
        changed.append("event_types")
    with transaction.atomic():
        if status == WebhookEndpoint.Status.DISABLED:
            webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
        elif status is not None:
            webhooks.enable(endpoint)
        if changed:
            endpoint.save(update_fields=changed)
    endpoint.refresh_from_db()
    return endpoint


def delete(endpoint: WebhookEndpoint) -> None:
    """Delete an endpoint with the record of its deliveries.

    Those may be millions. They go in short transactions before the endpoint is held, for all of its platform that
    happens meanwhile would wait for it; what cannot be finished in one call goes on in the next.
    """
    webhooks.disable(endpoint, WebhookEndpoint.Reason.OWNER)
    retention.forget_deliveries(endpoint)
    with transaction.atomic():
        # Held first: events that are being recorded for it end before its deliveries are collected.
        for held in WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk):
            held.delete()


def send_test(endpoint: WebhookEndpoint) -> Event:
    """Send a test event, or refuse where nothing is sent."""
    if endpoint.status != WebhookEndpoint.Status.ACTIVE:
        raise ApiError(HTTPStatus.CONFLICT, "endpoint_disabled", "The endpoint is disabled; enable it first.")
    return webhooks.send_test(endpoint)


def rotate(endpoint: WebhookEndpoint, scheme: str, *, expire_old_now: bool) -> SigningKey:
    """Put a new key of a scheme in use, also while the endpoint is disabled."""
    try:
        return signing.rotate(endpoint, SigningKey.Scheme(scheme), clock.now(), expire_old_now=expire_old_now)
    except WebhookEndpoint.DoesNotExist as error:  # deleted since it was looked up
        raise ApiError(HTTPStatus.NOT_FOUND, "not_found", "There is no such endpoint.") from error


def recent_deliveries(endpoint: WebhookEndpoint) -> QuerySet[Delivery]:
    """Return the youngest deliveries with their attempts."""
    deliveries = Delivery.objects.filter(endpoint=endpoint).select_related("event")
    return deliveries.prefetch_related(Prefetch("attempts", Attempt.objects.order_by("number"))).order_by("-pk")[
        :SHOWN_DELIVERIES
    ]


def check_url(url: str, *, allow_private: bool, ports: Collection[int]) -> None:
    """Refuse what could never be sent to; names are resolved and vetted at every attempt, not here."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    strange = any(character.isspace() or not character.isprintable() for character in url) or "\\" in url
    if strange or not host or port == 0 or parts.scheme not in {"http", "https"} or parts.username is not None:
        raise _refusal("invalid_url", "Give an address such as https://example.org/webhooks, without credentials.")
    if allow_private:
        return
    if parts.scheme != "https":
        raise _refusal("insecure_url", "Webhooks are sent over https only.")
    if (443 if port is None else port) not in ports:
        raise _refusal("forbidden_port", "Webhooks are not sent to this port.")
    address, name = public_addresses.address_in(host), host.rstrip(".")
    is_local = name == "localhost" or name.endswith(".localhost")
    if is_local or (address is not None and not public_addresses.is_public(address)):
        raise _refusal("forbidden_address", "Webhooks are sent to public addresses only.")


def _refusal(code: str, detail: str) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, code, detail, pointer="/url")
