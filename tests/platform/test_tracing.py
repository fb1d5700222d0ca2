"""Tracing is off until a collector is named, and then costs nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from mask_social.observability import tracing

BASE = Path(__file__).resolve().parents[2]
LOADED = """
import sys
from mask_social.wsgi import application
from mask_social.celery import app
from mask_social.observability import tracing
app.loader.import_default_modules()
tracing.tell_stages({"detect": 3.0})
tracing.flush()
# redis-py loads the interfaces by itself where they are installed; what traces are these.
parts = ("opentelemetry.instrumentation", "opentelemetry.exporter", "opentelemetry.sdk.trace")
print(sorted(name for name in sys.modules if name.startswith(parts)), repr(tracing.trace_id()))
"""


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    environment = {name: text for name, text in os.environ.items() if name != "MASK_SOCIAL_OTLP_ENDPOINT"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=BASE, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] ''"


def test_it_says_what_to_install_where_a_collector_is_named_and_the_packages_are_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTLP_ENDPOINT = "http://collector:4318"
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install '\.\[otel\]'"):
        tracing.start("web")
