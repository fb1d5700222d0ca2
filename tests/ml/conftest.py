"""The same weights, detector and photo for all tests of ml."""

from pathlib import Path

import pytest

from ml.detector import Detector
from ml.geometry import Pixels
from ml.images import decode
from ml.session import CPU
from tests.ml.networks import write_cascade, write_weights

PORTRAIT = Path(__file__).resolve().parents[2] / "mask_social" / "demo" / "photos" / "portrait.jpg"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the shipped detector and a tiny classifier; tests that spoil it copy it first."""
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def detector(weights: Path) -> Detector:
    return Detector(weights, providers=[CPU])


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a detector that finds white squares."""
    return write_cascade(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy(toy_weights: Path) -> Detector:
    return Detector(toy_weights, providers=[CPU])


@pytest.fixture(scope="session")
def portrait() -> Pixels:
    return decode(PORTRAIT)


@pytest.fixture(scope="session")
def portrait_file() -> Path:
    return PORTRAIT
