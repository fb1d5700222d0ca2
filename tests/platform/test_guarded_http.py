"""The way out: pinned to the address that was vetted, by the name that was asked for, so long and so much."""

import contextlib
import datetime
import gzip
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mask_social import guarded_http, public_addresses

INTERNET, INSIDE = "127.0.0.2", "127.0.0.1"  # both are this machine; the tests take the first for a public address
NAME = "feed.example.org"
Talk = Callable[[Any], None]


@dataclass(slots=True)
class Heard:
    """What servers were asked."""

    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)


@contextmanager
def server(talk: Talk, *, host: str = INTERNET, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Let `talk` have each connection; byte for byte, for a web server of a library would be too polite."""
    listener = socket.create_server((host, port))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            talk(tls.wrap_socket(connection, server_side=True) if tls else connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def saying(answer: bytes, heard: Heard | None = None) -> Talk:
    def talk(connection: Any) -> None:
        request = connection.recv(65536)
        if heard is not None:
            heard.requests.append(request)
        connection.sendall(answer)

    return talk


def page(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 200 OK", length, *headers, b"", body))


def get(url: str, **changes: Any) -> guarded_http.GuardedResponse:
    limits: dict[str, Any] = {
        "headers": {},
        "allow_private": False,
        "connect_timeout": 2.0,
        "read_timeout": 2.0,
        "deadline": 3.0,
        "max_bytes": 100_000,
        "ports": range(1, 65536),
    }
    return guarded_http.request("GET", url, **(limits | changes))


class Resolver:
    """A name server that answers differently each time, as one of an attacker does; the last answer stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Resolver]:
    """Let names resolve to what a test says, for all of this process, and 127.0.0.2 pass for a public address."""
    judge = public_addresses.is_public
    monkeypatch.setattr(guarded_http, "is_public", lambda address: str(address) == INTERNET or judge(address))

    def to(*answers: list[str]) -> Resolver:
        resolver = Resolver(*answers)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return to


# Rebinding


def naive(name: str, port: int) -> bytes:
    """Vet the name and then ask by the name, as it is often done."""
    for row in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        assert row[4][0] != INSIDE
    connection = http.client.HTTPConnection(name, port, timeout=2)
    connection.request("GET", "/")
    return connection.getresponse().read()


def test_a_name_that_resolves_differently_a_moment_later_gains_nothing(resolves: Callable[..., Resolver]) -> None:
    with server(saying(page(b"public"))) as port, server(saying(page(b"secret")), host=INSIDE, port=port):
        resolves([INTERNET], [INSIDE])
        assert naive(NAME, port) == b"secret", "the control: whoever resolves twice is led inside"

        resolver = resolves([INTERNET], [INSIDE])
        assert get(f"http://{NAME}:{port}/").body == b"public"
        assert resolver.asked == 1

        with pytest.raises(guarded_http.ForbiddenAddress):
            get(f"http://{NAME}:{port}/", max_bytes=10)  # the answer is the second one by now


def test_a_redirect_back_to_the_same_name_is_vetted_anew(resolves: Callable[..., Resolver]) -> None:
    heard = Heard()
    moved = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
    with server(saying(moved)) as port, server(saying(page(b"secret"), heard), host=INSIDE, port=port):
        resolves([INTERNET], [INSIDE])
        with pytest.raises(guarded_http.ForbiddenAddress) as caught:
            get(f"http://{NAME}:{port}/", max_redirects=3)

    assert caught.value.redirected and heard.requests == []


@pytest.mark.parametrize("addresses", [[INTERNET, INSIDE], [INSIDE, INTERNET], [INTERNET, "10.0.0.1"]])
def test_one_private_address_among_public_ones_is_refused_before_any_is_asked(
    resolves: Callable[..., Resolver], addresses: list[str]
) -> None:
    heard = Heard()
    with server(saying(page(b""), heard)) as port, server(saying(page(b""), heard), host=INSIDE, port=port):
        resolves(addresses)
        with pytest.raises(guarded_http.ForbiddenAddress):
            get(f"http://{NAME}:{port}/")

    assert heard.requests == []


