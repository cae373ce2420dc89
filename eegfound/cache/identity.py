"""What else decides about the last digit: libraries and processor."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

#: Raised by hand where numbers change for a reason that no source or version shows.
NUMERICS = 1
#: Packages that count by their version.
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "mne")


def libraries() -> dict[str, str]:
    """Return the versions of what computes."""
    return {name: _version_of(name) for name in LIBRARIES} | {"python": platform.python_version()}


@lru_cache
def _version_of(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def hardware(device: str) -> dict[str, Any]:
    """Return what the processor and torch's switches may change in the last digits.

    Parameters
    ----------
    device : str
        Torch device.
    """
    import torch

    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "matmul": torch.get_float32_matmul_precision(),
        "device": torch.device(device).type,
    }
    if torch.device(device).type == "cuda":
        facts |= {
            "gpu": torch.cuda.get_device_name(torch.device(device)),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        }
    return facts


@lru_cache
def processor() -> str:
    """Return the model of the processor: libraries choose their kernels by it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
