"""Wait for what another process does."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], object], seconds: float = 10) -> None:
    """Call `check` until it returns something true."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
