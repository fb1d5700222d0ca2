"""Messages are hints: rows say what is to be done, and sweeps see to it. So nobody waits long for the broker."""

import logging
import threading
import time
from collections.abc import Callable

from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

# For so long after a failure nothing is tried: each try may last as long as the socket's timeout.
PAUSE_SECONDS = 5.0

_lock = threading.Lock()
_away_until = float("-inf")


def tell(send: Callable[[], object]) -> bool:
    """Send messages unless the broker was just found away; False where they are left to the sweep."""
    global _away_until
    with _lock:
        if time.monotonic() < _away_until:
            return False
    try:
        send()
    except (OperationalError, OSError) as error:
        with _lock:
            _away_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("The broker cannot be reached (%s); the sweep sends what was to be sent.", type(error).__name__)
        return False
    return True
