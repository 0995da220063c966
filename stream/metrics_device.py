"""What the networks hold of the memory of the devices that they run on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskstream.model.device_memory import DeviceMemory


def device_memory() -> list[DeviceMemory]:
    """Of each CUDA device in use; empty where none is. Loads nothing that is not loaded."""
    if "torch" not in sys.modules:
        return []
    from maskstream.model.device_memory import in_use

    return in_use()
