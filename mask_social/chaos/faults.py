"""Every fault that can be injected, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from mask_social.chaos import killing, servers, surroundings
from mask_social.chaos.receiver import Mood
from mask_social.chaos.scene import Scene

Strike = Callable[[Scene], str]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong; `strike` does it, undoes what does not end by itself, and says in words what it did."""

    name: str
    text: str
    strike: Strike


_ALL = (
    Fault("analysis", "kill -9 an analysis worker with its pool", killing.part("analysis")),
    Fault("analysis-parent", "kill -9 the analysis worker, and leave its pool", killing.parent("analysis")),
    Fault("analysis-child", "kill -9 one process of the analysis pool", killing.child("analysis")),
    Fault("default", "kill -9 the worker that gives rewards", killing.part("default")),
    Fault("webhooks", "kill -9 the worker that sends webhooks", killing.part("webhooks")),
    Fault("beat", "kill -9 beat", killing.part("beat")),
    Fault("web", "kill -9 the web server", killing.part("web")),
    Fault("web-child", "kill -9 the process that answers, under its parent", killing.child("web")),
    Fault("workers", "kill -9 two or three workers, one after the other", killing.workers),
    Fault("redis-flush", "FLUSHALL", servers.flush_redis),
    Fault("redis", "kill -9 Redis", servers.kill_redis),
    Fault("redis-pause", "Redis answers nobody for some seconds", servers.pause_redis),
    Fault("postgres", "kill -9 PostgreSQL", servers.kill_postgres),
    Fault("postgres-immediate", "PostgreSQL stops at once and recovers", servers.stop_postgres_at_once),
    Fault("postgres-fast", "PostgreSQL is restarted in order", servers.restart_postgres),
    Fault("postgres-backend", "kill -9 one backend of PostgreSQL", servers.kill_backend),
    Fault("postgres-sessions", "all sessions of PostgreSQL are ended, again and again", servers.end_sessions),
    Fault("receiver-down", "a receiver hangs up", surroundings.receiver(Mood.DOWN)),
    Fault("receiver-slow", "a receiver answers too late, beside a fast one", surroundings.slow_receiver),
    Fault("receiver-500", "a receiver takes it and answers 500", surroundings.receiver(Mood.LYING)),
    Fault("receiver-cut", "a receiver takes it and cuts the line", surroundings.receiver(Mood.CUTTING)),
    Fault("receiver-garbled", "a receiver answers 200 with half a body", surroundings.receiver(Mood.GARBLED)),
    Fault("receiver-429", "a receiver asks for quiet", surroundings.receiver(Mood.BUSY)),
    Fault("receiver-gone", "a receiver answers 410, and is enabled again", surroundings.gone_receiver),
    Fault("clock", "the clock goes 70 hours ahead", surroundings.jump),
    Fault("clock-retries", "a receiver is down for 70 hours, in steps", surroundings.days_of_silence),
    Fault("disk-full", "no byte is left for photos", surroundings.full_disk),
    Fault("photo-deadly", "a photo kills its worker", surroundings.deadly_photo),
    Fault("photo-hanging", "a photo never ends", surroundings.hanging_photo),
    Fault("photo-leaking", "photos leak memory", surroundings.leaking_photos),
    Fault("everything", "kill -9 every process at once, servers too", killing.everything),
)
FAULTS = {fault.name: fault for fault in _ALL}
