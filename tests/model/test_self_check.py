"""An engine that computes something else is found out."""

from __future__ import annotations

import copy

import pytest
import torch
from maskstream.model.engines import TorchEngine
from maskstream.model.errors import EngineError
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.self_check import check_engine, check_output


class Strict(TorchEngine):
    """As exact as the engines that are checked have to be."""

    tolerance = 1e-4


@pytest.fixture(scope="module")
def model() -> MobileSam:
    torch.manual_seed(0)
    return MobileSam().eval()


def _mutated(model: MobileSam, parameter: str) -> Strict:
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.get_parameter(parameter).mul_(1.05)
    return Strict(wrong)


def test_an_engine_that_computes_the_same_passes(model: MobileSam) -> None:
    check_engine(Strict(copy.deepcopy(model)), TorchEngine(model))


@pytest.mark.parametrize(
    ("parameter", "what"),
    [
        ("image_encoder.neck.3.weight", "features"),
        ("image_encoder.trunk.patch_embed.conv1.conv.weight", "features"),
        ("mask_decoder.output_upscaling.3.weight", "low_res_logits"),
        ("mask_decoder.iou_prediction_head.layers.2.weight", "predicted_iou"),
        ("prompt_encoder.mask_downscaling.6.weight", "low_res_logits"),
        ("prompt_encoder.point_embeddings.3.weight", "low_res_logits"),
    ],
)
def test_one_wrong_weight_is_found(model: MobileSam, parameter: str, what: str) -> None:
    with pytest.raises(
        EngineError, match=f"engine torch computes wrongly on this machine: its {what} is off by"
    ):
        check_engine(_mutated(model, parameter), TorchEngine(model))


def test_what_is_no_number_is_wrong(model: MobileSam) -> None:
    good = torch.ones(3)
    check_output(Strict(model), "detail", good, good)
    with pytest.raises(EngineError, match="detail is off by nan"):
        check_output(Strict(model), "detail", torch.tensor([1, 1, torch.nan]), good)


def test_the_tolerance_is_a_share_of_the_whole_outputs_size(model: MobileSam) -> None:
    expected = torch.tensor([-50.0, 1.0])
    check_output(Strict(model), "detail", expected + torch.tensor([0.0, 0.0049]), expected)
    with pytest.raises(
        EngineError, match="is off by 0.0001 of its size, where 0.0001 is allowed; use --engine"
    ):
        check_output(Strict(model), "detail", expected + torch.tensor([0.0, 0.0051]), expected)


def test_another_shape_is_wrong(model: MobileSam) -> None:
    with pytest.raises(EngineError, match=r"detail has shape \(2,\) instead of \(1,\)"):
        check_output(Strict(model), "detail", torch.ones(2), torch.ones(1))
