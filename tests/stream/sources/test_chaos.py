"""The source that breaks on purpose: scripts do what they say, a seed says it all, nothing is left open."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
from maskstream.model.errors import ConfigError, InputError, SourceError, StreamBrokenError
from maskstream.stream.chaos_plan import KINDS, ChaosConfig, Fault, RandomFaults, plan
from maskstream.stream.chaos_spec import parse_chaos
from maskstream.stream.recovery_settings import ReconnectConfig
from maskstream.stream.source_base import UnreadyError
from maskstream.stream.source_status import SourceState
from maskstream.stream.sources import files_of, open_source
from maskstream.stream.urls import redact

QUICK = ReconnectConfig(first_delay_s=0.001, longest_delay_s=0.002)
PLAIN = "synthetic:objects=1,frames=40,width=32,height=24,fps=10"


def script(tmp_path, faults, source=PLAIN, **keys):
    lines = [f"source: {source}", *(f"{key}: {value}" for key, value in keys.items()), "faults:"]
    path = tmp_path / "faults.yaml"
    path.write_text("\n".join([*lines, *(f"  - {fault}" for fault in faults)]) + "\n")
    return f"chaos:{path}"


def play(spec, **arguments):
    with open_source(spec, reconnect=QUICK, notify=lambda note: None, **arguments) as source:
        frames = list(source)
    assert np.diff([frame.pts for frame in frames]).min() > 0
    assert np.diff([frame.index for frame in frames]).min() > 0
    return frames, source.status()


def plain_images():
    with open_source(PLAIN) as source:
        return [frame.image for frame in source]


# asking for it


def test_a_spec_with_options():
    config = parse_chaos(
        "chaos:clip.mp4?seed=7&faults=stall,drop&every=20&count=5&pace=fast&longest_stall_s=0.5"
    )
    assert config == ChaosConfig(
        "clip.mp4", seed=7, pace="fast", random=RandomFaults(("stall", "drop"), 20.0, 5, 0.5)
    )
    assert parse_chaos("chaos:clip.mp4").random == RandomFaults()
    assert parse_chaos("chaos:clip.mp4?faults=all").random.kinds == KINDS
    assert parse_chaos("chaos:frames/*.png?refusals=2") == ChaosConfig(
        "frames/*.png", refusals=2, random=RandomFaults()
    )


def test_a_url_keeps_its_own_query():
    assert parse_chaos("chaos:http://me:secret@host/x?token=1").source == "http://me:secret@host/x?token=1"
    config = parse_chaos("chaos:rtsp://host/x?channel=1?seed=3")
    assert (config.source, config.seed) == ("rtsp://host/x?channel=1", 3)
    assert redact("chaos:rtsp://me:secret@host/x?pwd=secret") == "chaos:rtsp://me:***@host/x?pwd=***"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("chaos:", "names no source"),
        ("chaos:clip.mp4?sed=1", "unknown option 'sed', did you mean 'seed'?"),
        ("chaos:clip.mp4?seed=x", "seed must be a number, got 'x'"),
        ("chaos:clip.mp4?faults=stal", "kinds[0]: expected one of stall, drop"),
        ("chaos:clip.mp4?every=0", "every: must be at least 1"),
        ("chaos:clip.mp4?pace=slow", "pace: expected one of live, fast"),
        ("chaos:faults.yaml?every=3", "every belongs into faults.yaml"),
        ("chaos:nothing.mp4?seed=1", "there is no such file"),
    ],
)
def test_mistakes_are_answered(spec, words):
    with pytest.raises(InputError) as caught:
        open_source(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_in_a_script_have_a_line(tmp_path):
    spec = script(tmp_path, ["{at: 3, do: stall}", "{at: 4, do: dorp}"])
    with pytest.raises(ConfigError, match=r"faults\.yaml:4: faults\[1\]\.do: expected one of stall"):
        open_source(spec)
    with pytest.raises(ConfigError, match=r"faults\.yaml:3: faults\[0\]: needs the key 'do'"):
        open_source(script(tmp_path, ["{at: 3}"]))


def test_the_wrapped_file_is_known_as_an_input(tmp_path):
    (tmp_path / "clip.mp4").touch()
    assert files_of(f"chaos:{tmp_path}/clip.mp4?seed=1") == [tmp_path / "clip.mp4"]


# the plan


def test_a_seed_says_it_all():
    config = ChaosConfig("x", seed=4, random=RandomFaults(every=10, count=200))
    faults = list(plan(config))
    assert faults == list(plan(config))
    assert faults != list(plan(replace(config, seed=5)))
    assert len(faults) == 200
    assert set(Counter(fault.do for fault in faults)) == set(KINDS)
    assert 8 < faults[-1].at / 200 < 13
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)


def test_scripted_and_random_faults_together():
    scripted = (Fault(50, "stall"), Fault(5, "drop"))
    config = ChaosConfig("x", faults=scripted, random=RandomFaults(("corrupt",), every=10))
    faults = list(islice(plan(config), 20))
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert set(scripted) <= set(faults)
    assert list(plan(ChaosConfig("x", faults=scripted))) == [scripted[1], scripted[0]]


# each fault


def test_without_faults_nothing_changes(tmp_path):
    frames, status = play(f"chaos:{PLAIN}?faults=drop&count=0&pace=fast")
    assert [frame.image.tobytes() for frame in frames] == [image.tobytes() for image in plain_images()]
    assert [frame.pts for frame in frames] == list(range(40))
    assert frames[0].source_id == "chaos:synthetic"
    assert status.counts.notes() == []
    assert status.state is SourceState.ENDED


def test_dropped_frames_leave_a_gap(tmp_path):
    frames, _ = play(script(tmp_path, ["{at: 10, do: drop, frames: 3}"], pace="fast"))
    assert [frame.index for frame in frames] == [*range(10), *range(13, 40)]
    assert [frame.pts for frame in frames] == [*range(10), *range(13, 40)]


def test_corrupt_frames_are_damaged_or_missing(tmp_path):
    frames, status = play(script(tmp_path, ["{at: 5, do: corrupt, frames: 20}"], pace="fast"))
    images, counts = plain_images(), status.counts
    odd = [frame.index for frame in frames if frame.image.tobytes() != images[frame.index].tobytes()]
    assert set(odd) <= set(range(5, 25))
    assert len(odd) == counts.damaged_frames > 5
    assert 40 - len(frames) == counts.corrupt_packets > 0
    assert counts.corrupt_packets + counts.damaged_frames == 20


def test_the_clock_jumps_and_time_goes_on(tmp_path):
    faults = ["{at: 10, do: jump, seconds: -60}", "{at: 20, do: jump, seconds: 3600}"]
    frames, status = play(script(tmp_path, faults, pace="fast"))
    assert len(frames) == 40
    assert frames[10].pts == frames[9].pts + 1
    assert frames[20].time_s - frames[19].time_s == pytest.approx(
        3600.1
    )  # of a recording nothing says it is wrong
    assert status.counts.corrected_pts == 1


def test_a_live_clock_is_corrected_in_both_directions(tmp_path):
    source = "synthetic:objects=1,frames=20,width=32,height=24,fps=100"
    faults = ["{at: 5, do: jump, seconds: -60}", "{at: 10, do: jump, seconds: 3600}"]
    frames, status = play(script(tmp_path, faults, source=source))
    assert len(frames) == 20
    assert frames[-1].time_s < 2
    assert status.counts.corrected_pts == 2


def test_frames_without_a_time(tmp_path):
    frames, status = play(script(tmp_path, ["{at: 7, do: no_pts, frames: 2}"], pace="fast"))
    assert [frame.pts for frame in frames] == list(range(40))
    assert status.counts.derived_pts == 2


def test_duplicates_are_kept_of_files_and_left_out_of_live_streams(tmp_path):
    faults = ["{at: 7, do: duplicate, frames: 2}"]
    frames, status = play(script(tmp_path, faults, pace="fast"))
    assert len(frames) == 42
    assert {frame.image.tobytes() for frame in frames[7:10]} == {frames[7].image.tobytes()}
    assert status.counts.duplicate_frames == 0
    source = "synthetic:objects=1,frames=20,width=32,height=24,fps=100"
    frames, status = play(script(tmp_path, faults, source=source))
    assert len(frames) == 20
    assert status.counts.duplicate_frames == 2


def test_the_resolution_changes_and_comes_back(tmp_path):
    faults = ["{at: 10, do: resize, scale: 2}", "{at: 30, do: resize, scale: 1}"]
    frames, status = play(script(tmp_path, faults, pace="fast"))
    assert [frame.hw for frame in frames] == [(24, 32)] * 10 + [(48, 64)] * 20 + [(24, 32)] * 10
    assert status.counts.resized_frames == 20


def test_a_disconnect_is_recovered_from(tmp_path):
    spec = script(tmp_path, ["{at: 10, do: disconnect, failures: 3}"], pace="fast", refusals=2)
    notes = []
    with open_source(spec, reconnect=QUICK, notify=notes.append) as source:
        frames = list(source)
    status = source.status()
    assert [frame.index for frame in frames] == list(range(40))
    assert [frame.stretch for frame in frames] == [0] * 10 + [1] * 30
    assert [frame.pts for frame in frames] == list(range(40))
    assert status.counts.reconnects == 1
    assert "connection refused, as its plan says; trying until it is there" in notes[0]
    assert "broke off: the connection was lost, as its plan says" in notes[1]
    assert "is back after" in notes[2]


def test_without_reconnecting_a_disconnect_is_the_end(tmp_path):
    source = open_source(script(tmp_path, ["{at: 10, do: disconnect}"], pace="fast"))
    with source, pytest.raises(StreamBrokenError, match="chaos:synthetic broke off"):
        list(source)
    with pytest.raises(UnreadyError, match="connection refused"):
        open_source(f"chaos:{PLAIN}?refusals=1")
    with pytest.raises(SourceError):
        open_source(f"chaos:{PLAIN}?refusals=1", reconnect=ReconnectConfig(at_start="fail"))


def test_a_stall_is_seen_as_one(tmp_path):
    source = "synthetic:objects=1,frames=12,width=32,height=24,fps=20"
    settings = replace(QUICK, stall_after_s=0.2)
    spec = script(tmp_path, ["{at: 5, do: stall, seconds: 0.5}"], source=source)
    with open_source(spec, reconnect=settings) as opened:
        frames = list(opened)
    gaps_s = [(second.captured_ns - first.captured_ns) / 1e9 for first, second in pairwise(frames)]
    assert len(frames) == 12
    assert gaps_s[4] > 0.45
    assert max(gaps_s[5:9]) < 0.2  # then what was held up comes at once
    assert opened.status().counts.stalls == 1
    assert [frame.pts for frame in frames] == list(range(12))


def test_a_live_camera_goes_on_while_nobody_is_connected(tmp_path):
    source = "synthetic:objects=1,frames=60,width=32,height=24,fps=50"
    slow = ReconnectConfig(first_delay_s=2, longest_delay_s=2)
    spec = script(tmp_path, ["{at: 10, do: disconnect}"], source=source, seed=3)  # by which it waits 0.48 s
    began_s = time.monotonic()
    with open_source(spec, reconnect=slow, notify=lambda note: None) as opened:
        frames = list(opened)
    assert time.monotonic() - began_s < 2.5
    assert 15 < 60 - len(frames) < 35
    assert frames[10].stretch == 1
    assert frames[10].time_s - frames[9].time_s == pytest.approx(0.48, abs=0.15)
    assert frames[-1].time_s == pytest.approx(59 / 50, abs=0.15)


# as a whole


def test_the_same_seed_gives_the_same_frames():
    source = "synthetic:objects=1,frames=200,width=32,height=24"
    spec = f"chaos:{source}?seed=5&every=6&pace=fast&longest_stall_s=0.002"
    (first, _), (second, status) = play(spec), play(spec)

    def seen(frames):
        return [(frame.index, frame.pts, frame.stretch, frame.hw, frame.image.tobytes()) for frame in frames]

    assert seen(first) == seen(second)
    assert status.counts.reconnects > 0


def test_closing_at_any_moment_leaves_nothing(make_clip):
    path = make_clip("clip.mp4", frames=30)
    slow = ReconnectConfig(first_delay_s=3600, longest_delay_s=3600)
    for fault in ("stall", "disconnect"):
        spec = f"chaos:{path}?faults={fault}&every=1&pace=fast&longest_stall_s=3600&seed=1"
        source = open_source(spec, reconnect=slow, notify=lambda note: None)
        reading = threading.Thread(target=lambda source=source: list(source))
        reading.start()
        time.sleep(0.1)
        began_s = time.monotonic()
        source.close()
        reading.join(2)
        assert not reading.is_alive()
        assert time.monotonic() - began_s < 0.7
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("maskstream-")]
