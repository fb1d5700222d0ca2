import subprocess
import sys

import numpy as np
import pytest

from ml.convert import BUILDERS, wheel_weights
from ml.geometry import Pixels
from ml.session import CPU, make_session
from tests.ml import reference

SIDES = {"pnet": 41, "rnet": 24, "onet": 48}


def pixels(stage: str, portrait: Pixels) -> Pixels:
    side = SIDES[stage]
    return np.ascontiguousarray(np.stack([portrait[80 : 80 + side, 190 : 190 + side], portrait[:side, :side]]))


def test_pnet_answers_as_its_layers_in_numpy_do(portrait: Pixels) -> None:
    weights = wheel_weights("pnet")
    session = make_session(BUILDERS["pnet"](weights), providers=[CPU])
    batch = pixels("pnet", portrait)
    for found, image in zip(session.run(["maps"], {"pixels": batch})[0], batch, strict=True):
        assert np.abs(found - reference.pnet(image, weights)).max() < 1e-4


@pytest.mark.parametrize("stage", ["rnet", "onet"])
def test_rnet_and_onet_answer_as_their_layers_in_numpy_do(stage: str, portrait: Pixels) -> None:
    weights = wheel_weights(stage)
    session = make_session(BUILDERS[stage](weights), providers=[CPU])
    names = ["logits", "offsets"] + (["landmarks"] if stage == "onet" else [])
    batch = pixels(stage, portrait)
    for row, image in enumerate(batch):
        expected = reference.rnet(image, weights) if stage == "rnet" else reference.onet(image, weights)
        for name, values in zip(names, expected, strict=True):
            found = session.run([name], {"pixels": batch})[0][row]
            assert np.abs(found - values).max() < 1e-4, name


@pytest.mark.parametrize("stage", list(BUILDERS))
def test_the_rewritten_prelu_is_the_operator(stage: str, portrait: Pixels) -> None:
    weights = wheel_weights(stage)
    feed = {"pixels": pixels(stage, portrait)}
    ours = make_session(BUILDERS[stage](weights), providers=[CPU]).run(None, feed)
    theirs = make_session(BUILDERS[stage](weights, prelu_op=True), providers=[CPU]).run(None, feed)
    for mine, other in zip(ours, theirs, strict=True):
        assert np.abs(mine - other).max() < 1e-5


def test_the_models_are_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from ml.convert import BUILDERS, build_nms, wheel_weights;"
        "print([hashlib.sha256(b(wheel_weights(n))).hexdigest() for n, b in BUILDERS.items()],"
        "hashlib.sha256(build_nms()).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_neither_tensorflow_nor_the_wheels_own_code_is_imported() -> None:
    program = (
        "import sys; from ml.convert import wheel_weights; wheel_weights('onet');"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'mtcnn', 'onnxruntime')])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "[]"
