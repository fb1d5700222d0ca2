"""Photos named by URL: fetched from a real server, refused when the address, the size or the time is wrong."""

import contextlib
import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from pytest_django.fixtures import Settings

from mask_social import guarded_http, public_addresses
from moderation.models import Photo
from tests import cast
from tests.moderation.calls import Caller, photo, problem

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
ANY_PORT = range(1, 65536)


@dataclass(slots=True)
class Site:
    """A web server on loopback that does as each path is told, and remembers who asked."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


def whole(content: bytes, content_type: str = "image/jpeg", status: int = 200) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(to: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(4000):
        handler.wfile.write(b"\0" * 65536)


def dripping_body(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"\0")
        time.sleep(0.05)


def dripping_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * 200:
        handler.wfile.write(bytes([letter]))
        time.sleep(0.05)


def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def cut_short(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(cast.make_jpeg())


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked.append(self.path)
            with contextlib.suppress(OSError):  # the client had enough, which is what some tests are about
                shown.answers[self.path](self)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shown = Site(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield shown
    server.shutdown()
    server.server_close()


@pytest.fixture
def any_port(settings: Settings) -> None:
    """Let photos be fetched from the port that the test's site got."""
    settings.OUTGOING_PORTS = ANY_PORT


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch, any_port: None) -> None:
    """Let 127.0.0.1, where the test's site is, pass for the internet; everything else is judged as always."""
    judge = public_addresses.is_public
    site = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(guarded_http, "is_public", lambda address: address == site or judge(address))


def get(url: str, **changes: object) -> guarded_http.GuardedResponse:
    limits: dict[str, object] = {
        "headers": {},
        "allow_private": False,
        "connect_timeout": 1.0,
        "read_timeout": 1.0,
        "deadline": 1.5,
        "max_bytes": 100_000,
        "max_redirects": 3,
        "ports": ANY_PORT,
    }
    return guarded_http.request("GET", url, **(limits | changes))  # type: ignore[arg-type]  # tests vary any of them


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),  # noqa: S104 - an address to be refused, not to listen on
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1", "fe80::1%eth0"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1", "::ffff:8.8.8.8", "2002:808:808::1", "168.63.129.16"),
    ],
)
def test_an_address_that_is_not_public_is_known_as_such(address: str) -> None:
    assert not public_addresses.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_known_as_such(address: str) -> None:
    assert public_addresses.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/a", "file:///etc/passwd", "gopher://example.org", "//example.org/a", "example.org", ""),
        *(
            "http://",
            "http:///a",
            "http://user:secret@example.org/",
            "http://example.org:0/",
            "http://example.org:99999/",
        ),
        *(
            "http://example.org/a b",
            "http://example.org/\r\nX: y",
            "http://exa\\mple.org/",
            "http://[::1/",
            "http://a..b/",
        ),
        *("http://[fe80::1%25eth0]/", "javascript:alert(1)", "http://" + "a" * 300 + ".org/"),
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(guarded_http.InvalidUrl):
        get(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"]
)
def test_no_spelling_of_loopback_is_reached(site: Site, host: str) -> None:
    site.answers["/"] = whole(b"secret")

    with pytest.raises(guarded_http.ForbiddenAddress):
        get(site.url("/", host))

    assert site.asked == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    monkeypatch.setattr(
        guarded_http, "_getaddrinfo", lambda *args: [ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("127.0.0.1")]
    )
    with pytest.raises(guarded_http.ForbiddenAddress):
        get(site.url("/", "rebind.example.org"))


@pytest.mark.usefixtures("loopback_is_public")
def test_the_address_that_was_vetted_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    site.answers["/"] = whole(b"here")
    answers = [[ipaddress.ip_address("127.0.0.1")], [ipaddress.ip_address("10.0.0.1")]]
    monkeypatch.setattr(guarded_http, "_getaddrinfo", lambda *args: answers.pop(0))

    assert get(site.url("/", "rebind.example.org")).body == b"here"

    assert len(answers) == 1, "the name was resolved once"


def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.answers["/"] = whole(b"direct")

    assert get(site.url("/"), allow_private=True).body == b"direct"


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize("answer", [dripping_body, dripping_headers, silent])
def test_a_slow_answer_ends_at_the_deadline(site: Site, answer: Answer) -> None:
    site.answers["/"] = answer
    started = time.monotonic()

    with pytest.raises(guarded_http.TooSlow):
        get(site.url("/"), deadline=0.6)

    assert time.monotonic() - started < 1.2


@pytest.mark.usefixtures("loopback_is_public")
def test_a_slow_resolver_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr(guarded_http, "_getaddrinfo", lambda *args: time.sleep(3))
    started = time.monotonic()

    with pytest.raises(guarded_http.TooSlow):
        get(site.url("/"), deadline=0.3)

    assert time.monotonic() - started < 1


@pytest.mark.usefixtures("loopback_is_public")
def test_a_circle_of_redirects_ends(site: Site) -> None:
    site.answers["/"] = redirect("/")

    with pytest.raises(guarded_http.TooManyRedirects):
        get(site.url("/"))

    assert len(site.asked) == 4


