"""`maskstream bench`: what may be asked for, and what comes out."""

from __future__ import annotations

import json

import pytest
from maskstream.stream import cli_bench
from maskstream.stream.bench_rows import Row, durations
from maskstream.stream.cli import main
from maskstream.stream.cli_bench_options import FIGURES
from PIL import Image


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """In place of the work: rows that are made up, and what was asked for."""
    settings = []

    def figure(name):
        def rows(wanted, notify):
            settings.append((name, wanted))
            notify(f"{name} ...")
            yield durations(name, "a frame", "openvino", [10.0, 20.0], [40.0, 80.0])
            yield Row(name, "published", "live", 30.0, "/s", 7)

        return rows

    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"")
    monkeypatch.setattr(cli_bench, "FIGURES", {name: figure(name) for name in cli_bench.FIGURES})
    return settings, ["--weights", str(weights)]


def test_every_figure_is_made_if_none_is_named(asked, capsys):
    settings, weights = asked
    assert main(["bench", *weights, "--json"]) == 0
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert [name for name, _ in settings] == list(FIGURES)
    assert record["rows"][0]["times_faster"] == 4
    assert record["rows"][1]["value"] == 30
    assert record["machine"]["CPU"]
    assert len(record["load_average"]) in (0, 3)
    assert record["command"].startswith("maskstream bench --weights")
    assert "frame ..." in output.err


def test_settings_reach_the_figures(asked, capsys):
    settings, weights = asked
    what = "engines --sizes 256 512 --engines torch --objects 2 3 --live-size 448 --streams 4 3"
    how = "--runs 5 --seconds 2 --frames 9 --threads 1"
    assert main(["bench", *what.split(), *how.split(), *weights]) == 0
    ((name, wanted),) = settings
    assert (name, wanted.sizes, wanted.engines, wanted.objects) == ("engines", (256, 512), ["torch"], (2, 3))
    assert (wanted.engine, wanted.live_size, wanted.streams) == ("auto", 448, (3, 4))
    assert (wanted.runs, wanted.seconds, wanted.frames, wanted.threads) == (5, 2, 9, 1)
    assert "openvino" in capsys.readouterr().out


def test_a_picture_and_a_page(asked, tmp_path, capsys):
    _, weights = asked
    plot, report = tmp_path / "bench.png", tmp_path / "bench.md"
    assert main(["bench", "frame", *weights, "--plot", str(plot), "--report", str(report)]) == 0
    with Image.open(plot) as picture:
        assert picture.width == 1000
    lines = report.read_text().splitlines()
    assert "| frame | published | live | 30.0 | /s |  |  |  | 7 |" in lines
    assert any(line.startswith("| CPU |") for line in lines)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("speed", "no figure 'speed'; there are: frame, objects"),
        ("--runs 1", "--runs must be at least 2, got 1"),
        ("--sizes 0", "--sizes must be at least 1, got 0"),
        ("--seconds 0", "--seconds must be at least 1, got 0"),
        ("--frames 1", "--frames must be at least 8, got 1"),
        ("--plot none/a.png", "the folder none does not exist"),
        ("engines --engines tensorrt", "no engine 'tensorrt'"),
    ],
)
def test_what_makes_no_sense(asked, line, complaint, capsys):
    _, weights = asked
    assert main(["bench", *line.split(), *weights]) == 2
    assert complaint in capsys.readouterr().err
