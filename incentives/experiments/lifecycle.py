"""An experiment's life: written down, started, ended; once each."""

import secrets
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from incentives.models import Experiment


class ExperimentError(Exception):
    """An experiment cannot be started or ended; the text is for staff."""


def new_salt() -> str:
    """Return a fresh salt: nobody can tell beforehand which authors it holds out."""
    return secrets.token_hex(16)


def start(experiment: Experiment, now: datetime) -> None:
    """Start a draft. Raises ExperimentError where it is none, or where some of its authors take part in another."""
    with transaction.atomic():
        # All rows, so that one for a platform and one for everybody cannot start at the same moment.
        held = {row.pk: row for row in Experiment.objects.select_for_update(no_key=True).order_by("pk")}
        if held[experiment.pk].status != Experiment.Status.DRAFT:
            raise ExperimentError("It was started before.")
        running = Experiment.objects.filter(status=Experiment.Status.RUNNING)
        if experiment.platform_id is not None:
            running = running.filter(Q(platform=None) | Q(platform=experiment.platform_id))
        if (other := running.first()) is not None:
            raise ExperimentError(f"Another one runs for the same authors: {other.name}. End it first.")
        Experiment.objects.filter(pk=experiment.pk).update(status=Experiment.Status.RUNNING, starts_at=now)
    experiment.refresh_from_db()


def end(experiment: Experiment, now: datetime) -> None:
    """End a running experiment for good. Raises ExperimentError where it does not run."""
    running = Experiment.objects.filter(pk=experiment.pk, status=Experiment.Status.RUNNING)
    if not running.update(status=Experiment.Status.ENDED, ends_at=now):
        raise ExperimentError("It does not run.")
    experiment.refresh_from_db()
