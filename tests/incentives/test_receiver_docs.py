"""The programs on the page for receivers: each is run against messages of ours and against those of others."""

import base64
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import transaction
from django.utils import timezone
from standardwebhooks import Webhook

from incentives import events, signing, webhooks
from incentives.models import Delivery, Event, SigningKey, WebhookEndpoint
from tests.cast import make_author, make_post
from tests.code_in_docs import DOCS, code_of, module_of, write_code
from tests.incentives.builders import make_endpoint, secret_of
from tests.incentives.receiver import Receiver

pytestmark = pytest.mark.django_db

PAGE = "webhooks.md"
TERMS = webhooks.Terms(allow_private=True, timeout_seconds=5, retry_seconds=[10])


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it comes over the wire, and by what it is believed."""

    key: str
    headers: dict[str, str]
    body: bytes

    def with_header(self, name: str, value: str) -> "Message":
        return replace(self, headers=self.headers | {name: value})


Verifier = Callable[[Message], bool]


def message(*, scheme: str = "v1", age: timedelta = timedelta(), endpoint: WebhookEndpoint | None = None) -> Message:
    """Sign an event as a delivery does."""
    endpoint = endpoint or make_endpoint()
    post = make_post(photos=())
    with transaction.atomic():
        event = events.record(Event.Type.POST_FAILED, post, {"post_id": post.pk, "note": "Ünïcode ✓ 'quoted' $x"})
    body = webhooks.body_of(event)
    headers = dict(webhooks.signed_headers(endpoint, event, body, timezone.now() - age))
    key = endpoint.signing_keys.get(scheme=scheme, expires_at=None)
    return Message(key.public_key or key.secret, headers, body)


def by_python(name: str) -> Verifier:
    program: Any = module_of(PAGE, name)

    def verify(sent: Message) -> bool:
        try:
            event = program.verify(sent.key, sent.headers, sent.body)
        except Exception as error:
            assert type(error).__name__ in {"ValueError", "WebhookVerificationError", "Error"}, error
            return False
        assert event == json.loads(sent.body)
        return True

    return verify


def by_node(folder: Path) -> Verifier:
    write_code(PAGE, "verify.mjs", folder)
    harness = folder / "harness.mjs"
    harness.write_text(
        'import { readFileSync } from "node:fs"; import { verify } from "./verify.mjs";'
        "const { key, headers, body } = JSON.parse(readFileSync(0));"
        "process.stdout.write(JSON.stringify(verify(key, headers, Buffer.from(body, 'base64'))));"
    )

    def verify(sent: Message) -> bool:
        told = {"key": sent.key, "headers": sent.headers, "body": base64.b64encode(sent.body).decode()}
        run = subprocess.run(["node", str(harness)], input=json.dumps(told).encode(), capture_output=True)
        assert run.returncode == 0 or b"no signature holds" in run.stderr or b"too old" in run.stderr, run.stderr
        assert run.returncode or json.loads(run.stdout) == json.loads(sent.body)
        return run.returncode == 0

    return verify


def by_shell(folder: Path) -> Verifier:
    program = write_code(PAGE, "verify.sh", folder)

    def verify(sent: Message) -> bool:
        body = folder / "body"
        body.write_bytes(sent.body)
        values = [sent.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
        run = subprocess.run(["sh", str(program), sent.key, *values, str(body)], capture_output=True)
        assert run.returncode == 0 or run.stderr in {b"no signature holds\n", b"too old\n"}, run.stderr
        return run.returncode == 0

    return verify


@pytest.fixture(params=["verify.py", "verify_library.py", "verify.mjs v1", "verify.mjs v1a", "verify.sh"])
def judged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Verifier]:
    """A scheme, and a program of the page that verifies it."""
    name, _, scheme = request.param.partition(" ")
    match Path(name).suffix:
        case ".py":
            return "v1", by_python(name)
        case ".mjs":
            if shutil.which("node") is None:
                pytest.skip("Node.js is not installed")
            return scheme, by_node(tmp_path)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return "v1", by_shell(tmp_path)


def test_a_program_of_the_page_believes_us_and_nobody_else(judged: tuple[str, Verifier]) -> None:
    scheme, verify = judged
    sent = message(scheme=scheme)
    assert verify(sent)

    signatures = sent.headers["webhook-signature"].split(" ")
    [ours] = [part for part in signatures if part.startswith(f"{scheme},")]
    refused = {
        "another body": replace(sent, body=sent.body.replace(b"post.failed", b"post.paid!!")),
        "a longer body": replace(sent, body=sent.body + b" "),
        "another id": sent.with_header("webhook-id", "evt_other"),
        "a later timestamp": sent.with_header("webhook-timestamp", str(int(sent.headers["webhook-timestamp"]) + 1)),
        "another secret": replace(sent, key=message(scheme=scheme).key),
        "a signature cut short": sent.with_header("webhook-signature", ours[:-8]),
        "no signature": sent.with_header("webhook-signature", f"{scheme},"),
        "nothing at all": sent.with_header("webhook-signature", ""),
        "the scheme of the other": sent.with_header("webhook-signature", "v2" + ours.removeprefix(scheme)),
        "an old message sent again": message(scheme=scheme, age=timedelta(minutes=6)),
        "one from the future": message(scheme=scheme, age=-timedelta(minutes=6)),
    }
    assert {name: verify(forged) for name, forged in refused.items()} == dict.fromkeys(refused, False)


def test_a_program_of_the_page_believes_the_old_key_and_the_new_while_one_is_replaced(
    judged: tuple[str, Verifier],
) -> None:
    scheme, verify = judged
    endpoint = make_endpoint()
    old = message(scheme=scheme, endpoint=endpoint).key
    signing.rotate(endpoint, SigningKey.Scheme(scheme), timezone.now())

    sent = message(scheme=scheme, endpoint=endpoint)

    assert sent.key != old
    assert verify(sent) and verify(replace(sent, key=old))
    signing.rotate(endpoint, SigningKey.Scheme(scheme), timezone.now(), expire_old_now=True)
    assert not verify(replace(message(scheme=scheme, endpoint=endpoint), key=old))


def test_the_message_on_the_page_is_signed_as_it_says() -> None:
    head, _, body = code_of(PAGE, "message.txt").rstrip("\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    page = (DOCS / PAGE).read_text()
    [secret] = re.findall(r"`(whsec_[A-Za-z0-9+/]{43}=)`", page)
    [public] = re.findall(r"`(whpk_[A-Za-z0-9+/]{43}=)`", page)
    identifier, timestamp = headers["webhook-id"], int(headers["webhook-timestamp"])
    shared, _, pair = headers["webhook-signature"].partition(" ")

    assert json.loads(body)["id"] == identifier and json.loads(body)["data"]
    assert shared == Webhook(secret).sign(identifier, datetime.fromtimestamp(timestamp, UTC), body)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(pair.removeprefix("v1a,")), f"{identifier}.{timestamp}.{body}".encode())


# The receiver


@dataclass(frozen=True, slots=True)
class Running:
    """docs/receiver.py as a process, and what it keeps between its lives."""

    endpoint: WebhookEndpoint
    url: str
    process: subprocess.Popen[str]

    def boosts(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url, timeout=5) as answer:  # noqa: S310 - it is http
            found: dict[str, Any] = json.load(answer)
            return found


def start(endpoint: WebhookEndpoint, database: Path) -> Running:
    command = [sys.executable, str(DOCS / "receiver.py"), secret_of(endpoint), "0", str(database)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().rpartition(" ")[2].strip()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(url=url)
    return Running(endpoint, url, process)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = start(make_endpoint(), tmp_path / "inbox.db")
    yield found
    found.process.kill()
    found.process.wait()


def boost_events(endpoint: WebhookEndpoint, *types: Event.Type) -> list[Delivery]:
    """Tell of one post's boost, without a boost."""
    post = make_post(make_author(endpoint.platform), photos=())
    told = []
    for number, type_ in enumerate(types):
        with transaction.atomic():
            told.append(events.record(type_, post, {"post_id": post.pk, "factor": 1.5 + number}))
    return [event.deliveries.get() for event in told]


