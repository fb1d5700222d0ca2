"""A platform that sends posts, and a folder of its own for what is stored.

pytest reads this file before Django has its settings, so what needs models is imported inside.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django.fixtures import Settings

if TYPE_CHECKING:
    from moderation.models import Platform
    from tests.moderation.calls import Caller


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Store photos in the test's own folder."""
    folder = tmp_path / "media"
    folder.mkdir()
    settings.STORAGES = settings.STORAGES | {
        "default": settings.STORAGES["default"] | {"OPTIONS": {"location": folder, "base_url": None}}
    }
    return folder


@pytest.fixture(autouse=True)
def temporary(settings: Settings, tmp_path: Path) -> Path:
    """Let Django put temporary files where the test sees them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = str(folder)
    return folder


@pytest.fixture
def platform(db: None) -> "Platform":
    """A platform that calls."""
    from tests import cast

    return cast.make_platform()


@pytest.fixture
def caller(platform: "Platform") -> "Caller":
    """A platform with a key for everything."""
    from django.test import Client

    from tests import cast
    from tests.moderation.calls import Caller

    return Caller(Client(raise_request_exception=False), cast.make_key(platform))


@pytest.fixture
def nothing_changes(caller: "Caller", media: Path, temporary: Path) -> Iterator[None]:
    """Fail the test when a row or a file is there that was not there before."""
    from tests.moderation.calls import world

    before = world(media, temporary)
    yield
    assert world(media, temporary) == before
