"""Log lines: what they bear, what they never hold, and how they look."""

import io
import json
import logging
import logging.config
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.db import IntegrityError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from mask_social import correlation
from mask_social.celery import app
from mask_social.env import log_format
from mask_social.observability import logs, work
from mask_social.observability.middleware import FollowMiddleware
from moderation import links
from moderation.models import Post
from tests import cast

BASE = Path(__file__).resolve().parents[2]


class Written(io.StringIO):
    """What was logged."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def written() -> Iterator[Written]:
    """Log as a deployment does, into memory."""
    stream = Written()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Json())
    handler.addFilter(logs.Bearer())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("given", ["0af7651916cd43dd8448eb211c80319c", "Root=1-67891233", "a.b_c-1"])
def test_it_follows_the_id_that_a_request_brings(client: Client, given: str) -> None:
    answer = client.get("/healthz", headers={"x-request-id": given})
    assert (answer.headers["X-Request-Id"] == given) == (correlation.FORM.fullmatch(given) is not None)


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 65, "has space", "new\nline12", "quote'12345", "é2345678", "-1234567"]
)
def test_it_makes_a_new_id_where_the_given_one_is_odd(given: str) -> None:
    request = RequestFactory().get("/healthz")
    request.META["HTTP_X_REQUEST_ID"] = given
    seen: list[str] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(correlation.current())
        return HttpResponse()

    new = FollowMiddleware(answer)(request).headers["X-Request-Id"]
    assert new != given
    assert seen == [new]
    assert re.fullmatch(r"req_[0-9a-z]{26}", new)
    assert correlation.FORM.fullmatch(new)
    assert correlation.current() == ""


def test_each_request_has_one_line(client: Client, written: Written) -> None:
    client.get("/nowhere?password=1234", headers={"x-request-id": "a-request-id"})
    (row,) = [row for row in written.rows if row["logger"] == "mask_social.http"]
    assert row["duration_ms"] >= 0
    expected = {"level": "INFO", "message": "GET /nowhere 404", "method": "GET", "path": "/nowhere", "status": 404}
    assert expected.items() <= row.items()
    assert row["request_id"] == "a-request-id"
    assert "1234" not in written.getvalue()


@pytest.mark.django_db
def test_the_line_names_the_platform_and_not_its_key(client: Client, written: Written) -> None:
    platform = cast.make_platform()
    key = cast.make_key(platform)
    client.get("/api/v1/posts/post_unknown", headers={"authorization": f"Bearer {key}"})
    (row,) = [row for row in written.rows if row["logger"] == "mask_social.http"]
    assert (row["platform"], row["route"], row["status"]) == (platform.slug, "post", 404)
    assert key not in written.getvalue()


@pytest.mark.django_db
def test_a_link_that_opens_a_photo_is_not_in_the_log(client: Client, written: Written) -> None:
    client.get("/photos/a-token-that-opens-something")
    assert [row["path"] for row in written.rows if row["logger"] == "mask_social.http"] == ["/photos/…"]
    assert "a-token-that-opens" not in written.getvalue()


def fail(token: str) -> links.Link:
    """Answer with what nobody foresaw."""
    raise RuntimeError("It went wrong at /photos/a-token-that-opens-something?size=small.")


@pytest.mark.parametrize("form", [logs.Json, logs.Text])
def test_nor_is_it_where_a_view_fails_and_django_tells_of_it(
    client: Client, form: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, django = io.StringIO(), logging.getLogger("django.request")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form())
    monkeypatch.setattr(links, "read", fail)
    client.raise_request_exception = False
    django.addHandler(handler)
    try:
        assert client.get("/photos/a-token-that-opens-something").status_code == 500
        django.error("GET %s: %s", "/api/v1/photos/pho_1/link", "//host/photos/a-token-that-opens/")
    finally:
        django.removeHandler(handler)
    assert "Internal Server Error: /photos/…" in stream.getvalue()
    assert "RuntimeError: It went wrong at /photos/…?size" in stream.getvalue()
    assert "/api/v1/photos/pho_1/link: //host/photos/…/" in stream.getvalue()  # an id opens nothing
    assert "a-token-that-opens" not in stream.getvalue()


def test_nor_is_it_where_something_answers_before_a_view_is_looked_for(
    client: Client, written: Written, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get("/photos/a-token-that-opens-something").status_code == 301
    assert [row["path"] for row in written.rows if row["logger"] == "mask_social.http"] == ["/photos/…"]


@pytest.mark.django_db
def test_what_machines_ask_every_few_seconds_is_not_told(client: Client, written: Written) -> None:
    client.get("/healthz")
    client.get("/metrics")
    assert [row for row in written.rows if row["logger"] == "mask_social.http"] == []


def test_a_line_bears_what_is_known_at_the_time(written: Written) -> None:
    with correlation.bound("a-request-id"), logs.bound(post_id="post_1"), logs.bound(photo_id="pho_1"):
        logging.getLogger("any").info("Seen.", extra={"post_id": "post_2"})
    logging.getLogger("any").info("Later.")
    first, second = written.rows
    assert (first["request_id"], first["post_id"], first["photo_id"]) == ("a-request-id", "post_2", "pho_1")
    assert second.keys() == {"time", "level", "logger", "message"}


@pytest.mark.django_db
def test_an_error_is_told_without_the_row_that_the_database_quotes(written: Written) -> None:
    post, caption = cast.make_post(), "two lines,\na private caption"  # a traceback shows the line that follows
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        Post.objects.filter(pk=post.pk).update(caption=caption, status="withdrawn")
    assert "a private caption" in str(refused.value)  # the control: it would be told
    try:
        raise RuntimeError("It went wrong.") from refused.value
    except RuntimeError:
        logging.getLogger("any").exception("Failed.")
    logging.getLogger("any").error("Failed: %s", refused.value)
    assert "violates check constraint" in written.rows[-2]["error"]
    assert "violates check constraint" in written.rows[-1]["message"]
    assert "private" not in str(written.rows)
    assert connection.vendor == "postgresql"


def test_text_is_one_line_to_read_with_the_id_at_its_end() -> None:
    record = logging.LogRecord("any", logging.INFO, __file__, 1, "Seen %d.", (3,), None)
    with correlation.bound("a-request-id"):
        assert logs.Bearer().filter(record)
    assert logs.Text().format(record).endswith(" INFO any Seen 3. [a-request-id]")


@pytest.mark.parametrize(
    ("environment", "form"),
    [
        ({}, "text"),
        ({"MASK_SOCIAL_SECRET_KEY": "deployed"}, "json"),
        ({"MASK_SOCIAL_SECRET_KEY": "deployed", "MASK_SOCIAL_LOG_FORMAT": "text"}, "text"),
        ({"MASK_SOCIAL_LOG_FORMAT": "json"}, "json"),
    ],
)
def test_a_deployment_logs_json_and_a_checkout_text(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], form: str
) -> None:
    for name in ("MASK_SOCIAL_SECRET_KEY", "MASK_SOCIAL_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    for name, given in environment.items():
        monkeypatch.setenv(name, given)
    assert log_format() == form


def test_an_unknown_format_is_refused_by_name() -> None:
    environment = os.environ | {"MASK_SOCIAL_LOG_FORMAT": "yaml"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=BASE, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "MASK_SOCIAL_LOG_FORMAT must be json or text" in done.stderr


class _Request:
    """What Celery gives a task of its message."""

    def __init__(self, headers: dict[str, Any]) -> None:
        self.__dict__.update(headers)


def test_a_message_carries_the_id_to_the_worker(written: Written) -> None:
    headers: dict[str, Any] = {}
    with correlation.bound("a-request-id"):
        work.send_along(headers=headers)
    task: Any = type("Task", (), {"name": "some.task", "request": _Request(headers)})()

    work.begin_task(task_id="1", task=task)
    assert correlation.current() == "a-request-id"
    logging.getLogger("any").info("Inside.")
    work.end_task(task_id="1", task=task, args=("pho_01m7zwasct1rx9y37jjmkkne90",), state="SUCCESS")
    assert correlation.current() == ""

    inside, ended = written.rows
    for row in (inside, ended):
        assert (row["request_id"], row["task"], row["task_id"]) == ("a-request-id", "some.task", "1")
    assert (ended["outcome"], ended["about"]) == ("success", "pho_01m7zwasct1rx9y37jjmkkne90")


def test_a_task_that_nobody_asked_for_follows_nobody(written: Written) -> None:
    headers: dict[str, Any] = {}
    work.send_along(headers=headers)
    assert headers == {}
    task: Any = type("Task", (), {"name": "some.sweep", "request": _Request({})})()
    work.begin_task(task_id="2", task=task)
    work.end_task(task_id="2", task=task, args=("a caption",), state="FAILURE")
    (row,) = written.rows
    assert "request_id" not in row
    assert "about" not in row
    assert row["outcome"] == "failure"


def test_workers_and_beat_log_as_the_web_does() -> None:
    from celery import signals

    assert isinstance(app, Celery)
    assert work.configure_logging in [receiver() for _, receiver in signals.setup_logging.receivers]


def test_gunicorn_logs_as_we_do_and_tells_of_no_request_itself() -> None:
    code = "from mask_social.observability import gunicorn as g; import json; print(json.dumps([g.accesslog, "
    code += "str(g.logconfig_dict['formatters']['line']['()'])]))"
    environment = os.environ | {"MASK_SOCIAL_LOG_FORMAT": "json"}
    done = subprocess.run([sys.executable, "-c", code], cwd=BASE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    access, formatter = json.loads(done.stdout)
    assert access is None
    assert "Json" in formatter
