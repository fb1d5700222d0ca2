"""Links to stored photos: who gets one, how long it lives, and what a stranger can make of it."""

from datetime import timedelta

import pytest
from django.core import signing
from django.core.files.storage import FileSystemStorage
from django.test import Client

from mask_social import clock
from moderation import links
from moderation.models import Photo, Platform
from tests import cast
from tests.moderation.calls import Caller

pytestmark = pytest.mark.django_db
FIVE_MINUTES = timedelta(minutes=5)


def stored(photo: Photo) -> bytes:
    with photo.file.open("rb") as file:
        content: bytes = file.read()
    return content


@pytest.fixture
def photo(platform: Platform) -> Photo:
    return Photo.objects.get(post=cast.make_post(cast.make_author(platform)))


def asked(caller: Caller, photo: Photo, **query: str) -> dict[str, str]:
    answer = caller.get(f"photos/{photo.pk}/link", **query)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def path_of(link: dict[str, str]) -> str:
    return "/" + link["url"].split("/", 3)[3]


def test_whoever_holds_a_link_sees_the_photo_and_no_cache_shares_it(
    photo: Photo, caller: Caller, client: Client
) -> None:

    seen = client.get(path_of(asked(caller, photo)))

    assert (seen.status_code, seen["content-type"], seen.content) == (200, "image/jpeg", stored(photo))
    assert seen["cache-control"].startswith("private, max-age=")
    assert (seen["referrer-policy"], seen["x-content-type-options"]) == ("no-referrer", "nosniff")


def test_a_small_version_is_a_link_of_its_own(photo: Photo, caller: Caller, client: Client) -> None:
    photo.file.storage.delete(str(photo.file.name))
    with photo.file.storage.open(str(photo.file.name), "wb") as file:
        file.write(cast.make_jpeg(1600, 800))

    small = client.get(path_of(asked(caller, photo, thumbnail="true")))
    whole = client.get(path_of(asked(caller, photo, thumbnail="false")))

    assert 0 < len(small.content) < len(whole.content) == len(stored(photo))


def test_a_link_dies_after_five_minutes(
    photo: Photo, caller: Caller, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = path_of(asked(caller, photo)), clock.now()

    monkeypatch.setattr(clock, "now", lambda: now + FIVE_MINUTES - timedelta(seconds=5))
    assert client.get(path).status_code == 200
    monkeypatch.setattr(clock, "now", lambda: now + FIVE_MINUTES)
    late = client.get(path)

    assert (late.status_code, late.json()["code"]) == (410, "link_expired")


def test_a_withdrawn_post_takes_its_links_with_it(photo: Photo, caller: Caller, client: Client) -> None:
    path = path_of(asked(caller, photo))

    cast.withdraw(photo.post)

    assert client.get(path).status_code == 404
    assert caller.get(f"photos/{photo.pk}/link").status_code == 404


def test_nobody_gets_a_link_to_another_platforms_photo(caller: Caller) -> None:
    photo = Photo.objects.get(post=cast.make_post())

    assert caller.get(f"photos/{photo.pk}/link").status_code == 404


def test_a_link_that_was_made_up_leads_nowhere(photo: Photo, caller: Caller, client: Client) -> None:
    other = Photo.objects.get(post=cast.make_post())
    payload, signature = path_of(asked(caller, photo)).rsplit("/", 1)[1].rsplit(":", 1)
    of_other = links.token_of(links.new_link(other, thumbnail=False, lifetime=FIVE_MINUTES)).rsplit(":", 1)[0]
    of_another_use = signing.Signer(salt="something else").sign_object([photo.pk, 0, 4_000_000_000])

    forged = [f"{of_other}:{signature}", f"{payload}:{signature[:-1]}", payload, of_another_use, "x", "x" * 5000]

    assert [client.get(f"/photos/{token}").status_code for token in forged] == [404] * len(forged)


def test_a_photo_that_is_gone_from_the_storage_is_not_found(photo: Photo, caller: Caller, client: Client) -> None:
    path = path_of(asked(caller, photo))
    photo.file.storage.delete(str(photo.file.name))

    assert client.get(path).status_code == 404


@pytest.mark.parametrize("said", ["perhaps", "", "1", "True"])
def test_a_size_that_is_neither_is_refused(photo: Photo, caller: Caller, said: str) -> None:
    answer = caller.get(f"photos/{photo.pk}/link", thumbnail=said)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/thumbnail")


@pytest.mark.parametrize("thumbnail", ["true", "false"])
def test_a_storage_that_is_away_is_said(
    photo: Photo,
    caller: Caller,
    client: Client,
    thumbnail: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(storage: FileSystemStorage, name: str, mode: str = "rb") -> None:
        raise OSError("The bucket cannot be reached: EndpointConnectionError.")

    link = asked(caller, photo, thumbnail=thumbnail)
    monkeypatch.setattr(FileSystemStorage, "_open", away)
    client.raise_request_exception = False

    answer = client.get(path_of(link))

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert int(answer["Retry-After"]) > 0
    assert path_of(link) not in caplog.text, "it opens the photo for whoever reads the log"
