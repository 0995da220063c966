"""What the stages of a live stream take: measured on the real thing, tiny."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.stream.evaluate_costs import measure_costs
from maskstream.stream.evaluate_data import find_sequences


@pytest.mark.parametrize("rate", [2, 60])  # every frame in time, and hardly one
def test_every_stage_has_taken_some_time(davis, rate, monkeypatch):
    predictor = Predictor(MobileSam().eval(), 64)
    encode = predictor.encode

    def slow(image):
        torch.nn.functional.conv2d(torch.zeros(1, 8, 400, 400), torch.zeros(8, 8, 9, 9))  # some 30 ms
        return encode(image)

    monkeypatch.setattr(predictor, "encode", slow)
    costs = measure_costs(predictor, find_sequences(davis.root)[1], rate, seconds=0.5)
    for field in fields(costs):
        assert 0 < getattr(costs, field.name) < 5000
    assert costs.encode > costs.move
