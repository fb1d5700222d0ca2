"""The same weights, detector and photo for all tests of ml."""

from pathlib import Path

import pytest

from ml.detector import Detector
from ml.geometry import Pixels
from ml.images import decode
from tests.ml.networks import write_weights

PORTRAIT = Path(__file__).resolve().parents[2] / "mask_social" / "demo" / "photos" / "portrait.jpg"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the real detector and a tiny classifier; tests that spoil it copy it first."""
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def detector(weights: Path) -> Detector:
    return Detector(weights, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def portrait() -> Pixels:
    return decode(PORTRAIT)


@pytest.fixture(scope="session")
def portrait_file() -> Path:
    return PORTRAIT
