"""The GPUs that this process may use, as NVIDIA's driver tells (NVML)."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from models.core.engine_load import GpuReading

VISIBLE = "CUDA_VISIBLE_DEVICES"


def read_gpus() -> tuple[GpuReading, ...]:
    """Read the GPUs that CUDA shows to this process; none without a driver or the package `nvidia-ml-py`.

    Numbers of CUDA_VISIBLE_DEVICES are counted as on the bus, which is CUDA's order where GPUs are alike.
    """
    if (nvml := _driver()) is None:
        return ()
    gpus = []
    for device, handle in _visible(nvml):
        with contextlib.suppress(nvml.NVMLError):  # it fell off the bus, or is no GPU
            name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
            gpus.append(GpuReading(device, name, memory.used, memory.total, _utilization(nvml, handle)))
    return tuple(gpus)


@functools.cache
def _driver() -> Any:
    """Return the module that asks the driver, or None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _visible(nvml: Any) -> Iterator[tuple[str, Any]]:
    """Yield devices and handles. As in CUDA, what follows an unknown GPU is not visible."""
    named = os.environ.get(VISIBLE)
    with contextlib.suppress(nvml.NVMLError):
        devices = map(str, range(nvml.nvmlDeviceGetCount())) if named is None else named.split(",")
        for device in map(str.strip, devices):
            if device.isdecimal():
                yield device, nvml.nvmlDeviceGetHandleByIndex(int(device))
            else:
                yield device, nvml.nvmlDeviceGetHandleByUUID(device)


def _utilization(nvml: Any, handle: Any) -> float | None:
    with contextlib.suppress(nvml.NVMLError):
        return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    return None
