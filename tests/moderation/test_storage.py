"""Where photos are kept: a folder, or a bucket; the same troubles look the same."""

import socket
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django.fixtures import Settings

from mask_social.storage import PRESIGNED_SECONDS, backend
from moderation import links
from moderation.models import Photo
from tests import bucket, cast
from tests.moderation.calls import Caller


@pytest.fixture(scope="module")
def served() -> Iterator[bucket.Bucket]:
    """A bucket for the tests of this file."""
    with bucket.served() as found:
        yield found


def as_file(name: str) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, cast.make_jpeg(), "image/jpeg")


def use(settings: Settings, url: str) -> None:
    keys = {"access_key": bucket.ACCESS_KEY, "secret_key": bucket.SECRET_KEY} if url.startswith("s3:") else {}
    settings.STORAGES = settings.STORAGES | {"default": backend(url, Path("/nowhere"), **keys)}


def test_a_bucket_keeps_gives_back_and_forgets(settings: Settings, served: bucket.Bucket) -> None:
    use(settings, served.url)

    name = default_storage.save("photos/a.jpg", ContentFile(b"a photo"))

    assert "live/photos/a.jpg" in served.names()
    with default_storage.open(name) as file:
        assert file.read() == b"a photo"
    assert (default_storage.exists(name), default_storage.size(name)) == (True, 7)
    assert default_storage.listdir("photos") == ([], ["a.jpg"])
    default_storage.delete(name)
    default_storage.delete(name)  # once more does no harm
    assert not default_storage.exists(name)
    with pytest.raises(FileNotFoundError):
        default_storage.open(name)


def test_a_bucket_that_is_away_is_an_os_error_within_seconds(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    use(settings, f"s3://photos?region=eu-central-1&endpoint=http://127.0.0.1:{port}")
    began = time.monotonic()

    for act in (
        lambda: default_storage.save("a.jpg", ContentFile(b"x")),
        lambda: default_storage.open("a.jpg"),
        lambda: default_storage.delete("a.jpg"),
        lambda: default_storage.exists("a.jpg"),
        lambda: default_storage.listdir(""),
    ):
        with pytest.raises(OSError, match="cannot be reached"):
            act()
    assert time.monotonic() - began < 60


def test_a_bucket_that_is_not_ours_is_an_os_error(settings: Settings, served: bucket.Bucket) -> None:
    use(settings, served.url.replace("s3://photos/", "s3://not-there/"))

    with pytest.raises(OSError, match="NoSuchBucket"):
        default_storage.save("a.jpg", ContentFile(b"x"))


@pytest.mark.django_db
def test_a_post_goes_into_the_bucket_and_a_link_leads_there(
    settings: Settings, served: bucket.Bucket, caller: Caller, client: Client
) -> None:
    use(settings, served.url)
    made = caller.send(as_file("a.jpg"))
    assert made.status_code == 202, made.content
    photo = Photo.objects.get(post=made.json()["id"])
    link = links.token_of(links.new_link(photo, thumbnail=False, lifetime=timedelta(minutes=5)))

    answer = client.get(f"/photos/{link}")

    assert (answer.status_code, answer["cache-control"]) == (302, "no-store")
    presigned = urlsplit(answer["location"])
    assert presigned.path == f"/photos/live/{photo.file.name}"
    assert parse_qs(presigned.query)["X-Amz-Expires"] == [str(PRESIGNED_SECONDS)]
    shown = urllib3.request("GET", answer["location"])
    with photo.file.open("rb") as file:
        assert (shown.headers["Content-Type"], shown.data) == ("image/jpeg", file.read())


@pytest.mark.django_db
def test_a_stored_name_tells_nothing_and_cannot_be_guessed(caller: Caller, media: Path) -> None:
    first, second = (
        Photo.objects.get(post=caller.send(as_file("me.jpg"), author_id="ann").json()["id"]) for _ in range(2)
    )

    name = Path(str(first.file.name))
    assert len(name.stem) == 43  # 256 bits in base64
    assert not {first.pk, first.post_id, "ann", "me"} & set(name.parts) and first.pk not in str(name)
    assert name.stem != Path(str(second.file.name)).stem


@pytest.mark.django_db
def test_a_folder_is_closed_to_other_users(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    use(settings, f"file://{folder}")

    photo = Photo.objects.get(post=cast.make_post())

    stored = folder / str(photo.file.name)
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "url",
    [
        "/srv/media",
        "file://srv/media",
        "file:///srv/media?region=x",
        "http://bucket",
        "s3://",
        "s3://bucket?regoin=eu",
        "ftp://x/y",
    ],
)
def test_an_address_of_no_storage_is_named(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="STORAGE_URL must look like"):
        backend(url, Path("/nowhere"))


def test_half_a_pair_of_keys_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="STORAGE_SECRET_KEY"):
        backend("s3://bucket", Path("/nowhere"), access_key="only one")
