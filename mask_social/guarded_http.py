"""HTTP to addresses that strangers named: only public ones, only listed ports, only so long, only so much.

The address that was vetted is the one connected to, so a name that resolves differently a moment later (DNS rebinding)
gains nothing. Proxies of the environment are not used: they would connect for us to an address nobody vetted.
"""

import http.client
import io
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from mask_social.public_addresses import IPAddress, is_public

_PORTS = {"http": 80, "https": 443}
#: Where web servers listen. Others are the doors of mail, databases and shells, which take parts of HTTP for orders.
ALLOWED_PORTS = frozenset({80, 443, 8080, 8443})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 * 1024
_HEAD_BYTES = 64 * 1024  # status and headers; http.client would take 6 MB of them, and "100 Continue" without end
_URL_SAFE = "!$%&'()*+,-./:;=?@[]_~"
# Certificates are checked against the name in the URL, by the system's own trust store.
_tls_context: ssl.SSLContext | None = None
_tls_lock = threading.Lock()


class GuardedHttpError(Exception):
    """The request could not be made, or its answer is not acceptable."""


class InvalidUrl(GuardedHttpError):  # noqa: N818 - reads better where it is caught; all end in what went wrong
    """The URL is no plain http or https address."""


class ForbiddenAddress(GuardedHttpError):  # noqa: N818 - as above
    """The name leads to an address that is not public; `redirected` says whether a redirect led there."""

    def __init__(self, message: str, *, redirected: bool = False) -> None:
        super().__init__(message)
        self.redirected = redirected


class ForbiddenPort(ForbiddenAddress):
    """The URL names a port that is not listed."""


class TooLarge(GuardedHttpError):  # noqa: N818 - as above
    """The answer has more bytes than allowed, or takes far more to say them."""


class TooSlow(GuardedHttpError):  # noqa: N818 - as above
    """The time is up."""


class TooManyRedirects(GuardedHttpError):  # noqa: N818 - as above
    """The answer keeps pointing elsewhere."""


class Unreachable(GuardedHttpError):  # noqa: N818 - as above
    """No connection, or a broken one."""


@dataclass(frozen=True, slots=True)
class GuardedResponse:
    """A whole answer; the names of `headers` are in lower case, `url` is where it came from in the end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    allow_private: bool,
    connect_timeout: float,
    read_timeout: float,
    deadline: float,
    max_bytes: int,
    max_redirects: int = 0,
    cut: bool = False,
    ports: Collection[int] = ALLOWED_PORTS,
) -> GuardedResponse:
    """Make one request and return its whole answer, or raise a GuardedHttpError.

    All times are seconds; `deadline` bounds everything together, from the name's resolution to the last byte, so that
    no slow drip holds us. With `max_redirects` of 0 a redirect is an answer like any other; otherwise it is followed,
    each address vetted anew, for GET alone. With `cut`, an answer of more than `max_bytes` is no error; its beginning
    is returned. `allow_private` allows any address and any port, otherwise public ones and those of `ports`.
    """
    if max_redirects and method != "GET":
        raise ValueError("Only a GET may follow redirects.")
    clock = _Clock(time.monotonic() + deadline, connect_timeout, read_timeout)
    sent = dict(headers)
    for hop in range(max_redirects + 1):
        target = _Target.of(url)
        try:
            if not allow_private and target.port not in ports:
                raise ForbiddenPort(f"Port {target.port} is not among those that are called.")
            response = _once(method, target, sent, body, allow_private, clock, max_bytes, cut=cut)
        except ForbiddenAddress as error:
            error.redirected = hop > 0
            raise
        location = response.headers.get("location")
        if not max_redirects or response.status not in _REDIRECTS or location is None:
            return response
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise InvalidUrl(f"The address redirects to what is none: {error}.") from error
        if _Target.of(url).origin != target.origin:
            sent = {name: value for name, value in sent.items() if name.lower() not in {"authorization", "cookie"}}
    raise TooManyRedirects(f"The address was redirected more than {max_redirects} times.")


@dataclass(frozen=True, slots=True)
class _Clock:
    ends: float
    connect_timeout: float
    read_timeout: float

    def left(self, at_most: float) -> float:
        """Return how long the next step may take."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TooSlow("The time is up.")
        return min(left, at_most)


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> "_Target":
        if any(ord(character) <= 32 or ord(character) == 127 for character in url) or "\\" in url:
            raise InvalidUrl("The URL holds white space, control characters or backslashes.")
        try:
            parts = urlsplit(url)
            return cls._from(parts)
        except ValueError as error:  # also UnicodeError, of names that IDNA cannot encode
            raise InvalidUrl(f"The URL cannot be read: {error}.") from error

    @classmethod
    def _from(cls, parts: SplitResult) -> "_Target":
        if parts.scheme not in _PORTS:
            raise InvalidUrl("The URL must begin with http:// or https://.")
        if parts.username is not None or parts.password is not None:
            raise InvalidUrl("The URL must not hold credentials.")
        if not parts.hostname or "%" in parts.hostname:
            raise InvalidUrl("The URL names no host.")
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        if not 0 < port < 65536:
            raise InvalidUrl("The URL names an impossible port.")
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.scheme, host, port, quote(parts.path or "/", safe=_URL_SAFE) + quote(query, safe=_URL_SAFE))


