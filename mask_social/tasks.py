"""What the service runs for its own sake."""

from collections.abc import Sequence

from celery import shared_task

from mask_social import canary


@shared_task
def fly_canary(worker: str, number: int, served: Sequence[str]) -> None:
    """Show that a worker takes messages and runs them."""
    canary.come_back(worker, number, served)
