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
from .self_check import CHECK_HW, check_engine
from .weights import cache_root

EngineName = Literal[
    "auto", "torch", "openvino", "openvino-bf16", "onnxruntime", "cuda", "cuda-fp16", "cuda-bf16"
]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)
Notify = Callable[[str], None]  # takes one plain sentence for the user

log = logging.getLogger("maskstream")


# Beside PyTorch, the packages that engines need, and how to get them. All of these run on the CPU only.
_NEEDS = {
    "openvino": (("openvino",), "openvino"),
    "openvino-bf16": (("openvino",), "openvino"),
    "onnxruntime": (("onnxruntime", "onnxscript"), "'maskstream[onnxruntime]'"),
}
_BY_SPEED = ("openvino", "onnxruntime")  # of the exact ones, as measured: docs/performance.md
_CUDA_DTYPES = {"cuda": torch.float32, "cuda-fp16": torch.float16, "cuda-bf16": torch.bfloat16}
_QUICKEST_ON_CUDA = "cuda-fp16"  # eight times as exact as bfloat16, and the same work


def choose_engine(name: str, device: torch.device) -> str:
    """The engine that a name means on a device: "auto" is the quickest exact one that is installed for it.

    Raises:
        ConfigError: there is no such engine, or it does not run on this device.
        EngineError: it is not installed.
    """
    if name not in ENGINE_NAMES:
        raise ConfigError(f"there is no engine {name!r}; there are: {', '.join(ENGINE_NAMES)}")
    if name == "auto" and device.type == "cuda":
        return _QUICKEST_ON_CUDA
    if name == "auto":
        here = [engine for engine in _BY_SPEED if device.type == "cpu" and is_installed(engine)]
        return here[0] if here else "torch"
    if name in _NEEDS and device.type != "cpu":
        raise ConfigError(
            f"engine {name} runs on the CPU, not on {device}; use --device cpu or --engine torch"
        )
    if name in _CUDA_DTYPES and device.type != "cuda":
        raise ConfigError(
            f"engine {name} runs on NVIDIA GPUs, not on {device}; use --device cuda or --engine auto"
        )
    if not is_installed(name):
        raise EngineError(
            f"engine {name} is not installed; pip install {_NEEDS[name][1]}, or use --engine torch"
        )
    return name


def engines_for(device: torch.device) -> list[str]:
    """All that run on a device and are installed."""
    names = []
    for name in ENGINE_NAMES[1:]:
        try:
            names.append(choose_engine(name, device))
        except (ConfigError, EngineError):
            continue
    return names


def is_installed(name: str) -> bool:
    """Whether the packages that an engine needs are there."""
    packages, _ = _NEEDS.get(name, ((), ""))
    return all(importlib.util.find_spec(package) is not None for package in packages)


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
            return _ready_engine(model, chosen, input_hw, threads, notify)
        except EngineError as error:
            if name != "auto":
                raise
            notify(f"{error}; this run uses torch, which is slower")
    if threads is not None:
        torch.set_num_threads(threads)
    plain = TorchEngine(model)
    plain.prepare(input_hw)
    return plain


def _ready_engine(
    model: MobileSam, name: str, input_hw: tuple[int, int], threads: int | None, notify: Notify
) -> Engine:
    if name in _CUDA_DTYPES:
        return _cuda_engine(model, name, input_hw, notify)
    engine = _graph_engine(model, name, threads, notify)
    engine.prepare(input_hw)
    torch.set_num_threads(1)
    return engine


def _cuda_engine(model: MobileSam, name: str, input_hw: tuple[int, int], notify: Notify) -> Engine:
    from .cuda_engine import CudaEngine

    engine = CudaEngine(model, _CUDA_DTYPES[name], notify=notify)
    notify(f"getting the networks ready for {input_hw[1]}x{input_hw[0]} px on {model.device}: up to a minute")
    engine.prepare(input_hw)
    try:
        check_engine(engine, TorchEngine(model), input_hw, model.device)
    except RuntimeError as error:  # CUDA's own: kernels that fail, memory that is full
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise EngineError(f"engine {name} fails on {model.device} ({reason}); use --engine torch") from error
    return engine


def _graph_engine(model: MobileSam, name: str, threads: int | None, notify: Notify) -> Engine:
    if name == "onnxruntime":
        from .onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model, cache_root() / "onnxruntime", threads, notify)
    from .openvino_engine import OpenVINOEngine

    precision: Literal["f32", "bf16"] = "bf16" if name == "openvino-bf16" else "f32"
    return OpenVINOEngine(model, cache_root() / "openvino", threads, precision, notify)