# TLS


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority for a test, and a server's certificate by it."""

    trusted: Path
    served: Path

    def context(self, heard: Heard) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.served)
        context.sni_callback = lambda _, name, __: heard.names.append(name)
        return context


def make_authority(folder: Path, *names: x509.GeneralName, age: datetime.timedelta = datetime.timedelta()) -> Authority:
    now = datetime.datetime.now(datetime.UTC) - age
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    subjects = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("A test's CA", "A test's feed")]
    certificates = []
    for key, subject in zip(keys, subjects, strict=True):
        builder = x509.CertificateBuilder(subjects[0], subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        is_authority = key is keys[0]
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificates.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    trusted, served = folder / "ca.pem", folder / "server.pem"
    trusted.write_bytes(certificates[0])
    served.write_bytes(private + certificates[1])
    return Authority(trusted, served)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Authority], None]:
    """Let the system trust an authority, as an administrator would have it do."""

    def trust(authority: Authority) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.trusted))
        monkeypatch.setattr(guarded_http, "_tls_context", None)

    return trust


def test_over_tls_the_pinned_address_is_asked_by_the_name_that_was_given(
    resolves: Callable[..., Resolver], trusting: Callable[[Authority], None], tmp_path: Path
) -> None:
    authority, heard = make_authority(tmp_path, x509.DNSName(NAME)), Heard()
    trusting(authority)
    resolver = resolves([INTERNET], [INSIDE])

    with server(saying(page(b"by tls"), heard), tls=authority.context(heard)) as port:
        answer = get(f"https://{NAME}:{port}/hooks?a=1")

    assert (answer.status, answer.body, resolver.asked) == (200, b"by tls", 1)
    assert heard.names == [NAME], "SNI"
    assert heard.requests[0].startswith(b"GET /hooks?a=1 HTTP/1.1\r\n")
    assert f"Host: {NAME}:{port}\r\n".encode() in heard.requests[0]


@pytest.mark.parametrize("flaw", ["another name", "the address alone", "ran out", "not trusted"])
def test_a_certificate_that_does_not_vouch_for_the_name_is_refused_and_nothing_is_said(
    resolves: Callable[..., Resolver], trusting: Callable[[Authority], None], tmp_path: Path, flaw: str
) -> None:
    name: x509.GeneralName = x509.DNSName("other.example.org" if flaw == "another name" else NAME)
    if flaw == "the address alone":
        name = x509.IPAddress(ipaddress.ip_address(INTERNET))
    authority = make_authority(tmp_path, name, age=datetime.timedelta(days=9 if flaw == "ran out" else 0))
    if flaw != "not trusted":
        trusting(authority)
    resolves([INTERNET])
    heard = Heard()

    with (
        server(saying(page(b""), heard), tls=authority.context(heard)) as port,
        pytest.raises(guarded_http.Unreachable),
    ):
        get(f"https://{NAME}:{port}/")

    assert heard.requests == []


def test_a_redirect_from_a_public_page_to_a_private_image_is_refused(resolves: Callable[..., Resolver]) -> None:
    heard = Heard()
    with server(saying(page(b"secret"), heard), host=INSIDE) as inside:
        moved = f"HTTP/1.1 301 Moved\r\nLocation: http://{INSIDE}:{inside}/a.jpg\r\nContent-Length: 0\r\n\r\n".encode()
        with server(saying(moved)) as port:
            resolves([INTERNET])
            with pytest.raises(guarded_http.ForbiddenAddress) as caught:
                get(f"http://{NAME}:{port}/", max_redirects=3)

    assert caught.value.redirected and heard.requests == []


# Size and time


def pouring(*first: bytes, then: bytes) -> Talk:
    def talk(connection: Any) -> None:
        connection.recv(65536)
        for part in first:
            connection.sendall(part)
        while True:
            connection.sendall(then)

    return talk


