"""ONNX Runtime computes what torch does, starts quickly the second time, and is refused where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from maskstream.model import onnxruntime_engine
from maskstream.model.engines import TorchEngine
from maskstream.model.errors import EngineError
from maskstream.model.mask_decoder import ALL_MASKS
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.onnxruntime_engine import Network, OnnxRuntimeEngine
from maskstream.model.prompt_encoder import PromptBatch
from maskstream.model.self_check import check_engine
from torch import Tensor

pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnxruntime` is not installed")

HW = (64, 96)  # px


@pytest.fixture(scope="module")
def model(untrained: MobileSam) -> MobileSam:
    return untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def engine(model: MobileSam, folder: Path) -> OnnxRuntimeEngine:
    engine = OnnxRuntimeEngine(model, folder, threads=1)
    engine.prepare(HW)
    return engine


def test_it_agrees_with_torch_on_an_image_and_prompts_of_every_kind(
    model: MobileSam, engine: OnnxRuntimeEngine
) -> None:
    check_engine(engine, TorchEngine(model), HW)  # raises where they differ


def test_logits_are_torchs(model: MobileSam, engine: OnnxRuntimeEngine) -> None:
    pixels = torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(3))
    features, detail = engine.encode(pixels)
    true_features, true_detail = TorchEngine(model).encode(pixels)
    assert float((features - true_features).abs().max()) < 1e-4
    assert float((detail - true_detail).abs().max()) < 1e-4
    prompts = PromptBatch(torch.tensor([[[8.0, 9.0], [70.0, 50.0]]] * 2), torch.tensor([[2, 3]] * 2))
    found, expected = (one.decode(true_features, prompts, ALL_MASKS) for one in (engine, TorchEngine(model)))
    assert float((found[0] - expected[0]).abs().max()) < 1e-3
    assert float((found[1] - expected[1]).abs().max()) < 1e-3


@pytest.mark.usefixtures("engine")
def test_the_second_start_builds_nothing(
    model: MobileSam, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*arguments: object) -> None:
        raise AssertionError("a network was built anew")

    monkeypatch.setattr(onnxruntime_engine, "write_onnx", build)
    said: list[str] = []
    OnnxRuntimeEngine(model, folder, notify=said.append).prepare(HW)
    assert said == []


class Wrong(Network):
    """As if a kernel were broken."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        first, second = super().__call__(*inputs)
        return first, second * 1.001


@pytest.mark.usefixtures("engine")
def test_a_network_that_computes_wrongly_is_refused(
    model: MobileSam, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_engine, "Network", Wrong)
    with pytest.raises(EngineError, match="engine onnxruntime computes wrongly on this machine: its detail"):
        OnnxRuntimeEngine(model, folder).prepare(HW)


def test_where_it_is_not_installed(model: MobileSam, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ImportError("No module named 'onnxruntime'")

    missing: Callable[[], Any] = fail
    monkeypatch.setattr(onnxruntime_engine, "import_onnxruntime", missing)
    with pytest.raises(EngineError, match=r"cannot start \(No module .*pip install 'maskstream\[onnxruntime"):
        OnnxRuntimeEngine(model)
