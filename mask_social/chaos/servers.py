"""Faults: Redis and PostgreSQL go, forget, or say nothing."""

import os
import signal
import time
from contextlib import suppress

import psutil
import psycopg
import redis

from mask_social.chaos.scene import Scene

END_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def flush_redis(scene: Scene) -> str:
    """Let Redis forget everything."""
    with redis.Redis.from_url(scene.stack.environment["REDIS_URL"], socket_timeout=5) as client:
        keys = client.dbsize()
        client.flushall()
    scene.killed["keys of Redis"] += int(keys)
    return f"flushed {keys} keys"


def kill_redis(scene: Scene) -> str:
    """Kill Redis; its guard starts it again, with what it had written down."""
    os.kill(scene.server("redis"), signal.SIGKILL)
    scene.killed["redis"] += 1
    return "killed Redis"


def pause_redis(scene: Scene) -> str:
    """Stop Redis in its tracks, with every connection open."""
    pid, seconds = scene.server("redis"), scene.random.uniform(4, 9)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
    return f"paused Redis for {seconds:.1f} s"


def kill_postgres(scene: Scene) -> str:
    """Kill the first process of PostgreSQL; its backends notice and end."""
    return _signal_postgres(scene, signal.SIGKILL, "killed PostgreSQL")


def stop_postgres_at_once(scene: Scene) -> str:
    """Have PostgreSQL quit without tidying up: its log is replayed when it is back."""
    return _signal_postgres(scene, signal.SIGQUIT, "stopped PostgreSQL at once")


def restart_postgres(scene: Scene) -> str:
    """Have PostgreSQL roll everything back and end."""
    return _signal_postgres(scene, signal.SIGINT, "restarted PostgreSQL in order")


def kill_backend(scene: Scene) -> str:
    """Kill one backend: PostgreSQL takes all memory for spoilt then, ends every session and recovers."""
    children = psutil.Process(scene.server("postgres")).children()
    backends = [child for child in children if _is_backend(child)]
    if not backends:
        return "PostgreSQL had no backend to kill"
    os.kill(scene.random.choice(backends).pid, signal.SIGKILL)
    scene.killed["postgres, one backend"] += 1
    return f"killed one of {len(backends)} backends"


def end_sessions(scene: Scene) -> str:
    """End all sessions, some times within seconds."""
    ended = 0
    for _ in range(scene.random.choice((2, 3, 4))):
        with suppress(psycopg.Error), scene.database() as connection:
            ended += (connection.execute(END_SESSIONS).fetchone() or (0,))[0]
        time.sleep(scene.random.uniform(0.2, 1.5))
    scene.killed["sessions of PostgreSQL"] += ended
    return f"ended {ended} sessions"


def _signal_postgres(scene: Scene, number: signal.Signals, text: str) -> str:
    os.kill(scene.server("postgres"), number)
    scene.killed[f"postgres, {number.name}"] += 1
    return text


def _is_backend(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return "mask_social" in line and not line.startswith("postgres: walsender")
    return False
