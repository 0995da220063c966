"""Arrays on their way to a device and back, while both sides go on with their work."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .device_time import Moment


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on the device."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    # Memory that the GPU fetches by itself, while this thread goes on; PyTorch keeps it until it has.
    staged = torch.empty(array.shape, dtype=dtype, pin_memory=device.type == "cuda")
    staged.numpy()[...] = array
    return staged.to(device, non_blocking=True)


class Fetched:
    """Copies of tensors on their way to the host; work that it is given next does not hold them up."""

    def __init__(self, *tensors: Tensor) -> None:
        on_gpu = tensors[0].device.type == "cuda"
        self._copies = [torch.empty(one.shape, dtype=one.dtype, pin_memory=on_gpu) for one in tensors]
        for copy, tensor in zip(self._copies, tensors, strict=True):
            copy.copy_(tensor, non_blocking=True)
        self._arrived = Moment(tensors[0].device)

    def wait(self) -> list[NDArray[Any]]:
        """The arrays, which are the caller's own."""
        self._arrived.wait()
        return [copy.numpy() for copy in self._copies]