def dripping(text: bytes) -> Talk:
    def talk(connection: Any) -> None:
        connection.recv(65536)
        for number in range(len(text)):
            connection.sendall(text[number : number + 1])
            time.sleep(0.05)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        pouring(b"HTTP/1.1 200 OK\r\n", then=b"X-Padding: " + b"x" * 60_000 + b"\r\n"),
        pouring(b"HTTP/1.1 200 OK\r\nX-Padding: ", then=b"x" * 10_000),
        pouring(b"HTTP/1.1 200 OK\r\n", then=b"X: y\r\n"),
        pouring(then=b"HTTP/1.1 100 Continue\r\n\r\n"),
        pouring(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=b"1;" + b"x" * 1000 + b"\r\na\r\n"),
        pouring(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", then=b"X-Trailer: y\r\n"),
        pouring(b"HTTP/1.1 200 OK\r\n\r\n", then=b"x" * 10_000),
    ],
    ids=["big headers", "one endless header", "many headers", "endless continue", "chunks", "trailers", "body"],
)
def test_an_answer_without_end_is_left_long_before_the_time_is_up(talk: Talk) -> None:
    began = time.monotonic()
    with server(talk) as port, pytest.raises((guarded_http.TooLarge, guarded_http.Unreachable)):
        get(f"http://{INTERNET}:{port}/", allow_private=True, deadline=20, read_timeout=20)

    assert time.monotonic() - began < 5


def test_the_beginning_of_a_wasteful_answer_is_enough_where_it_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server(pouring(head, then=b"1;" + b"x" * 1000 + b"\r\na\r\n")) as port:
        answer = get(f"http://{INTERNET}:{port}/", allow_private=True, cut=True)

    assert answer.status == 200 and set(answer.body) == {ord("a")}


@pytest.mark.parametrize(
    "talk",
    [
        dripping(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500),
        lambda connection: time.sleep(3),
    ],
    ids=["headers", "body", "silence"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_slow_drip_ends_at_the_deadline_with_and_without_tls(
    trusting: Callable[[Authority], None], tmp_path: Path, talk: Talk, scheme: str
) -> None:
    authority = make_authority(tmp_path, x509.IPAddress(ipaddress.ip_address(INTERNET)))
    trusting(authority)
    began = time.monotonic()

    tls = authority.context(Heard()) if scheme == "https" else None
    with server(talk, tls=tls) as port, pytest.raises(guarded_http.TooSlow):
        get(f"{scheme}://{INTERNET}:{port}/", allow_private=True, deadline=0.8)

    assert time.monotonic() - began < 2


def test_a_handshake_that_never_ends_is_given_up() -> None:
    began = time.monotonic()
    with server(lambda connection: time.sleep(3)) as port, pytest.raises(guarded_http.TooSlow):
        get(f"https://{INTERNET}:{port}/", allow_private=True, deadline=0.5)

    assert time.monotonic() - began < 2


def test_whoever_reads_nothing_is_given_up(trusting: Callable[[Authority], None], tmp_path: Path) -> None:
    authority = make_authority(tmp_path, x509.IPAddress(ipaddress.ip_address(INTERNET)))
    trusting(authority)
    began = time.monotonic()
    deaf = server(lambda connection: time.sleep(3), tls=authority.context(Heard()))
    with deaf as port, pytest.raises(guarded_http.TooSlow):
        guarded_http.request(
            "POST",
            f"https://{INTERNET}:{port}/",
            headers={},
            body=b"x" * 20_000_000,
            allow_private=True,
            connect_timeout=2,
            read_timeout=0.8,
            deadline=0.8,
            max_bytes=1000,
        )

    assert time.monotonic() - began < 2.5


def test_nothing_is_decompressed() -> None:
    packed, heard = gzip.compress(b"\0" * 10_000_000), Heard()
    assert len(packed) < 20_000
    with server(saying(page(packed, b"Content-Encoding: gzip"), heard)) as port:
        assert get(f"http://{INTERNET}:{port}/", allow_private=True).body == packed

    assert b"Accept-Encoding: identity\r\n" in heard.requests[0]


@pytest.mark.parametrize("port", [22, 25, 5432, 6379, 8000])
def test_a_port_that_is_not_listed_is_not_called(resolves: Callable[..., Resolver], port: int) -> None:
    resolver = resolves([INTERNET])
    with pytest.raises(guarded_http.ForbiddenPort):
        get(f"http://{NAME}:{port}/", ports=guarded_http.ALLOWED_PORTS)

    assert resolver.asked == 0
