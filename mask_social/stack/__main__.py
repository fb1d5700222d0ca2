"""``make run``: serve until told to end, and start again whatever dies meanwhile."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from mask_social.demo.content import post_own_pictures
from mask_social.env import var_directory
from mask_social.stack import BASE, Stack, StackError

PORT = 8000
SEEDED_POSTS = 20_000
WATCH_SECONDS = 0.5
INTERRUPTED = 130
BACK_OFF_SECONDS = (1, 2, 5, 10, 30)
AGAIN_ADMIN = "as before; .venv/bin/python manage.py changepassword admin sets a new password"
AGAIN_KEY = "as before; .venv/bin/python manage.py bootstrap --new-key issues another"
WELL_SECONDS = 60.0  # a part that lived this long was well: its next death is the first again


def main() -> int:
    """Serve on one machine."""
    parser = argparse.ArgumentParser(prog="python -m mask_social.stack", description=main.__doc__)
    parser.add_argument("--port", type=port, help=f"port on 127.0.0.1 (default: {PORT}, or the next free one)")
    parser.add_argument("--analysis-workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    options = parser.parse_args()
    over, started = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        over.set()
        if not started.is_set():
            raise KeyboardInterrupt  # starting waits for many things, and none of them looks at `over`

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    stack = Stack(
        var_directory(BASE),
        analysis_workers=options.analysis_workers,
        port=options.port if options.port is not None else free_port(PORT),
        progress=lambda part: say(f"Bringing up {part} ..."),
    )
    try:
        with stack:
            started.set()
            introduce(stack)
            watch(stack, over)
            say("Stopping ...")
    except KeyboardInterrupt:
        say("Stopped.")
        return INTERRUPTED
    except (StackError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def introduce(stack: Stack) -> None:
    """Print where everything is; at the first start, with a password, a key and something to look at."""
    command = [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json"]
    made = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if made.returncode:
        raise StackError(f"bootstrap failed:\n{made.stderr.strip()}")
    first = json.loads(made.stdout)
    password, key = first["password"], first["api_key"]
    say(f"""
mask_social serves at {stack.url}
  API pages     {stack.url}/api/docs
  Admin         {stack.url}/admin/
  Signing in    {f"{first['admin']}, one-time password {password} (change it there)" if password else AGAIN_ADMIN}
  API key       {key or AGAIN_KEY}
  Logs          {stack.var / "log"}
""")
    if key:
        say(f"Posted {post_own_pictures(stack.url, key)} pictures, so that the admin has something to show.")
        seed(stack)
    say("Ctrl-C ends it.")


def seed(stack: Stack) -> None:
    """Invent a platform's past, so that the dashboard has something to show; without one the service serves as well."""
    command = [sys.executable, str(BASE / "manage.py"), "seed", "--posts", str(SEEDED_POSTS)]
    made = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if made.returncode:
        say(f"No past was invented for the dashboard: {made.stderr.strip()}")
    else:
        say(f"Invented a platform with {SEEDED_POSTS:,} posts over 90 days, so that the dashboard is not empty.")


def watch(stack: Stack, over: threading.Event) -> None:
    """Start again what dies, later each time, until it is over."""
    deaths: dict[str, int] = {}
    due: dict[str, float] = {}
    while not over.wait(WATCH_SECONDS):
        if stack.lost_services():
            raise StackError("PostgreSQL or Redis was ended by somebody else (make stop, make clean?); ending too.")
        for name in stack.dead():
            if name not in due:
                deaths[name] = 0 if stack.uptime(name) > WELL_SECONDS else deaths.get(name, -1) + 1
                pause = BACK_OFF_SECONDS[min(deaths[name], len(BACK_OFF_SECONDS) - 1)]
                status = stack.process(name).returncode
                log = stack.var / "log" / f"{name}.log"
                say(f"{name} ended unexpectedly ({status}); starting it again in {pause} s. Its log: {log}")
                due[name] = time.monotonic() + pause
            elif time.monotonic() >= due[name]:
                del due[name]
                stack.revive(name)


def port(text: str) -> int:
    """Read a port number."""
    value = int(text)
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return value


def free_port(first: int) -> int:
    """Return the first free port from `first` on, or 0 for any."""
    for port in range(first, first + 20):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    return 0


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
