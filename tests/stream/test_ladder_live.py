"""The ladder with its thread and real networks, in a pipeline."""

from __future__ import annotations

import threading
from fractions import Fraction

import numpy as np
import pytest
from maskstream.model.mobile_sam import MobileSam
from maskstream.model.predictor import Predictor
from maskstream.model.types import MaskOrigin, Prompt
from maskstream.stream.agenda import Agenda
from maskstream.stream.commands import Show
from maskstream.stream.ladder_live import live_ladder
from maskstream.stream.pipeline import Pipeline, QueuePlan
from maskstream.stream.queues import Overflow
from maskstream.stream.sources import open_source

SCENE = "synthetic:scene=drift,objects=1,frames=12,width=96,height=64,fps=50"
LOSSLESS = QueuePlan(capacity=4, sink_capacity=8, overflow=Overflow.BLOCK)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(MobileSam().eval(), 64)


def shown():
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    return Show(Prompt(1, mask=mask))


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "ladder worker"]


def test_every_frame_is_answered_once_in_order_and_its_thread_ends(predictor):
    results = []
    ladder = live_ladder(predictor, Agenda([shown()]), Fraction(50))
    source = open_source(SCENE)
    with Pipeline(source, ladder, plan=LOSSLESS, on_result=results.append) as pipeline:
        pipeline.join()
    assert [result.frame.index for result in results] == list(range(12))
    assert [len(result.objects) for result in results] == [1] * 12  # the drawn mask from the first on
    assert results[0].objects[0].how in (MaskOrigin.REFINED, MaskOrigin.FRESH)
    assert workers() == []


def test_a_worker_that_fails_stops_the_pipeline_with_its_own_error(predictor, monkeypatch):
    error = RuntimeError("out of memory")

    def fail(image):
        raise error

    monkeypatch.setattr(predictor, "encode", fail)
    endless = open_source(SCENE.replace("frames=12", "frames=100000"))
    ladder = live_ladder(predictor, Agenda([shown()]), Fraction(50))
    with pytest.raises(RuntimeError) as caught, Pipeline(endless, ladder) as pipeline:
        pipeline.join()
    assert caught.value is error
    assert workers() == []


@pytest.mark.parametrize(
    ("rate", "budget_ms"), [(Fraction(25), 40.0), (None, 1000 / 30), (Fraction(90_000), 1000 / 120)]
)
def test_a_frames_budget_is_the_time_to_the_next(predictor, rate, budget_ms):
    ladder = live_ladder(predictor, Agenda(), rate)
    assert ladder.budget_ns == pytest.approx(1e6 * budget_ms)
    ladder.close()
