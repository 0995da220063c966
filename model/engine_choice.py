"""Which engine a run gets. None but plain PyTorch is used before it has shown that it agrees with PyTorch."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Literal, get_args

import torch

from .engines import Engine, TorchEngine
from .errors import ConfigError, EngineError
from .mobile_sam import MobileSam
from .self_check import CHECK_HW
from .weights import cache_root

EngineName = Literal["auto", "torch", "openvino", "openvino-bf16"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)
Notify = Callable[[str], None]  # takes one plain sentence for the user

log = logging.getLogger("maskstream")


def choose_engine(name: str, device: torch.device) -> str:
    """The engine that a name means on a device: "auto" is OpenVINO on a CPU, where installed, else torch.

    Raises:
        ConfigError: there is no such engine, or it does not run on this device.
        EngineError: it is not installed.
    """
    if name not in ENGINE_NAMES:
        raise ConfigError(f"there is no engine {name!r}; there are: {', '.join(ENGINE_NAMES)}")
    has_openvino = importlib.util.find_spec("openvino") is not None
    if name == "auto":
        return "openvino" if has_openvino and device.type == "cpu" else "torch"
    if name.startswith("openvino") and device.type != "cpu":
        raise ConfigError(
            f"engine {name} runs on the CPU, not on {device}; use --device cpu or --engine torch"
        )
    if name.startswith("openvino") and not has_openvino:
        raise EngineError(f"engine {name} is not installed; pip install openvino, or use --engine torch")
    return name


def make_engine(
    model: MobileSam,
    name: str = "auto",
    input_hw: tuple[int, int] = CHECK_HW,
    threads: int | None = None,
    notify: Notify | None = None,
) -> Engine:
    """An engine that runs this model, is ready for images of one size, and agrees with torch float32.

    Args:
        model: the networks, on the device that is to be used.
        name: one of ENGINE_NAMES. Where "auto" takes an engine that fails, torch stands in.
        input_hw: the model input's (h, w) px that is to be expected; others are prepared when they come.
        threads: CPU threads for the networks; None: one for each core.
        notify: takes sentences for the user; a warning in the log, if not given.

    Where PyTorch does not run the networks it is left one thread in this process. What remains for it is
    small, and its idle threads spin: beside another engine's they made both several times slower.

    Raises:
        ConfigError: there is no such engine, or it does not run on the model's device.
        EngineError: it is not installed, cannot run here, or computes wrongly.
    """
    notify = notify or log.warning
    chosen = choose_engine(name, model.device)
    if chosen != "torch":
        try:
            engine: Engine = _openvino(model, chosen, input_hw, threads, notify)
            torch.set_num_threads(1)
            return engine
        except EngineError as error:
            if name != "auto":
                raise
            notify(f"{error}; this run uses torch, which is slower")
    if threads is not None:
        torch.set_num_threads(threads)
    engine = TorchEngine(model)
    engine.prepare(input_hw)
    return engine


def _openvino(
    model: MobileSam, name: str, input_hw: tuple[int, int], threads: int | None, notify: Notify
) -> Engine:
    from .openvino_engine import OpenVINOEngine

    precision: Literal["f32", "bf16"] = "bf16" if name == "openvino-bf16" else "f32"
    engine = OpenVINOEngine(model, cache_root() / "openvino", threads, precision, notify)
    engine.prepare(input_hw)
    return engine
