"""How often somebody may do something: counted in Redis in one round trip, and where it is away in this process.

The count is one number, the time at which all that was taken will be back (the generic cell rate algorithm): a whole
quota may come at once, and what was taken comes back evenly over the window. A log of the calls of each window would
be exact to the call, at thousands of entries per key.
"""

import hashlib
import logging
import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

_MICROSECONDS = 1_000_000
# A Redis that does not answer costs one call this long; for the pause after it, nobody asks.
_REDIS_SECONDS = 0.5
_PAUSE_SECONDS = 5.0
# Memory for the counters of this process; the one that was not asked for longest goes first.
_MOST_LOCAL = 10_000

# The clock is Redis's own: several hosts share it. Everything in whole microseconds, which fit into a Lua number;
# but its own conversion to text keeps 14 digits only.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, quota, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = full_at + cost * interval
if after - now > quota * interval then
    return {0, full_at - now}
end
if after > now then
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
else
    redis.call('DEL', KEYS[1])
end
return {1, after - now}
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many within so many seconds; `name` is what the headers call it."""

    name: str
    quota: int
    seconds: int

    @property
    def interval(self) -> int:
        """Return the microseconds in which one comes back."""
        return max(1, self.seconds * _MICROSECONDS // self.quota)


@dataclass(frozen=True, slots=True)
class Standing:
    """What was found: whether it was allowed, and when all will be back, in microseconds."""

    limit: Limit
    is_allowed: bool
    full_in: int

    @property
    def remaining(self) -> int:
        """Return how many more may come at once."""
        return max(0, self.limit.quota - math.ceil(self.full_in / self.limit.interval))

    @property
    def wait_seconds(self) -> int:
        """Return the whole seconds until one more may come where none may; else until all are back."""
        spare = 0 if self.remaining else (self.limit.quota - 1) * self.limit.interval
        return max(0, math.ceil((self.full_in - spare) / _MICROSECONDS))


def take(limit: Limit, who: str, cost: int = 1) -> Standing:
    """Take one of a quota, or say when there will be one; a negative cost gives it back."""
    key = f"mask_social:rate:{limit.name}:{hashlib.blake2b(who.encode(), digest_size=16).hexdigest()}"
    if _circuit.may_ask():
        try:
            is_allowed, full_in = _script()(keys=[key], args=[limit.interval, limit.quota, cost])
        except (redis.RedisError, OSError) as error:
            _circuit.has_failed(error)
        else:
            _circuit.has_answered()
            return Standing(limit, bool(is_allowed), full_in)
    return _local.take(limit, key, cost)


class Counters:
    """The same count in memory: for one process, and forgotten with it."""

    def __init__(self, most: int = _MOST_LOCAL) -> None:
        self._most = most
        self._full_at: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, limit: Limit, key: str, cost: int = 1) -> Standing:
        """Take one of a quota."""
        now = time.monotonic_ns() // 1000
        with self._lock:
            full_at = max(self._full_at.pop(key, now), now)
            after = full_at + cost * limit.interval
            is_allowed = after - now <= limit.quota * limit.interval
            self._full_at[key] = full_at = after if is_allowed else full_at
            if len(self._full_at) > self._most:
                self._full_at.popitem(last=False)
        return Standing(limit, is_allowed, max(0, full_at - now))


class Circuit:
    """Whether Redis is worth asking: after a failure one caller tries it every few seconds, the others do not wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._try_at = 0.0

    def may_ask(self) -> bool:
        """Say whether to ask; whoever is told so while Redis is away is the only one."""
        if not self._is_open:
            return True
        with self._lock:
            if time.monotonic() < self._try_at:
                return False
            self._try_at = time.monotonic() + _PAUSE_SECONDS
        return True

    def has_failed(self, error: Exception) -> None:
        """Leave Redis alone for a while."""
        with self._lock:
            if not self._is_open:  # its text may hold an address
                logger.warning("Rate limits are counted in each process: %s from Redis.", type(error).__name__)
            self._is_open = True
            self._try_at = time.monotonic() + _PAUSE_SECONDS

    def has_answered(self) -> None:
        """Ask again."""
        if self._is_open:
            logger.warning("Rate limits are counted in Redis again.")
            self._is_open = False


_local = Counters()
_circuit = Circuit()


@cache
def _script() -> "redis.commands.core.Script":
    # No retries: the client's own would wait seconds for a Redis that is away.
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return client.register_script(_SCRIPT)
