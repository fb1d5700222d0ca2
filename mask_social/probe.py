"""Health of one container: ``python -m mask_social.probe web|worker|beat``; standard library alone, some 20 ms."""

import http.client
import os
import sys
import time
from pathlib import Path

PORT = 8000
WORKER_SECONDS = 60  # a worker takes a canary every five seconds, and at the latest when a photo is done
BEAT_SECONDS = 60  # beat sends the sweeps every ten seconds


def main(arguments: list[str]) -> int:
    """Return 0 where the process does its work."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"usage: python -m mask_social.probe {'|'.join(CHECKS)}\n")
        return 2
    problem = CHECKS[arguments[0]]()
    sys.stdout.write(f"{problem or 'ok'}\n")
    return 1 if problem else 0


def web() -> str | None:
    """Ask for readiness, under a name that the service answers to."""
    host = os.environ.get("MASK_SOCIAL_ALLOWED_HOSTS", "localhost").split(",")[0].strip()
    host = "localhost" if host == "*" else host.lstrip(".")
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", PORT)), timeout=5)
    try:
        connection.request("GET", "/readyz?only=web", headers={"Host": host})
        answer = connection.getresponse()
        return None if answer.status == 200 else f"{answer.status}: {answer.read(500).decode(errors='replace')}"
    except OSError as error:
        return str(error)
    finally:
        connection.close()


def worker() -> str | None:
    """Look when the worker last took a message, or had its hands full."""
    return stale("MASK_SOCIAL_WORKER_FILE", WORKER_SECONDS)


def beat() -> str | None:
    """Look when beat last sent something."""
    return stale("MASK_SOCIAL_BEAT_FILE", BEAT_SECONDS)


def stale(variable: str, seconds: float) -> str | None:
    """Say what is wrong where the file that a variable names is older than that."""
    path = os.environ.get(variable)
    if not path:
        return f"{variable} is not set"
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError as error:
        return str(error)
    return f"no life for {age:.0f} s" if age > seconds else None


CHECKS = {"web": web, "worker": worker, "beat": beat}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
