"""The one door into ml: heavy things are loaded by whom they serve, when they are needed."""

import os
import subprocess
import sys

import pytest
from pytest_django.fixtures import Settings

from moderation import inference
from tests.moderation.analyzers import Foreseen

IMPORT_ALL = """
import sys
import django
django.setup()
import mask_social.urls, mask_social.celery, moderation.tasks, incentives.tasks
print(sorted({"torch", "onnxruntime", "tensorflow", "onnx"} & set(sys.modules)))
"""


def test_importing_the_apps_loads_no_models() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_analyzer_is_made_once_and_again_after_a_reset(settings: Settings) -> None:
    settings.ANALYZER = "tests.moderation.analyzers.Foreseen"
    inference.reset()
    first = inference.get()

    assert isinstance(first, Foreseen)
    assert inference.get() is first
    inference.reset()
    assert inference.get() is not first
    inference.reset()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_never_uses_its_parents_analyzer(settings: Settings) -> None:
    settings.ANALYZER = "tests.moderation.analyzers.Foreseen"
    inference.reset()
    mine = inference.get()
    read_end, write_end = os.pipe()

    child = os.fork()
    if child == 0:
        os.write(write_end, b"same" if inference.get() is mine else b"own")
        os._exit(0)

    os.waitpid(child, 0)
    assert os.read(read_end, 8) == b"own"
    inference.reset()