def _once(
    method: str,
    target: _Target,
    headers: Mapping[str, str],
    body: bytes | None,
    allow_private: bool,
    clock: _Clock,
    max_bytes: int,
    *,
    cut: bool,
) -> GuardedResponse:
    addresses = _vetted(_resolve(target, clock), allow_private)
    try:
        with closing(_connect(target, addresses, clock)) as plain:
            connection = http.client.HTTPConnection(target.host, target.port)
            # http.client only ever calls sendall, makefile and close of it.
            wire = _Wire(plain, clock)
            connection.sock = cast(Any, wire)
            whole = {"Host": target.host_header, "Accept-Encoding": "identity", "Connection": "close"} | dict(headers)
            connection.request(method, target.path, body=body, headers=whole)
            with closing(connection.getresponse()) as response:
                wire.allow(max_bytes)
                received = _read(response, max_bytes, cut=cut)
    except TimeoutError as error:
        raise TooSlow("The other side took too long.") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"The connection broke: {type(error).__name__}.") from error
    names = {name.lower(): value for name, value in response.getheaders()}
    scheme_and_host = f"{target.scheme}://{target.host_header}"
    return GuardedResponse(response.status, names, received, scheme_and_host + target.path)


def _read(response: http.client.HTTPResponse, max_bytes: int, *, cut: bool) -> bytes:
    expected = response.length  # None when chunked or until the end
    if expected is not None and expected > max_bytes and not cut:
        raise TooLarge(f"The answer has {expected} bytes; {max_bytes} are allowed.")
    received = bytearray()
    try:
        while chunk := response.read1(_CHUNK):
            received += chunk
            if len(received) > max_bytes:
                raise TooLarge(f"The answer has more than {max_bytes} bytes.")
    except TooLarge:
        if cut:
            return bytes(received[:max_bytes])
        raise
    if expected is not None and len(received) < expected:  # http.client lets a short body pass when read in pieces
        raise Unreachable("The answer was cut short.")
    return bytes(received)


def _resolve(target: _Target, clock: _Clock) -> list[IPAddress]:
    # getaddrinfo knows no timeout; a thread that is left behind ends when the resolver gives up.
    answers: queue.SimpleQueue[Callable[[], list[IPAddress]]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = _getaddrinfo(target.host, target.port)
        except (OSError, ValueError) as error:
            failure = Unreachable(f"The name {target.host} does not resolve: {error}.")
            answers.put(lambda: _raise(failure))
        else:
            answers.put(lambda: found)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        return answers.get(timeout=clock.left(clock.connect_timeout))()
    except queue.Empty:
        raise TooSlow(f"The name {target.host} took too long to resolve.") from None


def _raise(error: Exception) -> list[IPAddress]:
    raise error


def _getaddrinfo(host: str, port: int) -> list[IPAddress]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))


def _vetted(addresses: Sequence[IPAddress], allow_private: bool) -> Sequence[IPAddress]:
    # One private address among public ones is a trick or a mistake; neither is followed.
    if not allow_private and not all(is_public(address) for address in addresses):
        raise ForbiddenAddress("The name leads to an address that is not public.")
    return addresses


def _connect(target: _Target, addresses: Sequence[IPAddress], clock: _Clock) -> socket.socket:
    failure: Exception | None = None
    for address in addresses:
        try:
            plain = socket.create_connection((str(address), target.port), timeout=clock.left(clock.connect_timeout))
        except TimeoutError:
            failure = TooSlow("The other side did not take the connection in time.")
            continue
        except OSError as error:
            failure = Unreachable(f"The other side does not take connections: {error.strerror or error}.")
            continue
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.scheme == "http":
                return plain
            plain.settimeout(clock.left(clock.connect_timeout))  # the handshake's, as a whole
            return _tls().wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise
    raise failure or Unreachable(f"The name {target.host} has no address.")


def _tls() -> ssl.SSLContext:
    global _tls_context
    with _tls_lock:
        if _tls_context is None:
            _tls_context = ssl.create_default_context()
        return _tls_context


class _Wire:
    """A socket whose every step is bounded by what is left of the time and of the bytes."""

    def __init__(self, wire: socket.socket, clock: _Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._left = _HEAD_BYTES

    def allow(self, body_bytes: int) -> None:
        """Let a body come: chunks of reasonable size take no more than its bytes again, trailers included."""
        self._left += 2 * body_bytes + _HEAD_BYTES

    def sendall(self, data: bytes) -> None:
        # Not the socket's own: over TLS it grants each piece the whole time anew.
        rest = memoryview(data)
        while rest:
            self._wire.settimeout(self._clock.left(self._clock.read_timeout))
            rest = rest[self._wire.send(rest) :]

    def receive(self, buffer: Any) -> int:
        """Read what is there into the buffer."""
        self._wire.settimeout(self._clock.left(self._clock.read_timeout))
        count = self._wire.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise TooLarge("The answer takes far more bytes than it says.")
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """Do nothing: http.client closes before the body is read; whoever connected closes."""


class _Incoming(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        super().__init__()
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(buffer)
