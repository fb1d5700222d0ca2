"""Mails to platforms: that an endpoint of theirs was disabled. What is to be written is a time in the endpoint's row.

It is taken by compare-and-set and moved on before the mail is sent, and cleared after: a mail server that is away is
asked again later. Only a worker that is lost between the two has a mail sent twice; both bear the same Message-ID.
"""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage

from incentives.models import WebhookEndpoint

AGAIN_AFTER = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(days=3)

logger = logging.getLogger(__name__)


def notify_due(now: datetime) -> int:
    """Write to the platforms whose endpoints were disabled; return how many mails were sent."""
    due = WebhookEndpoint.objects.filter(notify_at__lte=now).order_by("notify_at")
    return sum(_notify(endpoint, now) for endpoint in due.select_related("platform"))


def _notify(endpoint: WebhookEndpoint, now: datetime) -> bool:
    again = now + AGAIN_AFTER
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if row.filter(notify_at=endpoint.notify_at).update(notify_at=again) != 1:
        return False  # another worker does, or it was enabled
    can_be_told = bool(endpoint.platform.contact_email) and not _is_mail_printed()
    is_sent = can_be_told and _send(endpoint)
    if not is_sent:
        if can_be_told and now - (endpoint.disabled_at or now) < GIVE_UP_AFTER:
            return False
        hint = ": MASK_SOCIAL_EMAIL_URL names no mail server" if _is_mail_printed() else ""
        logger.error("%s is disabled, and nobody at %s could be told%s", endpoint.pk, endpoint.platform.slug, hint)
    row.filter(notify_at=again).update(notify_at=None)
    return is_sent


def _is_mail_printed() -> bool:
    """Say whether this is a deployment that prints its mails, where nobody reads them."""
    return not settings.LOCAL and settings.EMAIL_BACKEND == "django.core.mail.backends.console.EmailBackend"


def _send(endpoint: WebhookEndpoint) -> bool:
    stamp = f"{endpoint.disabled_at:%Y%m%dT%H%M%S}"
    mail = EmailMessage(
        subject="A webhook endpoint of yours was disabled",
        body=_text(endpoint),
        to=[endpoint.platform.contact_email],
        headers={"Message-ID": f"<{endpoint.pk}.{stamp}@mask-social>"},
    )
    try:
        mail.send()
    except (OSError, SMTPException) as error:
        logger.warning("The mail about %s is not sent, and will be tried again: %s", endpoint.pk, error)
        return False
    return True


def _text(endpoint: WebhookEndpoint) -> str:
    if endpoint.disabled_reason == WebhookEndpoint.Reason.GONE:
        why = "It answered 410 Gone."
    else:
        why = f"Nothing has arrived there since {endpoint.failing_since:%Y-%m-%d %H:%M} UTC."
    return "\n".join(
        [
            f"We send nothing more to this webhook endpoint of {endpoint.platform.name}:",
            "",
            f"    {endpoint.url}",
            f"    {endpoint.pk}",
            "",
            f"{why} GET /api/v1/webhook-endpoints/{endpoint.pk} shows what came of the last attempts.",
            "",
            "Events are kept for it meanwhile. To have them sent, the oldest first:",
            "",
            f"    PATCH /api/v1/webhook-endpoints/{endpoint.pk}",
            '    {"status": "active"}',
            "",
            "GET /api/v1/events tells the same events at any time.",
            "",
        ]
    )
