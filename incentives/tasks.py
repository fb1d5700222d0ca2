"""When the work of this app is done: each task fetches, calls and returns."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings

from incentives import campaigns, dispatch, donations, figures, notices, proof, retention, rewards, signing, webhooks
from incentives.badges import awards, backfill
from incentives.experiments import upkeep
from mask_social import clock

# So long a backfill of badges goes on before it lets other work pass.
_BACKFILL_TURN = timedelta(seconds=15)
# So long old events are deleted at a time.
_RETENTION_TURN = timedelta(seconds=20)


@shared_task
def apply_verdict(verdict_id: str) -> None:
    """Give or take back what a verdict earns."""
    rewards.apply_verdict(verdict_id)


@shared_task
def take_back(post_id: str) -> None:
    """Take back what a withdrawn post earned."""
    rewards.take_back(post_id)


@shared_task
def sweep_verdicts() -> None:
    """Apply the verdicts and withdrawals whose message was lost."""
    rewards.sweep(clock.now())


# One that waited for so long is needless: the sweep has sent another.
@shared_task(expires=dispatch.LOST_AFTER.total_seconds())
def send_webhooks(endpoint_id: str) -> None:
    """Send what is due to an endpoint for a while, then let others pass."""
    for following in dispatch.take_turn(endpoint_id, delivery_terms()):
        send_webhooks.delay(following)


@shared_task
def sweep_deliveries() -> None:
    """Send a worker to each endpoint that something is due to."""
    for endpoint_id in dispatch.sweep(clock.now()):
        send_webhooks.delay(endpoint_id)


@shared_task
def notify_platforms() -> None:
    """Write to the platforms whose webhook endpoints were disabled."""
    notices.notify_due(clock.now())


@shared_task
def forget_events() -> None:
    """Delete the events that are kept no longer."""
    now = clock.now()
    retention.forget(now - settings.EVENT_RETENTION, now, for_at_most=_RETENTION_TURN)


@shared_task
def settle_matches() -> None:
    """Settle the matches whose time has come."""
    donations.settle_due(clock.now())


@shared_task
def tend_campaigns() -> None:
    """End the campaigns whose window is over, and open or exhaust those that were edited."""
    campaigns.end_due(clock.now())
    campaigns.reassess(clock.now())


@shared_task
def prove_ledgers() -> None:
    """Prove the books of every campaign; what is wrong is kept and logged."""
    proof.prove_all(clock.now())


@shared_task
def add_up_experiments() -> None:
    """Add up what the arms of the experiments did, for their pages."""
    upkeep.add_up_all(clock.now())


@shared_task
def roll_up_figures() -> None:
    """Bring the daily figures up to now."""
    figures.roll_up(clock.now())


@shared_task
def rebuild_figures() -> None:
    """Count all daily figures anew."""
    figures.rebuild(clock.now())


@shared_task
def expire_badges() -> None:
    """Let the badges run out whose time is over."""
    while awards.expire_due(clock.now()):
        pass


@shared_task
def run_backfill(job_id: int) -> None:
    """Measure some authors by a rule, and come back for the others."""
    if backfill.work(job_id, for_at_most=_BACKFILL_TURN):
        run_backfill.delay(job_id)


@shared_task
def sweep_backfills() -> None:
    """Wake a worker for each backfill that none is at."""
    for job_id in backfill.unattended(clock.now()):
        run_backfill.delay(job_id)


@shared_task
def forget_expired_keys() -> None:
    """Delete the keys of webhooks that were replaced and sign no more."""
    signing.forget_expired(clock.now())


def delivery_terms() -> webhooks.Terms:
    """Read from the settings how deliveries are tried."""
    return webhooks.Terms(
        allow_private=settings.ALLOW_PRIVATE_ADDRESSES,
        timeout_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
        retry_seconds=settings.WEBHOOK_RETRY_SECONDS,
        parallel=settings.WEBHOOK_PARALLEL,
        slow_places=settings.WEBHOOK_SLOW_PLACES,
        failing_limit=settings.WEBHOOK_FAILING_LIMIT,
        ports=settings.OUTGOING_PORTS,
    )
