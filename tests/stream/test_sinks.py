from __future__ import annotations

from pathlib import Path

import pytest
from maskstream.model.errors import ConfigError, SinkError
from maskstream.stream.sinks import CollectSink, MaskSink, PreviewSink, VideoSink, ZmqSink, make_sink


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("video=out.mp4", VideoSink),
        ("masks=out", MaskSink),
        ("masks=out?png=0&overwrite=yes", MaskSink),
        ("zmq=tcp://127.0.0.1:5555", ZmqSink),
        ("zmq=5555?subscribers=2&wait_s=1.5&hwm=10&keep=all&heartbeat_s=2&linger_s=0", ZmqSink),
        ("preview=out.png", PreviewSink),
    ],
)
def test_each_kind_is_made_from_its_name(spec, kind):
    assert isinstance(make_sink(spec), kind)


def test_a_bare_port_is_on_the_loopback():
    assert make_sink("zmq=5555?wait_s=0").endpoint == "tcp://127.0.0.1:5555"


def test_paths_may_hold_equals_signs_and_question_marks_and_start_at_home():
    assert make_sink("video=a=b?.mp4").path == Path("a=b?.mp4")
    assert make_sink("video=~/out.mp4").path == Path.home() / "out.mp4"


def test_options_arrive(tmp_path, make_info, make_result):
    sink = make_sink(f"masks={tmp_path / 'out'}?png=0")
    sink.open(make_info())
    sink.write(make_result())
    sink.close()
    assert not (tmp_path / "out" / "png").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vidoe=out.mp4", "unknown kind 'vidoe', did you mean 'video'"),
        ("kafka=out", "unknown kind 'kafka', known are video, masks, zmq, preview"),
        ("out.mp4", "has no kind, did you mean 'video=out.mp4'"),
        ("out.png", "did you mean 'preview=out.png'"),
        ("out/masks", "did you mean 'masks=out/masks'"),
        ("tcp://127.0.0.1:5555", "did you mean 'zmq=tcp://127.0.0.1:5555'"),
        ("video=", "the target is missing, as in video=out.mp4"),
        ("zmq=5555?lingr_s=1", "unknown option 'lingr_s', did you mean 'linger_s'"),
        ("zmq=5555?wait_s=soon", "wait_s='soon': must be seconds"),
        ("zmq=5555?wait_s=nan", "wait_s='nan': must be seconds"),
        ("zmq=5555?subscribers=-1", "subscribers='-1': must be a whole number"),
        ("masks=out?png=maybe", "png='maybe': must be 1 or 0"),
    ],
)
def test_a_spec_that_makes_no_sense_is_answered_with_what_was_meant(spec, message):
    with pytest.raises(ConfigError, match=message):
        make_sink(spec)


@pytest.mark.parametrize(
    "spec", ["video={}/out.mp4", "masks={}/out", "zmq=tcp://127.0.0.1:*", "preview={}/out.png"]
)
def test_every_sink_can_be_closed_twice_opened_or_not(tmp_path, make_info, spec):
    sink = make_sink(spec.format(tmp_path))
    sink.check()
    sink.close()
    sink = make_sink(spec.format(tmp_path) + ("?wait_s=0" if spec.startswith("zmq") else ""))
    sink.open(make_info())
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", ["video={}/out.mp4", "masks={}", "preview={}/out.png"])
def test_a_folder_that_refuses_files_is_named_at_once(spec):
    with pytest.raises(SinkError, match="cannot write /proc"):
        make_sink(spec.format("/proc/self")).check()


def test_the_collect_sink_keeps_everything(make_info, make_result):
    sink, info, results = CollectSink(), make_info(), [make_result(i) for i in range(3)]
    sink.check()
    sink.open(info)
    for result in results:
        sink.write(result)
    assert not sink.closed
    sink.close()
    sink.close()
    assert (sink.info, sink.results, sink.closed) == (info, results, True)
