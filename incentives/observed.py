"""What is seen of this app while it runs: its part of a scrape, and a line and a number for what happens."""

import logging
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.db import connection
from django.db.models import Count, F, Min, Q
from prometheus_client import Metric

from incentives.models import Campaign, Delivery, Event, FiguresMark, LedgerProof, PendingChange, WebhookEndpoint
from mask_social import clock
from mask_social.observability import metrics
from mask_social.observability.state import COUNTED_AT_MOST, Queue, Reader, Reading, gauge, register
from moderation.models import Verdict

logger = logging.getLogger("incentives")

#: Those with the least left come first; the others are only counted.
SHOWN_CAMPAIGNS = 20
_ENDPOINTS = 1000
_PER_ENDPOINT = 1000

# Each endpoint's by the index delivery_due, the oldest first. What an endpoint is given time for, by a wait between
# tries or because it asked for it, does not wait for us.
_DUE = """
    SELECT count(*), extract(epoch FROM %(now)s - min(due_at)) FROM (
        SELECT due.due_at FROM (
            SELECT id FROM incentives_webhookendpoint
            WHERE status = 'active' AND (paused_until IS NULL OR paused_until <= %(now)s) LIMIT %(endpoints)s) endpoint,
        LATERAL (
            SELECT due_at FROM incentives_delivery
            WHERE endpoint_id = endpoint.id AND status IN ('pending', 'sending', 'held') AND due_at <= %(now)s
            ORDER BY due_at LIMIT %(each)s) due
        LIMIT %(limit)s) due
"""
_HELD = """
    SELECT count(*) FROM (
        SELECT 1 FROM (
            SELECT id FROM incentives_webhookendpoint WHERE status = 'disabled' LIMIT %(endpoints)s) endpoint,
        LATERAL (
            SELECT 1 FROM incentives_delivery
            WHERE endpoint_id = endpoint.id AND status IN ('pending', 'sending', 'held') AND status = 'held'
            LIMIT %(each)s) held
        LIMIT %(limit)s) held
"""
# The last proof of each campaign.
_DISPROVED = """
    SELECT count(*) FROM incentives_campaign campaign, LATERAL (
        SELECT problems FROM incentives_ledgerproof WHERE campaign_id = campaign.id ORDER BY id DESC LIMIT 1) proof
    WHERE proof.problems <> '{}'
"""


def begin() -> None:
    """Add this app's part to each scrape; called once, from ready()."""
    register(Reader("incentives", read))


def read() -> Reading:
    """Ask what waits to be given and to be told, and how endpoints, campaigns, books and figures stand."""
    now = clock.now()
    others = [*_endpoints(now), *_campaigns(), *_books(), _figures()]
    return Reading({"rewards": _changes(now), "webhooks": _due(now)}, others)


def _changes(now: datetime) -> Queue:
    waiting = PendingChange.objects.order_by("pk").values("created_at")[:COUNTED_AT_MOST]
    told = waiting.aggregate(depth=Count("*"), oldest=Min("created_at"))
    return Queue(told["depth"], max(0.0, (now - told["oldest"]).total_seconds()) if told["depth"] else 0.0)


def _due(now: datetime) -> Queue:
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"now": now, "endpoints": _ENDPOINTS, "each": _PER_ENDPOINT, "limit": COUNTED_AT_MOST})
        depth, oldest = cursor.fetchone()
    return Queue(depth, max(0.0, float(oldest or 0)))


def _endpoints(now: datetime) -> Sequence[Metric]:
    active, disabled = WebhookEndpoint.Status.ACTIVE, WebhookEndpoint.Status.DISABLED
    states = {
        "active": Q(status=active),
        "failing": Q(status=active, failing_since__isnull=False),
        "paused": Q(status=active, paused_until__gt=now),
        "disabled": Q(status=disabled),
        "disabled_as_failing": Q(status=disabled, disabled_reason=WebhookEndpoint.Reason.FAILING),
    }
    counts = WebhookEndpoint.objects.aggregate(**{state: Count("pk", filter=which) for state, which in states.items()})
    endpoints = gauge(
        "webhook_endpoints", "Endpoints in a state; those that fail or are paused are active too.", ["state"]
    )
    for state, count in counts.items():
        endpoints.add_metric([state], count)
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"endpoints": _ENDPOINTS, "each": _PER_ENDPOINT, "limit": COUNTED_AT_MOST})
        (held,) = cursor.fetchone()
    kept = gauge(
        "webhook_deliveries_held", f"Deliveries kept for disabled endpoints; of more than {COUNTED_AT_MOST} so many."
    )
    kept.add_metric([], held)
    return [endpoints, kept]


