"""When the work of this app is done: each task fetches, calls and returns."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings

from incentives import campaigns, donations, figures, proof, rewards, signing, webhooks
from incentives.badges import awards, backfill
from incentives.experiments import upkeep
from mask_social import clock

# So long a backfill of badges goes on before it lets other work pass.
_BACKFILL_TURN = timedelta(seconds=15)


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


@shared_task
def deliver_webhook(delivery_id: str) -> None:
    """Make one attempt at a delivery; the next one is the sweep's."""
    webhooks.deliver(delivery_id, delivery_terms())


@shared_task
def sweep_deliveries() -> None:
    """Wake a worker for each delivery that is due."""
    for delivery_id in webhooks.requeue(clock.now()):
        deliver_webhook.delay(delivery_id)


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
    )
