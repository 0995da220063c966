"""How much memory of GPUs this process holds, as PyTorch tells."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """One device, bytes."""

    device: str  # `cuda:0`
    allocated: int  # by tensors of this process
    reserved: int  # by PyTorch in this process, for tensors to come too
    free: int  # of the whole device, for all processes
    total: int


def in_use() -> list[DeviceMemory]:
    """Of each CUDA device that this process has memory of; touches none that it does not use."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return [_memory_of(i) for i in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(i)]


def _memory_of(index: int) -> DeviceMemory:
    free, total = torch.cuda.mem_get_info(index)
    allocated, reserved = torch.cuda.memory_allocated(index), torch.cuda.memory_reserved(index)
    return DeviceMemory(f"cuda:{index}", allocated, reserved, free, total)
