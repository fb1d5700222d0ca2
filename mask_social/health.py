"""Whether the process lives, and whether the service does its work."""

from collections.abc import Callable
from http import HTTPStatus

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from mask_social import canary

# Echoes come every CANARY_SECONDS; beat's, whenever it sends the sweeps.
_MISSED = 6
_MISSED_BY_BEAT = 3
_is_migrated = False


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer as long as the process does; asks nobody else."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when all parts do their work, else 503 and what is amiss.

    ``?only=web`` is for a load balancer: posts are taken in without broker and workers, and wait for them.
    """
    checks = {"database": _try(_database)}
    if request.GET.get("only") != "web":
        checks |= _parts()
    ready = all(state == "ok" for state in checks.values())
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JsonResponse({"status": "ok" if ready else "unready", "checks": checks}, status=status)


def _try(check: Callable[[], str]) -> str:
    try:
        return check()
    except (DatabaseError, OSError) as error:
        return type(error).__name__  # its text may hold an address


def _database() -> str:
    global _is_migrated
    if _is_migrated:  # what this code needs; newer migrations are other code's
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return "ok"
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _is_migrated = not pending
    return f"{len(pending)} migrations to run" if pending else "ok"


def _parts() -> dict[str, str]:
    """Say of the broker, of a worker for each queue, and of beat how they do."""
    limits = dict.fromkeys(canary.queues(), _MISSED * settings.CANARY_SECONDS)
    limits[canary.BEAT] = max(_MISSED * settings.CANARY_SECONDS, _MISSED_BY_BEAT * settings.SWEEP_SECONDS)
    try:
        ages = canary.ages()
    except redis.RedisError as error:
        return {"broker": type(error).__name__} | dict.fromkeys(limits, "unknown without the broker")
    return {"broker": "ok"} | {name: _of_age(ages.get(name), limit) for name, limit in limits.items()}


def _of_age(age: float | None, limit: float) -> str:
    if age is None:
        return "never heard of"
    return "ok" if age <= limit else f"not heard of for {age:.0f} s"
