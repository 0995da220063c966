from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from maskstream.model.quality import QualityTable
from maskstream.stream import cli_eval
from maskstream.stream.cli import main
from maskstream.stream.costs import Costs
from maskstream.stream.evaluate_realtime import RealtimeSegmenter
from PIL import Image


class Announced:
    """A plain function as a segmenter that knows of nothing to come."""

    def __init__(self, segment):
        self.segment = segment

    def __call__(self, frame):
        return self.segment(frame)

    def is_due(self, frame):
        return False


@pytest.fixture
def networks(monkeypatch, erring):
    """In place of the weights: a tracker that errs, and a decoder that answers with nothing."""

    class Stub:
        def __init__(self, model):
            self.size = model.size

        def record(self):
            weights = {"name": "stub", "sha256": "0123456789abcdef"}
            return {"device": "cpu", "engine": "torch", "size": self.size, "weights": weights}

        def measure_costs(self, sequence, rate):
            return Costs(80, 30, 4, 1)

        def segmenters(self, workers, realtime=None):
            if realtime is None:
                return erring
            return lambda schedule: RealtimeSegmenter(Announced(erring(schedule)), list, realtime)

        def stills(self):
            return lambda image: lambda prompts, multimask: np.zeros((len(prompts), *image.shape[:2]), bool)

    monkeypatch.setattr(cli_eval, "choose_networks", lambda model, progress, notify: Stub(model))
    return erring


def run(capsys, *line):
    code = main(["eval", *map(str, line)])
    return code, capsys.readouterr()


def test_one_json_object_with_the_headline_first(capsys, networks, davis):
    code, output = run(capsys, davis.root, "--seed", "box", "--size", "512", "--json")
    assert code == 0
    assert output.err == ""
    record = json.loads(output.out)
    assert list(record)[:3] == ["J", "F", "JF"]
    assert record["J"] == pytest.approx(np.mean([0.671534, 0.783066, 0.733256, 0.647063]), abs=1e-6)
    assert (record["seed"], record["size"], record["device"]) == ("box", 512, "cpu")
    assert record["weights"]["name"] == "stub"
    assert record["command"] == f"maskstream eval {davis.root} --seed box --size 512 --json"
    assert record["packages"]["maskstream"]
    assert {"absent_empty", "falsely_empty", "ECE", "ECE_refit", "fps", "encode_ms", "track_ms"} <= set(
        record
    )
    assert networks.schedules[0][0].prompt.box_xyxy is not None


def test_tables_for_people(capsys, networks, davis):
    code, output = run(capsys, davis.root)
    assert code == 0
    for words in ("alone", "crowd", "object 2", "mean of 4 objects", "J&F", "empty masks: 66.7% of 3 frames"):
        assert words in output.out
    assert "expected calibration error" in output.out
    assert output.err == ""  # no progress where nobody looks


def test_the_same_command_gives_the_same_figures_and_pictures(capsys, networks, davis, tmp_path):
    written = []
    for name in ("a", "b"):
        run(capsys, davis.root, "--out", tmp_path / name, "--json")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append(
            {
                path.relative_to(tmp_path / name): path.read_bytes()
                for path in files
                if path.name != "results.json"
            }
        )
    assert written[0] == written[1]


