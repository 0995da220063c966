"""docs/evaluation.md tells of everything that comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from maskstream.stream.cli import main
from maskstream.stream.evaluate import Job, evaluate
from maskstream.stream.evaluate_data import find_sequences
from maskstream.stream.evaluate_report import video_record
from maskstream.stream.evaluate_stills import InstanceScore, stills_record

TEXT = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
CODE = set(re.findall(r"`([^`]+)`", TEXT))


def test_every_key_is_explained(davis, erring):
    record = video_record(list(evaluate([Job(find_sequences(davis.root)[0], "mask")], erring)))
    record.update(stills_record([InstanceScore("a.jpg", 9, 0.5, 0.5, 1.0)]))
    assert record.keys() <= CODE


def test_every_option_is_explained(capsys):
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert len(options) > 10
    assert options <= {word for code in CODE for word in code.split()}
