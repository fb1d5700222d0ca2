"""A web application that keeps some megabytes of each request, and says which process it is."""

import os
from collections.abc import Callable, Iterable
from typing import Any

_kept: list[bytes] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the number of the process."""
    _kept.append(b"x" * (40 * 1024**2))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
