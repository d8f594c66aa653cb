"""The arithmetic of the frozen models, and the quickest that a device has.

PyTorch is imported when a device is asked: settings are made of what stands here.
"""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["float32", "bfloat16", "float16"]
AMPERE = (8, 0)
"""CUDA's compute capability from which a GPU multiplies bfloat16 as fast as float16."""


def best_precision(device: str) -> Precision:
    """Return the quickest arithmetic that a device has in hardware and that the features stand.

    bfloat16 on GPUs from Ampere on and on processors with AVX-512 BF16 or AMX, float16 on older
    GPUs, float32 on everything else: on Apple's MPS nothing less was measured.

    Args:
        device: As :meth:`Runtime.create` takes it; one that does not exist gives float32.
    """
    import torch

    from regionspot_core.support.devices import best_device

    device = best_device() if device == "auto" else device
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            return "float32"
        index = device.partition(":")[2]
        capability = torch.cuda.get_device_capability(int(index) if index.isdecimal() else None)
        return "bfloat16" if capability >= AMPERE else "float16"
    if device == "cpu":
        tell = getattr(torch.cpu, "get_capabilities", None)  # PyTorch's older ones do not say
        has: dict[str, Any] = tell() if tell else {}
        return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"
    return "float32"
