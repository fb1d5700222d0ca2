import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.manifest import WEIGHTS
from ml.session import CPU, CUDA, choose_providers, cuda_runs, make_session
from ml.types import ProviderError


def test_providers_are_chosen_by_what_runs_here() -> None:
    assert choose_providers(None) == ([CUDA, CPU] if cuda_runs() else [CPU])


def test_requested_providers_are_taken_as_they_are() -> None:
    assert choose_providers([CPU]) == [CPU]


def test_a_provider_that_is_not_installed_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match=r"NoSuchProvider is not part of .* it has .*CPUExecutionProvider"):
        choose_providers([CPU, "NoSuchProvider"])


def test_no_provider_at_all_is_refused() -> None:
    with pytest.raises(ProviderError, match="empty"):
        choose_providers([])


@pytest.mark.skipif(cuda_runs(), reason="CUDA runs here")
def test_cuda_is_refused_where_it_cannot_run() -> None:
    with pytest.raises(ProviderError, match=CUDA):
        choose_providers([CUDA])


def test_a_machine_without_cuda_is_not_told_so() -> None:
    program = "from ml.manifest import WEIGHTS; from ml.session import make_session;make_session(WEIGHTS / 'rnet.onnx')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_a_driver_without_devices_counts_as_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    cuda_runs.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    assert not cuda_runs()
    cuda_runs.cache_clear()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answers_do_not_depend_on_the_threads(threads: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (20, 24, 24, 3), dtype=np.uint8)
    model = WEIGHTS / "rnet.onnx"
    one = make_session(model, providers=[CPU]).run(None, {"pixels": pixels})
    some = make_session(model, threads=threads, providers=[CPU]).run(None, {"pixels": pixels})
    for expected, found in zip(one, some, strict=True):
        assert np.allclose(expected, found, atol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_one_thread_means_that_no_thread_is_started() -> None:
    model = WEIGHTS / "rnet.onnx"
    make_session(model, providers=[CPU])  # loads what starts threads of its own, once
    before = sum(1 for _ in Path("/proc/self/task").iterdir())
    session = make_session(model, providers=[CPU])
    assert sum(1 for _ in Path("/proc/self/task").iterdir()) == before
    del session


def test_waiting_threads_do_not_spin() -> None:
    # Asked of the session: how long ONNX Runtime would spin differs by version and machine.
    model = WEIGHTS / "pnet.onnx"
    options = make_session(model, threads=4, providers=[CPU]).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (4, 1)
