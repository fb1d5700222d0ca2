"""Keep what the arms did added up, so that a page need not wait for it."""

from datetime import datetime, timedelta

from django.db.models import Q

from incentives.experiments import tally
from incentives.models import Experiment, ExperimentSums

#: How long after the end appeals and reviews may still change what counts.
AFTERMATH = timedelta(days=30)


def add_up(experiment: Experiment, now: datetime) -> ExperimentSums:
    """Add up an experiment's record as it is now."""
    data = tally.count(experiment).as_json()
    sums, _ = ExperimentSums.objects.update_or_create(
        experiment=experiment, defaults={"data": data, "added_up_at": now}
    )
    return sums


def add_up_all(now: datetime) -> int:
    """Add up every experiment that may have changed; return how many."""
    changing = Experiment.objects.filter(
        Q(status=Experiment.Status.RUNNING) | Q(status=Experiment.Status.ENDED, ends_at__gte=now - AFTERMATH)
    )
    return len([add_up(experiment, now) for experiment in changing.order_by("pk")])


def latest(experiment: Experiment, now: datetime) -> ExperimentSums:
    """Return the sums as they were last added up; now, where they never were."""
    return ExperimentSums.objects.filter(experiment=experiment).first() or add_up(experiment, now)
