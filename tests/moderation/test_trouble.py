"""Disks that are full, storage and databases that go away: said so, and nothing lost or left behind."""

import errno
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import kombu.exceptions
import psycopg
import pytest
import redis
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db.backends.postgresql.base import DatabaseWrapper
from django.test import Client
from pytest_django.fixtures import Settings

import incentives.models
import incentives.tasks
from mask_social import broker, clock
from moderation import analysis, files, inference, overload, tasks
from moderation.models import Analysis, Photo, Platform, Post
from tests import cast
from tests.moderation.calls import Caller, photo, problem, world

COUNT = "SELECT count(*) FROM moderation_post"
_WHERE = {"dbname", "user", "password", "host", "port"}
TERMS = analysis.Terms(lease=timedelta(seconds=30), max_attempts=3)


class FullDisk(FileSystemStorage):
    """A disk that takes so many bytes of a file and no more."""

    room = 500

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.read()[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class Away(FileSystemStorage):
    """A network folder whose server is gone."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def _save(self, name: str, content: Any) -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def delete(self, name: str) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


@pytest.fixture
def use_storage(settings: Settings, media: Path) -> Callable[[type], None]:
    def use(kind: type) -> None:
        settings.STORAGES = settings.STORAGES | {
            "default": {"BACKEND": f"{__name__}.{kind.__name__}", "OPTIONS": {"location": media, "base_url": None}}
        }

    return use


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse to write more than that into a file, half of it written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stored(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", [FullDisk, Away])
def test_a_storage_that_takes_nothing_is_said_and_leaves_nothing(
    caller: Caller, media: Path, use_storage: Callable[[type], None], kind: type
) -> None:
    before = world()
    use_storage(kind)

    answer = caller.send(photo(), idempotency_key="again")

    assert problem(answer) == (503, "storage_unavailable", [])
    assert int(answer["Retry-After"]) > 0
    assert stored(media) == []
    assert world() == before

    use_storage(FileSystemStorageAgain)
    assert caller.send(photo(), idempotency_key="again").status_code == 202, "the key is free again"


class FileSystemStorageAgain(FileSystemStorage):
    pass


def test_a_file_that_the_kernel_cuts_off_leaves_nothing(caller: Caller, media: Path) -> None:
    before = world()
    with files_of_at_most(300):
        control = media / "control"
        with pytest.raises(OSError, match="too large"):
            control.write_bytes(b"x" * 1000)
        assert control.stat().st_size == 300, "the control: a half is there"
        control.unlink()
        answer = caller.send(photo())
    assert problem(answer) == (503, "storage_unavailable", [])
    assert stored(media) == []
    assert world() == before


def test_of_several_photos_none_stays_when_the_last_has_no_room(
    caller: Caller, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = default_storage.save, iter(range(10))

    def save(name: str, content: Any) -> str:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(name, content)

    with monkeypatch.context() as patch:
        patch.setattr(default_storage, "save", save)
        answer = caller.send(*[photo(cast.make_jpeg(color=(n, n, n))) for n in range(3)])
    assert problem(answer)[1] == "storage_unavailable"
    assert stored(media) == []


@pytest.fixture
def waiting(media: Path, settings: Settings, db: None) -> Iterator[Analysis]:
    """A photo of today that waits, and an analyzer of the tests."""
    settings.ANALYZER = "tests.moderation.analyzers.Foreseen"
    inference.reset()
    post = cast.make_post()
    row = Photo.objects.get(post=post)
    with default_storage.open(str(row.file.name)) as file:
        row.file.name = files.store(file.read())
    row.save(update_fields=["file"])
    yield Analysis.objects.get(photo=row)
    inference.reset()


def test_a_storage_that_is_away_costs_a_photo_no_try(
    waiting: Analysis, use_storage: Callable[[type], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(tasks.analyze_photo, "delay", queued.append)
    use_storage(Away)
    for _ in range(TERMS.max_attempts + 2):
        analysis.run(waiting.pk, TERMS)
        waiting.refresh_from_db()
        assert (waiting.status, waiting.attempts) == (Analysis.Status.PENDING, 0)
        assert clock.now() + TERMS.lease * 0.9 < waiting.requeue_at < clock.now() + TERMS.lease * 1.1

    use_storage(FileSystemStorageAgain)
    analysis.run(waiting.pk, TERMS)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempts) == (Analysis.Status.DONE, 1)


def test_a_folder_that_is_not_mounted_costs_a_photo_no_try(waiting: Analysis, media: Path) -> None:
    media.rename(media.with_name("elsewhere"))
    media.mkdir()
    analysis.run(waiting.pk, TERMS)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempts) == (Analysis.Status.PENDING, 0)


def test_a_photo_that_is_gone_while_others_of_its_day_are_there_has_failed(waiting: Analysis) -> None:
    files.store(b"another")
    default_storage.delete(str(waiting.photo.file.name))
    analysis.run(waiting.pk, TERMS)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.failure_code) == (Analysis.Status.FAILED, "photo_missing")


def test_a_photo_that_cannot_be_read_for_a_day_fails_in_the_end(
    waiting: Analysis, use_storage: Callable[[type], None]
) -> None:
    use_storage(Away)
    Post.objects.filter(photos=waiting.pk).update(received_at=clock.now() - timedelta(days=2))
    for _ in range(TERMS.max_attempts):
        analysis.run(waiting.pk, TERMS)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.failure_code) == (Analysis.Status.FAILED, "storage_unavailable")


@pytest.mark.django_db(transaction=True)
def test_a_post_that_stands_keeps_its_files_though_its_commit_seemed_to_fail(
    caller: Caller, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, calls = DatabaseWrapper._commit, list[int]()  # type: ignore[attr-defined]  # not in the stubs

    def commit_and_lose(self: Any) -> None:
        brings_a_post = self.connection.execute(COUNT).fetchone()[0]
        commit(self)
        if brings_a_post and not calls:
            calls.append(1)
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(DatabaseWrapper, "_commit", commit_and_lose)
    answer = caller.send(photo(), idempotency_key="once")
    assert calls
    assert answer.status_code == 202
    post = Post.objects.get()
    assert answer.json()["id"] == post.id
    assert len(stored(media)) == 1

    again = caller.send(photo(), idempotency_key="once")
    assert (again.status_code, again.json()["id"]) == (202, post.id)


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_nobody_knows_of_leaves_its_files_to_the_sweep(
    caller: Caller, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, killed = DatabaseWrapper._commit, list[int]()  # type: ignore[attr-defined]  # not in the stubs

    def lose_and_commit(self: Any) -> None:
        pid = self.connection.info.backend_pid
        if not killed and self.connection.execute(COUNT).fetchone()[0]:
            killed.append(pid)
            with psycopg.connect(**{k: v for k, v in self.get_connection_params().items() if k in _WHERE}) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        commit(self)

    monkeypatch.setattr(DatabaseWrapper, "_commit", lose_and_commit)
    answer = caller.send(photo())

    assert killed
    assert problem(answer) == (503, "database_unavailable", [])
    assert int(answer["Retry-After"]) > 0
    assert Post.objects.count() == 0
    [file] = stored(media)
    assert files.sweep().names == (), "it may be of a request at work"
    grow_old(file)
    assert len(files.sweep().names) == 1
    assert stored(media) == []


def grow_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_files_that_no_row_names_are_swept_after_a_day(waiting: Analysis, media: Path) -> None:
    name = str(waiting.photo.file.name)
    old, new = (files.store(b"x") for _ in range(2))
    grow_old(media / old, media / name)

    assert files.sweep(dry_run=True).names == (old,)
    assert default_storage.exists(old)
    assert files.sweep().names == (old,)

    assert not default_storage.exists(old)
    assert default_storage.exists(new)
    assert default_storage.exists(name)
    assert files.sweep().names == ()


def test_the_files_of_an_erased_post_are_swept(waiting: Analysis, media: Path) -> None:
    name = str(waiting.photo.file.name)
    grow_old(media / name)
    Post.objects.filter(pk=waiting.photo.post_id).delete()
    assert files.sweep().names == (name,)
    assert not default_storage.exists(name)


def test_a_row_whose_id_is_of_another_day_keeps_its_file(waiting: Analysis, media: Path) -> None:
    """As where a trial moved the clock that dates folders."""
    here = media / str(waiting.photo.file.name)
    there = media / "photos/2020/01/02" / here.name
    there.parent.mkdir(parents=True)
    here.rename(there)
    grow_old(there)
    Photo.objects.filter(pk=waiting.pk).update(file=str(there.relative_to(media)))
    assert files.sweep().names == ()


def test_a_sweep_over_another_database_deletes_nothing(db: None, media: Path) -> None:
    names = {files.store(b"x") for _ in range(30)}
    grow_old(*(media / name for name in names))

    with pytest.raises(CommandError, match="30 of 30 files have no row: is this their database"):
        call_command("sweep_files", stdout=StringIO())
    assert len(stored(media)) == 30

    out = StringIO()
    call_command("sweep_files", "--sure", "--at-most", "10", stdout=out)
    assert "30 files looked at, 10 deleted." in out.getvalue()
    assert len(stored(media)) == 20


@pytest.mark.parametrize("path", ["/api/v1/posts", "/admin/login/", "/readyz?only=web"])
def test_a_database_that_cannot_be_reached_is_said(caller: Caller, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused") from psycopg.OperationalError("connection refused")

    client = Client(raise_request_exception=False)
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseWrapper, "cursor", refuse)
        if path.startswith("/api"):
            answer = caller.get(path.removeprefix("/api/v1/"))
        elif "login" in path:
            answer = client.post(path, {"username": "a", "password": "b"})
        else:
            answer = client.get(path)
    assert answer.status_code == 503
    if "readyz" in path:
        assert answer.json()["checks"]["database"] == "OperationalError"
    else:
        assert answer["Retry-After"] == "5"
    if path.startswith("/api"):
        assert problem(answer) == (503, "database_unavailable", [])


def test_a_statement_that_is_wrong_is_still_our_fault(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("deadlock") from psycopg.errors.DeadlockDetected("deadlock detected")

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseWrapper, "cursor", refuse)
        answer = caller.get("posts")
    assert problem(answer) == (500, "server_error", [])


@pytest.fixture
def hanging_broker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have Redis take connections and commands, and answer none."""
    monkeypatch.setattr(broker, "_away_until", float("-inf"))
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=60) as client:
        client.execute_command("CLIENT", "PAUSE", 12_000, "ALL")
        yield
        client.ping()  # answered when it is over, so that the next test has a broker


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_hangs_holds_up_one_request_for_seconds_and_the_others_not(
    caller: Caller, hanging_broker: None
) -> None:
    photos = [cast.make_jpeg(color=(n, 0, 0)) for n in range(4)]
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert caller.send(*[photo(content) for content in photos]).status_code == 202
        took.append(time.monotonic() - began)
    assert took[0] < 20, "not for each photo, nor for ever"
    assert max(took[1:]) < broker.PAUSE_SECONDS
    assert Analysis.objects.filter(status=Analysis.Status.PENDING).count() == 12


def test_one_photo_that_cannot_be_read_shuts_nobody_out(
    waiting: Analysis, caller: Caller, use_storage: Callable[[type], None], settings: Settings
) -> None:
    use_storage(Away)
    Analysis.objects.filter(pk=waiting.pk).update(queued_at=clock.now() - settings.MAX_QUEUE_AGE - timedelta(minutes=1))
    analysis.run(waiting.pk, TERMS)
    use_storage(FileSystemStorageAgain)
    overload.gauge.forget()

    assert caller.send(photo()).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_is_asked_once_for_all_that_withdrawals_want_sent(
    caller: Caller, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hang(argument: str) -> None:
        asked.append(argument)
        raise kombu.exceptions.OperationalError

    monkeypatch.setattr(broker, "_away_until", float("-inf"))
    for task in (incentives.tasks.take_back, incentives.tasks.send_webhooks):
        monkeypatch.setattr(task, "delay", hang)
    incentives.models.WebhookEndpoint.objects.create(platform=platform, url="https://feed.example.org/hooks")
    for post in [cast.make_post(cast.make_author(platform, f"author-{n}")) for n in range(3)]:
        assert caller.delete(f"posts/{post.pk}").status_code == 204
    assert len(asked) == 1
