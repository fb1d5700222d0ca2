"""The benchmark of rankings measures the real call, and leaves nothing behind."""

import gc
import io
import re
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from incentives.models import Boost
from moderation.models import ApiKey, Platform, Post

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Importing the application that gunicorn serves freezes what is loaded."""
    yield
    gc.unfreeze()


def test_it_measures_rankings_beside_a_bare_view_and_takes_everything_back(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["masks.example.org"]
    out = io.StringIO()

    call_command("bench_rank", posts=60, sizes=[10, 60], rounds=3, stdout=out)

    rows = [re.findall(r"[\d.]+", line) for line in out.getvalue().splitlines() if " | " in line][1:]
    assert [(row[0], row[1]) for row in rows] == [("10", "2"), ("60", "2")]
    assert all(float(value) > 0 for row in rows for value in row[:6])
    for model in (Platform, ApiKey, Post, Boost):
        assert not model.objects.exists()
