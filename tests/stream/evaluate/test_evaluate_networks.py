from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from maskstream.model.download import no_progress
from maskstream.model.errors import ConfigError, WeightsError
from maskstream.stream.config import ModelConfig
from maskstream.stream.evaluate_networks import Networks, choose_networks

FILE = Path("weights.pt")


def networks(threads=None):
    return Networks(FILE, "mine", "cpu", "torch", 512, threads)


@pytest.mark.parametrize(
    ("threads", "workers", "expected"),
    [
        (None, 1, None),
        (None, 2, max(1, (os.cpu_count() or 1) // 2)),
        (None, 10_000, 1),
        (3, 1, 3),
        (3, 2, 3),
    ],
)
def test_workers_share_the_cores_unless_told_otherwise(threads, workers, expected):
    assert networks(threads).segmenters(workers).networks.threads == expected


def test_what_begins_videos_can_be_sent_to_another_process():
    segmenters = networks().segmenters(2)
    assert pickle.loads(pickle.dumps(segmenters)) == segmenters


def test_a_file_of_ones_own_goes_by_its_name_and_sha256(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    chosen = choose_networks(ModelConfig(str(path), "cpu", 512, "torch"), no_progress, print)
    assert chosen == Networks(path, "mine.pt", "cpu", "torch", 512, None)
    assert chosen.record() == {
        "device": "cpu",
        "engine": "torch",
        "size": 512,
        "weights": {
            "name": "mine.pt",
            "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
        },
    }


@pytest.mark.parametrize(
    ("config", "error", "complaint"),
    [
        (ModelConfig("none.pt"), WeightsError, "no file and no known weights 'none.pt'"),
        (ModelConfig(device="cuda", engine="openvino"), ConfigError, "not on"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_loaded(config, error, complaint):
    with pytest.raises(error, match=complaint):
        choose_networks(config, no_progress, print)