@pytest.mark.usefixtures("loopback_is_public")
def test_without_leave_to_follow_a_redirect_is_an_answer(site: Site) -> None:
    site.answers["/"] = redirect("/elsewhere")

    assert get(site.url("/"), max_redirects=0).status == 302

    assert site.asked == ["/"]


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_is_public")
def test_a_post_of_urls_keeps_the_order_and_where_photos_came_from(caller: Caller, site: Site) -> None:
    site.answers["/1"] = whole(cast.make_jpeg(50, 40))
    site.answers["/2"] = redirect("/3")
    site.answers["/3"] = whole(cast.make_jpeg(70, 40), "application/octet-stream")

    response = caller.send_json({"author_id": "ann", "photo_urls": [site.url("/1"), site.url("/2")]})

    assert response.status_code == 202, response.json()
    assert [row["width"] for row in response.json()["photos"]] == [50, 70]
    assert list(Photo.objects.values_list("source_url", flat=True)) == [site.url("/1"), site.url("/2")]


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_is_public")
def test_files_and_urls_make_one_post(caller: Caller, site: Site) -> None:
    site.answers["/1"] = whole(cast.make_jpeg(50, 40))

    response = caller.send(photo(), photo_urls=[site.url("/1")])

    assert [row["width"] for row in response.json()["photos"]] == [64, 50]


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_is_public", "nothing_changes")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (endless, "url_too_large"),
        (whole(b"\0" * (15 * 1024**2 + 1)), "url_too_large"),
        (dripping_body, "url_too_slow"),
        (silent, "url_too_slow"),
        (cut_short, "url_unreachable"),
        (redirect("http://10.0.0.1/"), "url_redirect_not_public"),
        (redirect("http://169.254.169.254/latest/meta-data"), "url_redirect_not_public"),
        (redirect("http://rebound.example.org/"), "url_redirect_not_public"),
        (redirect("file:///etc/passwd"), "url_invalid"),
        (redirect("http://[::1"), "url_invalid"),
        (redirect("/bad"), "url_too_many_redirects"),
        (whole(b"gone", status=404), "url_bad_status"),
        (whole(b"<html>", "text/html"), "not_an_image"),
        (whole(b""), "empty_file"),
        (whole(cast.make_jpeg(), "image/png"), "format_mismatch"),
    ],
)
def test_a_bad_url_is_refused_with_its_code_and_leaves_nothing(
    caller: Caller, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, answer: Answer, code: str
) -> None:
    settings.FETCH_DEADLINE_SECONDS = 1.5
    resolve = guarded_http._getaddrinfo
    rebound = ipaddress.ip_address("10.0.0.1")
    monkeypatch.setattr(
        guarded_http,
        "_getaddrinfo",
        lambda host, port: [rebound] if host == "rebound.example.org" else resolve(host, port),
    )
    site.answers["/good"] = whole(cast.make_jpeg())
    site.answers["/bad"] = answer

    response = caller.send_json({"author_id": "ann", "photo_urls": [site.url("/good"), site.url("/bad")]})

    assert problem(response) == (400, code, ["/photo_urls/1"])


@pytest.mark.django_db
@pytest.mark.usefixtures("nothing_changes", "any_port")
def test_a_private_address_is_refused_and_never_asked(caller: Caller, site: Site) -> None:
    response = caller.send_json({"author_id": "ann", "photo_urls": [site.url("/")]})

    assert problem(response) == (400, "url_not_public", ["/photo_urls/0"])
    assert site.asked == []


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_is_public", "nothing_changes")
@pytest.mark.parametrize("hidden", [False, True])
def test_a_port_that_is_not_listed_is_never_asked(caller: Caller, site: Site, settings: Settings, hidden: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        settings.OUTGOING_PORTS = [site.port]
        url = f"http://127.0.0.1:{other.getsockname()[1]}/"
        site.answers["/"] = redirect(url)

        response = caller.send_json({"author_id": "ann", "photo_urls": [site.url("/") if hidden else url]})

        code = "url_redirect_not_public" if hidden else "url_port_not_allowed"
        assert problem(response) == (400, code, ["/photo_urls/0"])
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.django_db
def test_a_developer_may_allow_private_addresses(caller: Caller, site: Site, settings: Settings) -> None:
    settings.ALLOW_PRIVATE_ADDRESSES = True
    site.answers["/"] = whole(cast.make_jpeg())

    assert caller.send_json({"author_id": "ann", "photo_urls": [site.url("/")]}).status_code == 202


@pytest.mark.django_db
@pytest.mark.usefixtures("nothing_changes")
def test_where_nobody_listens_is_unreachable(caller: Caller, settings: Settings) -> None:
    settings.ALLOW_PRIVATE_ADDRESSES = True
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    response = caller.send_json({"author_id": "ann", "photo_urls": [f"http://127.0.0.1:{port}/"]})

    assert problem(response) == (400, "url_unreachable", ["/photo_urls/0"])


@pytest.mark.django_db
@pytest.mark.usefixtures("loopback_is_public", "nothing_changes")
def test_the_time_is_for_all_urls_together(caller: Caller, site: Site, settings: Settings) -> None:
    settings.FETCH_DEADLINE_SECONDS = 1.0

    def late(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.4)
        whole(cast.make_jpeg())(handler)

    site.answers["/"] = late
    response = caller.send_json({"author_id": "ann", "photo_urls": [site.url("/")] * 5})

    assert problem(response) == (400, "url_too_slow", ["/photo_urls/2"])
