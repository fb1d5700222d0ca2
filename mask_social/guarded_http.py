"""HTTP to addresses that strangers named: only public ones, only so long, only so much.

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 * 1024
_URL_SAFE = "!$%&'()*+,-./:;=?@[]_~"
# RFC 6052: a gateway turns these into the IPv4 address in their last 32 bits.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 8215, local NAT64, and RFC 4291 2.5.5.1, IPv4-compatible: what they lead to is never ours to guess.
_OPAQUE = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("::/96"))
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


class TooLarge(GuardedHttpError):  # noqa: N818 - as above
    """The answer has more bytes than allowed."""


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
) -> GuardedResponse:
    """Make one request and return its whole answer, or raise a GuardedHttpError.

    All times are seconds; `deadline` bounds everything together, from the name's resolution to the last byte, so that
    no slow drip holds us. With `max_redirects` of 0 a redirect is an answer like any other; otherwise it is followed,
    each address vetted anew, for GET alone. With `cut`, an answer of more than `max_bytes` is no error; its beginning
    is returned.
    """
    if max_redirects and method != "GET":
        raise ValueError("Only a GET may follow redirects.")
    clock = _Clock(time.monotonic() + deadline, connect_timeout, read_timeout)
    sent = dict(headers)
    for hop in range(max_redirects + 1):
        target = _Target.of(url)
        try:
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


def address_in(host: str) -> IPAddress | None:
    """Return the address that a host spells out, in any way that a resolver reads; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 2130706433, 0x7f.1 and 127.1 are all 127.0.0.1
    except (OSError, ValueError):  # ValueError: letters beyond ASCII
        return None


def is_public(address: IPAddress) -> bool:
    """Say whether anybody on the internet could reach the address, and nobody only we can see stands behind it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.scope_id is not None or address.is_site_local or any(address in network for network in _OPAQUE):
            return False
        tunnelled = (address.sixtofour, *(address.teredo or ()))
        if not all(is_public(inner) for inner in tunnelled if inner is not None):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


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
            connection.sock = cast(Any, _Wire(plain, clock))
            whole = {"Host": target.host_header, "Accept-Encoding": "identity", "Connection": "close"} | dict(headers)
            connection.request(method, target.path, body=body, headers=whole)
            with closing(connection.getresponse()) as response:
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
    while chunk := response.read1(_CHUNK):
        received += chunk
        if len(received) > max_bytes:
            if cut:
                return bytes(received[:max_bytes])
            raise TooLarge(f"The answer has more than {max_bytes} bytes.")
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
    """A socket whose every step is bounded by what is left of the time."""

    def __init__(self, wire: socket.socket, clock: _Clock) -> None:
        self._wire = wire
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        self._wire.settimeout(self._clock.left(self._clock.read_timeout))
        self._wire.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self._wire, self._clock))

    def close(self) -> None:
        """Do nothing: http.client closes before the body is read; whoever connected closes."""


class _Incoming(io.RawIOBase):
    def __init__(self, wire: socket.socket, clock: _Clock) -> None:
        super().__init__()
        self._wire = wire
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(self._clock.left(self._clock.read_timeout))
        return self._wire.recv_into(buffer)
