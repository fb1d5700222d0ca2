"""What runs in a worker: fetch, call, return."""

import logging
import math

from celery import shared_task
from django.conf import settings

from moderation import analysis, audit, files, idempotency, reevaluation
from moderation.sign_in import throttle

logger = logging.getLogger(__name__)

# A night's share; what is left has its turn in another.
_FILE_SWEEP_SECONDS = 600


@shared_task(
    name="moderation.tasks.analyze_photo",
    # Soft first: the worker survives it and can say why.
    soft_time_limit=max(1, math.floor(settings.ANALYSIS_TIME_LIMIT * 0.8)),
    time_limit=math.ceil(settings.ANALYSIS_TIME_LIMIT),
)
def analyze_photo(photo_id: str) -> None:
    """Look at one photo."""
    analysis.run(photo_id, analysis_terms())


@shared_task(name="moderation.tasks.sweep_analyses")
def sweep_analyses() -> None:
    """Send again what got lost, and forget old idempotency keys and failed sign-ins."""
    analysis.sweep(analysis_terms())
    idempotency.forget_old()
    throttle.forget_old()


@shared_task(name="moderation.tasks.reevaluate")
def reevaluate(job_id: int, cursor: str) -> None:
    """Judge the next posts of a job anew."""
    reevaluation.work_on(job_id, cursor)


@shared_task(name="moderation.tasks.sweep_reevaluations")
def sweep_reevaluations() -> None:
    """Send the jobs under way again."""
    reevaluation.sweep()


@shared_task(name="moderation.tasks.verify_audit")
def verify_audit() -> None:
    """Walk along the audit log; its head goes into the service's own log, which is kept elsewhere."""
    found = audit.verify()
    for problem in found.problems:
        logger.error("The audit log is not whole: %s.", problem)
    if not found.problems:
        logger.info("The audit log is whole. Head: %s", found.head)


@shared_task(name="moderation.tasks.sweep_files")
def sweep_files() -> None:
    """Delete stored photos that no row names."""
    files.sweep(seconds=_FILE_SWEEP_SECONDS)


def analysis_terms() -> analysis.Terms:
    """Return the terms that the settings give."""
    return analysis.Terms(settings.ANALYSIS_LEASE, settings.ANALYSIS_MAX_ATTEMPTS)
