"""Exported networks compute what PyTorch does, from what is written beside them alone."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from maskstream.model import export
from maskstream.model.errors import EngineError
from maskstream.model.export import FORMATS, export_networks
from maskstream.model.graphs import Graph
from maskstream.model.mask_decoder import ALL_MASKS
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.prompt_encoder import PromptBatch

HW = (64, 96)


@pytest.fixture(scope="module")
def model() -> MobileSam:
    torch.manual_seed(0)
    return MobileSam().eval().requires_grad_(False)


def _stranger_session(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_onnx_runtime_finds_a_mask_with_it(model: MobileSam, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    done = export_networks(model, tmp_path, "onnx", HW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "decoder-96x64.onnx",
        "encoder-96x64.onnx",
        "networks-96x64.onnx.json",
    ]
    assert [one.path.name for one in done] == ["encoder-96x64.onnx", "decoder-96x64.onnx"]
    assert all(0 <= gap <= 1e-3 for one in done for gap in one.gaps.values())

    described = json.loads((tmp_path / "networks-96x64.onnx.json").read_text())
    assert described["input_hw"] == [64, 96]
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.float32)
    normal = (rgb - np.float32(described["pixel_mean"])) / np.float32(described["pixel_std"])
    encoder, decoder = (described["networks"][name] for name in ("encoder", "decoder"))
    features, detail = _stranger_session(tmp_path / encoder["file"]).run(
        encoder["outputs"][:2], {"pixels": normal.transpose(2, 0, 1)[None]}
    )
    labels = described["labels"]
    prompt = {
        "features": features,
        "points_xy": np.array([[[10, 10], [70, 50], [40, 30]]], np.float32),
        "labels": np.array([[labels["box_top_left"], labels["box_bottom_right"], labels["foreground"]]]),
        "mask_logits": np.zeros(decoder["inputs"]["mask_logits"]["shape"], np.float32),
        "has_mask": np.array([False]),
    }
    assert {name: one["dtype"] for name, one in decoder["inputs"].items()} == {
        name: str(array.dtype) for name, array in prompt.items()
    }
    assert decoder["inputs"]["points_xy"]["shape"] == [1, "tokens", 2]
    logits, _ = _stranger_session(tmp_path / decoder["file"]).run(decoder["outputs"], prompt)

    pixels = model.preprocess(torch.from_numpy(rgb).permute(2, 0, 1)[None], HW)
    true_features, true_detail = model.encode_for_tracking(pixels)
    np.testing.assert_allclose(detail, true_detail, atol=1e-4)
    points_xy, label_row = torch.from_numpy(prompt["points_xy"]), torch.from_numpy(prompt["labels"])
    true_logits, _ = model.decode(true_features, PromptBatch(points_xy, label_row), None, ALL_MASKS)
    np.testing.assert_allclose(logits, true_logits, atol=1e-3)


def test_openvino_files(model: MobileSam, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this machine")
    done = export_networks(model, tmp_path, "openvino", HW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("decoder-96x64.bin", "decoder-96x64.xml", "encoder-96x64.bin", "encoder-96x64.xml"),
        "networks-96x64.xml.json",
    ]
    assert [list(one.gaps) for one in done] == [["features", "detail"], ["low_res_logits", "predicted_iou"]]
    assert all(one.path.is_file() for one in done)


def test_what_computes_wrongly_is_not_handed_over(
    model: MobileSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(graph: Graph, input_hw: tuple[int, int], path: Path) -> None:
        path.write_text("as if it were a network")

    def run(path: Path, inputs: dict[str, Any]) -> list[Any]:
        return [np.zeros((1, 256, 4, 6), np.float32), np.zeros((1, 192, 16, 24), np.float32)]

    wrong = dataclasses.replace(FORMATS["onnx"], packages=(), write=write, run=run)
    monkeypatch.setitem(export.FORMATS, "onnx", wrong)
    with pytest.raises(EngineError, match="the exported encoder computes wrongly: its features is off by"):
        export_networks(model, tmp_path, "onnx", HW)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(
    model: MobileSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        EngineError, match=r"export to onnx needs onnxscript: pip install 'maskstream\[export\]'"
    ):
        export_networks(model, tmp_path, "onnx", HW)