def test_a_folder_of_everything(capsys, networks, davis, tmp_path):
    out = tmp_path / "out"
    code, output = run(capsys, davis.root, "--out", out)
    assert code == 0
    assert f"wrote {out}" in output.out
    assert sorted(path.name for path in out.iterdir()) == [
        "frames.csv",
        "plots",
        "predictions",
        "results.json",
        "worst.jpg",
    ]
    assert len(list((out / "predictions" / "crowd").glob("*.png"))) == 12
    assert {path.name for path in (out / "plots").iterdir()} == {"alone.png", "crowd.png"}
    with (out / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 + 10 + 7 + 10
    assert rows[0].keys() >= {"sequence", "object", "frame", "j", "f", "iou", "quality", "state"}
    record = json.loads((out / "results.json").read_text())
    assert record["is_complete"] is True
    of_alone = [float(row["j"]) for row in rows if row["sequence"] == "alone"]
    assert record["sequences"][0]["J"] == pytest.approx(np.mean(of_alone))
    with Image.open(out / "worst.jpg") as sheet:
        assert sheet.width == 4 * (480 + 6)


def test_a_second_evaluation_replaces_the_first(capsys, networks, davis, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("alone\n")
    run(capsys, davis.root, "--out", tmp_path / "out")
    assert run(capsys, davis.root, "--out", tmp_path / "out", "--sequences", names)[0] == 0
    assert [path.name for path in (tmp_path / "out" / "predictions").iterdir()] == ["alone"]


def test_a_folder_with_other_things_is_left_alone(capsys, networks, davis, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    code, output = run(capsys, davis.root, "--out", tmp_path)
    assert code == 2
    assert "holds other files" in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_evaluation_that_broke_off_is_known_as_such(capsys, networks, davis, tmp_path):
    def stop(mask, frame, object_id):
        raise KeyboardInterrupt

    networks.error = stop
    code, output = run(capsys, davis.root, "--out", tmp_path / "out")
    assert (code, output.err) == (130, "maskstream: interrupted\n")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["is_complete"] is False


def test_quality_is_fitted_into_a_file(capsys, networks, davis, tmp_path):
    path = tmp_path / "table.json"
    assert run(capsys, davis.root, "--fit-quality", path)[0] == 0
    record = json.loads(path.read_text())
    QualityTable(tuple(record["raw"]), tuple(record["quality"]))  # refuses knots that do not rise
    assert record["masks"] > 20
    assert record["command"].startswith("maskstream eval")


def test_stills_beside_videos(capsys, networks, davis, tmp_path):
    images, labels = tmp_path / "images" / "all", tmp_path / "labels" / "all"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(images / "a.jpg")
    (labels / "a.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    code, output = run(capsys, davis.root, "--stills", tmp_path, "--json", "--out", tmp_path / "out")
    record = json.loads(output.out)
    assert (code, record["box_mIoU"], record["click_mIoU"]) == (0, 0, 0)
    assert record["J"] > 0
    assert (tmp_path / "out" / "instances.csv").read_text().startswith("picture,area_px,box_iou,click_iou")
    code, output = run(capsys, "--stills", tmp_path)
    assert code == 0
    assert "all, on 1 pictures" in output.out
    assert "J&F" not in output.out


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ([], "nothing to score: name a DATASET in DAVIS layout, or give --stills DIR"),
        (["nowhere"], "nowhere is not in DAVIS layout"),
        (["--stills", "nowhere"], "nowhere must hold the folders images and labels"),
        (["--stills", "x", "--fit-quality", "t.json"], "--fit-quality learns from tracked masks"),
        (["nowhere", "--workers", "0"], "--workers must be at least 1, got 0"),
        (["nowhere", "--max-frames", "2"], "--max-frames must be at least 3, got 2"),
        (["nowhere", "--size", "500"], "model.size: must be a multiple of 16 from 64 to 2048, got 500"),
        (["nowhere", "--seed", "boxes"], "argument --seed: invalid choice: 'boxes'"),
        (["nowhere", "--out", "a/b/c"], "nowhere is not in DAVIS layout"),
    ],
)
def test_a_wrong_line_is_told_in_one_line(capsys, networks, monkeypatch, tmp_path, line, complaint):
    monkeypatch.chdir(tmp_path)
    code, output = run(capsys, *line)
    assert (code, output.out) == (2, "")
    assert complaint in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--out", "--fit-quality"])
def test_an_output_that_cannot_be_written_is_told_before_any_work(capsys, networks, davis, tmp_path, option):
    code, output = run(capsys, davis.root, option, tmp_path / "none" / "there")
    assert code == 2
    assert "does not exist; create it" in output.err
    assert networks.schedules == []


def test_bad_input_is_refused_without_loading_torch():
    script = (
        "import sys; from maskstream.stream.cli import main\n"
        "print(main(['eval', 'nowhere']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


COSTS = "encode=80,track=30,flow=4,move=1"


def test_a_live_stream_is_scored_by_given_costs(capsys, networks, davis):
    line = (davis.root, "--realtime", "24", "--costs", COSTS, "--json")
    records = [json.loads(run(capsys, *line)[1].out) for _ in range(2)]
    live = records[0]["realtime"]
    assert (live["rate"], live["costs_are_measured"]) == (24, False)
    assert live["costs_ms"] == {"encode": 80, "track": 30, "flow": 4, "move": 1}
    assert live["how"]["warped"] > 0.5
    assert 80 < live["age_p50_ms"] <= live["age_p95_ms"] < 250
    assert 5 < live["fresh_fps"] < 10
    assert records[0]["JF"] == records[1]["JF"]
    assert records[0]["fps"] is None


def test_a_live_stream_for_people_by_measured_costs(capsys, networks, davis):
    code, output = run(capsys, davis.root, "--realtime", "24")
    assert code == 0
    assert "as a live stream of 24 frames/s; costs measured: encode 80.0 ms, track 30.0 ms" in output.out
    assert "frames/s encoded; " in output.out


def test_a_machine_that_encodes_in_time_scores_as_a_file_does(capsys, networks, davis):
    quick = ("--realtime", "24", "--costs", "encode=20,track=10,flow=4,move=1")
    live, file = (json.loads(run(capsys, davis.root, *how, "--json")[1].out) for how in (quick, ()))
    assert live["JF"] == file["JF"]
    assert live["realtime"]["how"] == {"fresh": 1.0}
    assert live["realtime"]["fresh_fps"] == 24


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (("--costs", COSTS), "say how fast it comes, --realtime 24"),
        (("--realtime", "0"), "--realtime must be in 1..1000 frames/s, got 0"),
        (("--realtime", "24", "--costs", "encode=80"), "give encode, track, flow, move, each in ms"),
        (("--realtime", "24", "--costs", COSTS + ",x=1"), "give encode, track, flow, move, each in ms"),
        (("--realtime", "24", "--costs", "encode=a,track=30,flow=4,move=1"), "such as encode=80"),
        (("--realtime", "24", "--costs", COSTS.replace("80", "-1")), "encode must be above 0"),
    ],
)
def test_live_streams_that_make_no_sense(capsys, networks, davis, line, complaint):
    code, output = run(capsys, davis.root, *line)
    assert code == 2
    assert complaint in output.err