def wait_for(running: Running, wanted: dict[str, float]) -> None:
    ends = time.monotonic() + 5
    while {post_id: data["factor"] for post_id, data in running.boosts().items()} != wanted:
        assert time.monotonic() < ends, running.boosts()
        time.sleep(0.02)


def again(delivery: Delivery) -> bool:
    """Send it, also when it was delivered."""
    Delivery.objects.filter(pk=delivery.pk).update(status="pending", delivered_at=None, due_at=timezone.now())
    return webhooks.deliver(delivery.pk, TERMS)


STARTED, ENDED = Event.Type.BOOST_STARTED, Event.Type.BOOST_ENDED


def test_the_receiver_of_the_page_takes_each_event_once_and_in_whatever_order(running: Running) -> None:
    first, second, third = boost_events(running.endpoint, STARTED, ENDED, STARTED)
    gone_start, gone_end = boost_events(running.endpoint, STARTED, ENDED)

    for delivery in (third, gone_end, first, first, second, gone_start, third, second):
        assert again(delivery)

    wait_for(running, {first.event.subject_id: 3.5})


def test_the_receiver_of_the_page_takes_nothing_from_others(running: Running) -> None:
    [delivery] = boost_events(running.endpoint, STARTED)
    SigningKey.objects.filter(endpoint=running.endpoint, scheme="v1").update(secret=secret_of(make_endpoint()))

    assert again(delivery) is False

    attempt = delivery.attempts.get()
    assert (attempt.status_code, attempt.response) == (400, "no signature holds")
    assert running.boosts() == {}


def test_the_receiver_of_the_page_knows_after_a_crash_what_it_answered_for(running: Running, tmp_path: Path) -> None:
    [delivery] = boost_events(running.endpoint, STARTED)
    assert again(delivery)
    running.process.kill()
    running.process.wait()

    reborn = start(running.endpoint, tmp_path / "inbox.db")
    try:
        wait_for(reborn, {delivery.event.subject_id: 1.5})
    finally:
        reborn.process.kill()
        reborn.process.wait()


def test_a_message_made_with_curl_is_taken_by_the_receiver_of_the_page(running: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("curl or openssl is not installed")
    program = write_code(PAGE, "send.sh", tmp_path)
    body = '{"id": "evt_1", "type": "boost.started", "sequence": 1, "data": {"post_id": "post_é", "factor": 2}}'
    secret = secret_of(running.endpoint)

    def send(key: str) -> int:
        return subprocess.run(["sh", str(program), key, running.url, body], capture_output=True).returncode

    assert send(secret_of(make_endpoint())) == 22, "curl's word for an answer of 400"
    assert running.boosts() == {}
    assert send(secret) == 0
    wait_for(running, {"post_é": 2})


def test_what_curl_sends_is_what_the_page_says_we_send(tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("openssl") is None:
        pytest.skip("curl or openssl is not installed")
    program, secret = write_code(PAGE, "send.sh", tmp_path), secret_of(make_endpoint())
    with Receiver() as receiver:
        subprocess.run(["sh", str(program), secret, receiver.url, '{"type":"x"}'], check=True)

    [request] = receiver.received
    assert module_of(PAGE, "verify.py").verify(secret, request.headers, request.body) == {"type": "x"}
