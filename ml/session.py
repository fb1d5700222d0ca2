"""Make ONNX Runtime sessions: the one place that knows its options and its execution providers."""

import ctypes
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ml.types import ProviderError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_ERRORS_ONLY = 3


def choose_providers(requested: Sequence[str] | None) -> list[str]:
    """List the execution providers to use: those requested, or else CUDA where it really runs, and the CPU.

    Raises ProviderError, naming what is available, if a requested one cannot run here.
    """
    import onnxruntime

    available = list(onnxruntime.get_available_providers())
    if requested is None:
        return [CUDA, CPU] if CUDA in available and cuda_runs() else [CPU]
    for name in requested:
        if name not in available:
            raise ProviderError(f"{name} is not part of the installed ONNX Runtime; it has {', '.join(available)}")
        if name == CUDA and not cuda_runs():
            raise ProviderError(
                "CUDAExecutionProvider was asked for, but there is no CUDA device, or its libraries "
                "(the extra 'gpu' of this project) are missing"
            )
    if not requested:
        raise ProviderError("the list of execution providers is empty; leave it out to have one chosen")
    return list(requested)


@lru_cache(maxsize=1)
def cuda_runs() -> bool:
    """Tell whether a CUDA device and the libraries ONNX Runtime was built for are here.

    Asked before a session is made: ONNX Runtime itself would try, print an error to stderr, and fall back.
    """
    return _cuda_devices() > 0 and _cuda_libraries_load()


def _cuda_devices() -> int:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _cuda_libraries_load() -> bool:
    import onnxruntime
    from onnxruntime.capi import build_and_package_info as build

    major = str(getattr(build, "cuda_version", "")).split(".")[0]
    _preload_wheels(Path(onnxruntime.__file__).parents[1] / "nvidia")
    windows = sys.platform == "win32"
    names = (
        [f"cublasLt64_{major}.dll", f"cudart64_{major}.dll", "cudnn64_9.dll"]
        if windows
        else [f"libcublasLt.so.{major}", f"libcudart.so.{major}", "libcudnn.so.9"]
    )
    try:
        for name in names:
            ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _preload_wheels(nvidia: Path) -> None:
    # onnxruntime.preload_dlls prints a page of advice to stdout when one library is missing; it is called only
    # where the wheels of the extra 'gpu' are.
    import onnxruntime

    if nvidia.is_dir() and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def make_session(model: Path | bytes, *, threads: int = 1, providers: Sequence[str] | None = None) -> Any:
    """Load a model for sequential runs with an explicit number of threads.

    One thread by default: under load one thread per process gives the most photos per second. A session belongs
    to the process that made it; its threads do not survive a fork.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    if threads > 1:
        # Waiting threads would otherwise burn whole cores between two runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=choose_providers(providers))
