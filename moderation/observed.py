"""What is seen of this app while it runs: its part of a scrape, and a line and a number for what happens."""

import logging
from typing import Any

from django.db import connection, transaction

from mask_social import clock
from mask_social.observability import metrics, tracing
from mask_social.observability.state import COUNTED_AT_MOST, Queue, Reader, Reading, gauge, register
from moderation.inference import PhotoReading
from moderation.models import Verdict

logger = logging.getLogger("moderation")

_RECENT_VERDICTS = 200

# By the index analysis_waiting; the count ends after so many.
_WAITING = """
    SELECT count(*), extract(epoch FROM %(now)s - min(queued_at)) FROM (
        SELECT queued_at FROM moderation_analysis WHERE status = 'pending' ORDER BY queued_at LIMIT %(limit)s) waiting
"""
# By the index post_not_analyzed: ids begin with their time.
_OLDEST_POST = "SELECT created_at FROM moderation_post WHERE status = 'pending' ORDER BY id LIMIT 1"
_MODELS = """
    SELECT DISTINCT detector_digest, classifier_digest FROM (
        SELECT detector_digest, classifier_digest FROM moderation_verdict ORDER BY id DESC LIMIT %(limit)s) recent
"""


def begin() -> None:
    """Add this app's part to each scrape; called once, from ready()."""
    register(Reader("moderation", read))


def read() -> Reading:
    """Ask how many photos wait, how old the oldest undecided post is, and which models gave the last verdicts."""
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"now": now, "limit": COUNTED_AT_MOST})
        waiting, waited = cursor.fetchone()
        cursor.execute(_OLDEST_POST)
        oldest = cursor.fetchone()
        cursor.execute(_MODELS, {"limit": _RECENT_VERDICTS})
        pairs = cursor.fetchall()
    undecided = gauge("post_oldest_undecided_age_seconds", "How long the oldest post has been without a verdict.")
    undecided.add_metric([], max(0.0, (now - oldest[0]).total_seconds()) if oldest else 0.0)
    models = gauge("model_info", "The models that gave the last verdicts; always 1.", ["part", "digest"])
    for part, digest in sorted({("detector", pair[0]) for pair in pairs} | {("classifier", pair[1]) for pair in pairs}):
        models.add_metric([part, digest], 1)
    return Reading({"analysis": Queue(waiting, max(0.0, float(waited or 0)))}, [undecided, models])


def photo_seen(reading: PhotoReading) -> None:
    """Note that a photo's faces were found."""
    timings = reading.timings
    milliseconds = {"decode": timings.decode_ms, "detect": timings.detect_ms, "classify": timings.classify_ms}
    metrics.PHOTOS.inc()
    for stage, length in milliseconds.items():
        metrics.STAGE_SECONDS.labels(stage).observe(length / 1000)
    tracing.tell_stages(milliseconds)


def photo_failed(photo_id: str, code: str, *, last: bool) -> None:
    """Note that an analysis failed, and whether another follows."""
    metrics.FAILURES.labels(code, "true" if last else "false").inc()
    logger.warning(
        "%s failed: %s%s",
        photo_id,
        code,
        "" if last else "; it will be tried again",
        extra={"photo_id": photo_id, "code": code, "last": last},
    )


def verdict_reached(verdict: Verdict) -> None:
    """Note a verdict once it is committed."""
    transaction.on_commit(lambda: _tell(verdict), robust=True)


def _tell(verdict: Verdict) -> None:
    metrics.VERDICTS.labels(verdict.outcome, verdict.source).inc()
    told: dict[str, Any] = {
        "post_id": verdict.post_id,
        "verdict_id": verdict.pk,
        "outcome": verdict.outcome,
        "source": verdict.source,
        "platform": verdict.post.platform.slug,
    }
    if verdict.sequence == 1:
        told["seconds"] = round(metrics.post_came(metrics.Until.VERDICT, verdict.post_id), 3)
    logger.info("%s is %s, by the %s", verdict.post_id, verdict.outcome, verdict.source, extra=told)