def _campaigns() -> Sequence[Metric]:
    counted = dict(Campaign.objects.order_by().values_list("status").annotate(Count("pk")))
    campaigns = gauge("campaigns", "Campaigns in a state.", ["status"])
    for status in Campaign.Status.values:
        campaigns.add_metric([status], counted.get(status, 0))
    labels = ["campaign", "currency"]
    budget = gauge("campaign_budget_minor_units", "Budget of an active campaign, in minor units such as cents.", labels)
    promised = gauge("campaign_promised_minor_units", "Of it what is reserved or settled, in minor units.", labels)
    scarcest = Campaign.objects.filter(status=Campaign.Status.ACTIVE).order_by(
        (F("committed_minor") + 0.0) / (F("budget_minor") + 1.0)
    )
    for row in scarcest.reverse()[:SHOWN_CAMPAIGNS].values_list("pk", "currency", "budget_minor", "committed_minor"):
        budget.add_metric(row[:2], row[2])
        promised.add_metric(row[:2], row[3])
    return [campaigns, budget, promised]


def _books() -> Sequence[Metric]:
    proven = gauge("ledger_proof_timestamp_seconds", "When books were last proven; 0: never.")
    last = LedgerProof.objects.order_by("-pk").values_list("ran_at", flat=True).first()
    proven.add_metric([], last.timestamp() if last else 0.0)
    disproved = gauge("ledger_disproved_campaigns", "Campaigns whose last proof found the books wrong.")
    with connection.cursor() as cursor:
        cursor.execute(_DISPROVED)
        disproved.add_metric([], cursor.fetchone()[0])
    return [proven, disproved]


def _figures() -> Metric:
    mark = FiguresMark.objects.values_list("seen_until", flat=True).first()
    figures = gauge("figures_timestamp_seconds", "Up to when the daily figures are counted; 0: never.")
    figures.add_metric([], mark.timestamp() if mark else 0.0)
    return figures


def rewards_applied(verdicts: Sequence[Verdict], reason: str) -> None:
    """Note what came of verdicts; after their transaction."""
    for verdict in verdicts:
        told: dict[str, Any] = {"post_id": verdict.post_id, "verdict_id": verdict.pk, "reason": reason}
        if verdict.sequence == 1:
            told["seconds"] = round(metrics.post_came(metrics.Until.REWARDS, verdict.post_id), 3)
        logger.info("%s was applied to %s: %s", verdict.pk, verdict.post_id, reason, extra=told)


def attempted(delivery: Delivery, number: int, status_code: int | None, seconds: float) -> None:
    """Note an attempt to deliver, and what was answered; None: nothing was."""
    event, outcome = delivery.event, _outcome(status_code)
    metrics.ATTEMPTS.labels(outcome).inc()
    metrics.ATTEMPT_SECONDS.observe(seconds)
    told: dict[str, Any] = {
        "delivery_id": delivery.pk,
        "event_id": event.id,
        "event_type": event.type,
        "endpoint_id": delivery.endpoint_id,
        "attempt": number,
        "outcome": outcome,
        "answer": status_code,
        "duration_ms": round(seconds * 1000, 1),
    }
    if event.subject_type == Event.SubjectType.POST:
        told["post_id"] = event.subject_id
    # The post's first verdict: what else is told of it comes at any time.
    first = event.type == Event.Type.POST_ANALYZED and event.data.get("verdict", {}).get("sequence") == 1
    if first and outcome == "delivered":
        told["seconds"] = round(metrics.post_came(metrics.Until.WEBHOOK, event.subject_id), 3)
    logger.info("%s of %s: %s (attempt %d)", event.id, event.type, outcome, number, extra=told)


def _outcome(status_code: int | None) -> str:
    match status_code:
        case None:
            return "no_answer"
        case HTTPStatus.GONE:
            return "gone"
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "told_to_wait"
        case _:
            return {2: "delivered", 3: "redirected", 4: "refused"}.get(status_code // 100, "server_error")
