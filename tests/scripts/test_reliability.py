"""The short forms of the reliability figures; and whether their scripts would find what is wrong."""

from __future__ import annotations

import importlib
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from maskstream.model.errors import WeightsError
from maskstream.model.weights import resolve

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def load(monkeypatch):
    """A script as a module; scripts find each other in their own folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ["rtsp_process", "check_faults", "check_reconnect", "check_neighbours"]
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def weights():
    try:
        resolve()
    except WeightsError as error:
        pytest.skip(f"no weights: {error}")


@pytest.mark.parametrize("pace", ["fast", "live"])
def test_faults_are_survived(load, capsys, pace):
    assert load("check_faults").main(["--faults", "60", "--every", "3", "--pace", pace]) == 0
    printed = capsys.readouterr().out
    assert "faults 60: " in printed
    assert "all published once and in order, nothing left" in printed


@pytest.mark.weights
@pytest.mark.parametrize("pace", ["fast", "live"])
def test_faults_are_survived_with_the_networks(load, capsys, weights, pace):
    options = ["--faults", "12", "--every", "4", "--pace", pace, "--model", "128", "--engine", "torch"]
    assert load("check_faults").main(options) == 0, capsys.readouterr().out


def test_what_is_wrong_is_found(load):
    check = load("check_faults")
    good = check.Outcome(1.0, [0, 1, 2, 4], 5, 1, None, True, None, {"messages": [0, 1, 2, 4]}, 4)
    assert check.problems_of(good) == []
    for spoilt, words in (
        (replace(good, ended=False), "hung"),
        (replace(good, error=OSError("full")), "failed: OSError"),
        (replace(good, captured=6), "6 captured, 4 accepted, 1 dropped"),
        (replace(good, published={"messages": [0, 1, 4]}), "messages: 1 frames missing, 0 twice"),
        (replace(good, published={"messages": [0, 1, 1, 2, 4]}), "0 frames missing, 1 twice"),
        (replace(good, published={"messages": [0, 2, 1, 4]}), "messages: 0 frames missing"),
        (replace(good, pictures=3), "video: 3 pictures for 4 frames"),
        (replace(good, accepted=[0, 2, 1, 4], published={}), "out of order"),
    ):
        assert any(words in problem for problem in check.problems_of(spoilt)), words


def test_what_is_left_open_is_found(load):
    check = load("check_faults")
    before = check.left_open()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    with (SCRIPTS / "check_faults.py").open():
        left = [item for item in check.left_open() if item not in before]
    stop.set()
    thread.join()
    assert sorted(left) == [f"file {SCRIPTS / 'check_faults.py'} #0", "thread forgotten #0"]


@pytest.mark.weights
def test_a_killed_camera_comes_back(load, capsys, weights, rtsp):
    code = load("check_reconnect").main(
        ["--rounds", "1", "--size", "128", "--engine", "torch", "--down-s", "0.5", "0.6"]
    )
    printed = capsys.readouterr().out
    assert "recoveries 1 of 1, hangs 0" in printed
    assert "same ids in 1 of 1, frames invented 0" in printed
    assert (
        code == 0 or "slowest" in printed
    )  # how soon it is back is for a machine that has nothing else to do


def test_what_a_camera_does_wrong_is_found(load, capsys):
    check = load("check_reconnect")
    good = check.Round(1.0, 0.5, frozenset({1, 2}), 1.0, 0)
    assert check.report([good], {"notes": []}, 0.5) == 0
    for spoilt in (
        replace(good, back_s=None),
        replace(good, back_s=1.5),
        replace(good, ids=frozenset({1})),
        replace(good, invented=1),
    ):
        assert check.report([spoilt], {"notes": []}, 0.5) == 1
    assert check.report([good], {}, 20.0) == 1


def test_healthy_cameras_do_not_notice_sick_ones(load, capsys, rtsp):
    load("check_neighbours").main(["--seconds", "3"])
    lines = capsys.readouterr().out.splitlines()
    together = [line for line in lines if line.startswith("together")]
    assert [" running" in line for line in together[:2]] == [True, True]
    assert "reconnecting" in together[2]
    assert int(together[0].split()[3]) > 60
    assert " 0 missing" in together[0] + together[1]
