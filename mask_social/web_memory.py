"""A process of the web server that grew too large makes room for a fresh one, after the requests it has in hand."""

from typing import Any

import psutil

from mask_social.env import positive

_MIB = 1024**2
MOST_MIB = positive("MASK_SOCIAL_WEB_MIB", 800)


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """Let gunicorn's worker end where it holds too much; gunicorn calls this after each request."""
    used = psutil.Process().memory_info().rss / _MIB
    if used > MOST_MIB and worker.alive:
        worker.log.warning("This process holds %.0f MiB, more than %.0f, and makes room for another.", used, MOST_MIB)
        worker.alive = False
