"""Which engine a name means here, and what becomes of one that fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from maskstream.model import engine_choice
from maskstream.model.engine_choice import choose_engine, engines_for, make_engine
from maskstream.model.engines import Engine, TorchEngine
from maskstream.model.errors import ConfigError, EngineError
from maskstream.model.mobile_sam import MobileSam

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def model() -> MobileSam:
    return MobileSam().eval()


Without = Callable[..., None]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Without:
    """Takes packages away."""
    find_spec = importlib.util.find_spec

    def remove(*names: str) -> None:
        def find(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name in names else find_spec(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return remove


@pytest.fixture
def broken_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Engine:
        raise EngineError("engine openvino computes wrongly")

    monkeypatch.setattr(engine_choice, "_graph_engine", fail)


@pytest.mark.parametrize(
    ("name", "device", "chosen"),
    [
        ("auto", CPU, "openvino"),
        ("auto", CUDA, "cuda-fp16"),
        ("torch", CUDA, "torch"),
        ("cuda-bf16", CUDA, "cuda-bf16"),
        ("torch", CPU, "torch"),
        ("openvino", CPU, "openvino"),
        ("openvino-bf16", CPU, "openvino-bf16"),
        ("onnxruntime", CPU, "onnxruntime"),
    ],
)
def test_the_quickest_for_the_device(name: str, device: torch.device, chosen: str) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    assert choose_engine(name, device) == chosen


def test_what_is_not_installed(without: Without) -> None:
    pytest.importorskip("onnxscript", reason="the extra `onnxruntime` is not installed")
    without("openvino")
    assert choose_engine("auto", CPU) == "onnxruntime"
    with pytest.raises(EngineError, match="engine openvino is not installed; pip install openvino, or use"):
        choose_engine("openvino", CPU)
    without("openvino", "onnxscript")
    assert choose_engine("auto", CPU) == "torch"
    with pytest.raises(EngineError, match=r"onnxruntime is not installed; pip install 'maskstream\[onnxrun"):
        choose_engine("onnxruntime", CPU)


def test_what_cannot_be() -> None:
    with pytest.raises(
        ConfigError, match="no engine 'tensorrt'; there are: auto, torch, openvino, openvino-bf16, onnxrunt"
    ):
        choose_engine("tensorrt", CPU)
    with pytest.raises(ConfigError, match="openvino runs on the CPU, not on cuda; use --device cpu"):
        choose_engine("openvino", CUDA)
    with pytest.raises(ConfigError, match="engine cuda runs on NVIDIA GPUs, not on cpu; use --device cuda"):
        choose_engine("cuda", CPU)
    with pytest.raises(ConfigError, match="onnxruntime runs on the CPU, not on cuda; use --device cpu"):
        choose_engine("onnxruntime", CUDA)


def test_all_that_a_device_has(without: Without) -> None:
    assert engines_for(CUDA) == ["torch", "cuda", "cuda-fp16", "cuda-bf16"]
    without("openvino", "onnxruntime")
    assert engines_for(CPU) == ["torch"]


@pytest.mark.usefixtures("broken_openvino")
def test_auto_falls_back_to_torch_and_says_so(model: MobileSam) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    said: list[str] = []
    assert isinstance(make_engine(model, "auto", notify=said.append), TorchEngine)
    assert said == ["engine openvino computes wrongly; this run uses torch, which is slower"]


@pytest.mark.usefixtures("broken_openvino")
def test_what_was_asked_for_by_name_is_refused(model: MobileSam) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    with pytest.raises(EngineError, match="computes wrongly"):
        make_engine(model, "openvino")


@pytest.fixture
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize("threads", [1, 3])
def test_threads(model: MobileSam, threads: int) -> None:
    make_engine(model, "torch", threads=threads)
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("torch_threads")
def test_networks_are_kept_in_the_users_cache(
    model: MobileSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino_engine = pytest.importorskip("maskstream.model.openvino_engine")
    made: list[tuple[object, ...]] = []

    class Recorded:
        def __init__(self, *arguments: object) -> None:
            made.append(arguments)

        def prepare(self, input_hw: tuple[int, int]) -> None:
            made.append(input_hw)

    monkeypatch.setattr(openvino_engine, "OpenVINOEngine", Recorded)
    monkeypatch.setenv("MASKSTREAM_CACHE", str(tmp_path))
    torch.set_num_threads(2)
    make_engine(model, "openvino", (64, 96), threads=3, notify=print)
    assert made == [(model, tmp_path / "openvino", 3, "f32", print), (64, 96)]
    assert torch.get_num_threads() == 1  # so that PyTorch's do not spin beside OpenVINO's
